"""Can this be compared? The questions a reviewer asks, each answered from the records and the published files alone."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from gkdbench.report.comparison import Comparison
from gkdbench.report.finding import Finding, counted
from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.paper import published_files
from gkdbench.report.printed_averages import UnevenAverage
from gkdbench.report.reevaluation import reevaluation
from gkdbench.report.run_checks import run_findings
from gkdbench.report.score_checks import score_findings
from gkdbench.report.study_rows import uneven_averages
from gkdbench.report.tables import shown
from gkdbench.report.writers import markdown, plain_md
from gkdbench.runs.record import Record

HEADING = "Can this be compared?"


def honesty_findings(
    records: Sequence[Record], comparisons: Sequence[Comparison], files: Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    """Return every finding, those on runs only where there are some.

    `files` are the published files that a re-evaluation is looked for in, by name; by default the packaged ones.
    """
    known = published_files() if files is None else files
    measured = (*run_findings(records, comparisons), *score_findings(comparisons)) if records else ()
    return (*measured, _averages(uneven_averages()), *_third_party(known))


def findings_markdown(findings: Sequence[Finding]) -> str:
    """Return the section as Markdown, its heading included."""
    parts = [f"## {HEADING}\n"]
    for finding in findings:
        lines = "\n".join(f"- {plain_md(sentence)}" for sentence in finding.sentences)
        parts.append(f"### {plain_md(finding.question)} ({finding.verdict})\n\n{lines}\n")
        parts.extend(f"#{markdown(table)}" for table in finding.tables)
    return "\n".join(parts)


def _averages(uneven: Sequence[UnevenAverage]) -> Finding:
    question = "Do published averages add up?"
    if not uneven:
        sentence = "Every printed average is the rounded mean of the targets printed beside it."
        return Finding("published-averages", question, False, (sentence,))
    off = [Decimal(one.printed) - Decimal(one.mean) for one in uneven]
    low = sum(difference < 0 for difference in off)
    # The average and its targets are each off by at most half a digit.
    possible = sum(abs(difference) <= _digit(one.printed) for one, difference in zip(uneven, off, strict=True))
    sentences = (
        f"{counted(len(uneven), 'printed average')} not equal to the rounded mean of the targets printed beside "
        f"{'it' if len(uneven) == 1 else 'them'}: {low} printed low, {len(uneven) - low} high.",
        f"{possible} of {len(uneven)} are possible if the average was taken before the targets were rounded. "
        "They stand in the tables as printed; differences in the last digit carry no meaning.",
    )
    table = Table(
        slug="check-averages",
        title="Averages that do not add up",
        caption="The mean is over the printed targets that the column is the average of; a tie rounds up.",
        columns=(
            Column("table", False),
            Column("row", False),
            Column("average", False),
            *(Column(name) for name in ("mean of targets", "printed", "difference")),
        ),
        rows=tuple(
            Row(
                one.title,
                (
                    Cell(one.row),
                    Cell(one.column, hover=f"over {', '.join(one.targets)}"),
                    Cell(one.mean, float(one.mean)),
                    Cell(one.printed, float(one.printed)),
                    Cell(f"{difference:+.3f}", float(difference)),
                ),
            )
            for one, difference in zip(uneven, off, strict=True)
        ),
    )
    return Finding("published-averages", question, True, sentences, (table,))


def _digit(printed: str) -> Decimal:
    """Return one in the last printed digit."""
    return Decimal(1).scaleb(int(Decimal(printed).as_tuple().exponent))


def _third_party(files: Mapping[str, str]) -> tuple[Finding, ...]:
    found = reevaluation(files)
    if found is None:
        return ()
    total, left = len(found.classes), len(found.classes) - len(found.zero)
    sentences = [
        f"{found.source}: {found.what}, judged again: {found.measured} single-scale; the paper prints {found.claimed}.",
        f"The mean of the {total} listed class IoUs is {shown(found.mean, 3)}"
        + (f", which agrees with their {found.measured}." if shown(found.mean, 2) == shown(found.measured, 2) else "."),
    ]
    if found.zero:
        agrees = shown(found.mean_without_zero, 1) == shown(found.claimed, 1)
        sentences.append(
            f"{' and '.join(found.zero)} scores exactly 0. The mean of the other {left} classes is "
            f"{shown(found.mean_without_zero, 3)}" + (", equal to the printed value to rounding." if agrees else ".")
        )
        if agrees:
            sentences.append(
                "So the gap is as large as one class that is scored 0 rather than skipped would make it. This is an "
                "observation, not a proof: nobody has looked at that checkpoint's predictions here."
            )
    for protocol, value in found.augmented:
        sentences.append(
            f"Their {value} is {protocol}: test-time augmentation, another protocol, never to be put beside "
            "single-scale values."
        )
    rows = [Row(name, (Cell(f"{value:.2f}", value),)) for name, value in found.classes.items()]
    table = Table(
        slug="check-third-party",
        title="The re-evaluation by class",
        caption=f"IoU in percent, single-scale, as listed by {found.source}.",
        columns=(Column("class", False), Column("IoU")),
        rows=tuple(rows),
        rules=("File: results/paper/third_party.csv.",),
    )
    return (Finding("third-party", "Do published values hold when others measure?", True, tuple(sentences), (table,)),)
