"""Tables as text: Markdown and CSV (a table wide, all runs long)."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from gkdbench.report.layout import Cell, Column, Table
from gkdbench.report.records import class_metric, is_teacher, plain
from gkdbench.report.visible_text import csv_cell, visible, with_minus
from gkdbench.runs.recomputed import COUNTED
from gkdbench.runs.record import Record, SplitResult

LONG_COLUMNS = (
    "benchmark",
    "benchmark_version",
    "setting",
    "pair",
    "preset",
    "decoder",
    "method",
    "role",
    "options",
    "seed",
    "run_id",
    "status",
    "marks",
    "quantity",
    "split",
    "class",
    "value",
)


def markdown(table: Table) -> str:
    """Return a table as GitHub-flavoured Markdown: caption, table, rules, footnotes."""
    lines = [f"### {plain_md(table.title)}", "", plain_md(table.caption), ""]
    titles = [plain_md(column.title) for column in table.columns]
    lines.append("| " + " | ".join(titles) + " |")
    lines.append("|" + "|".join("---:" if c.numeric else "---" for c in table.columns) + "|")
    for row in table.rows:
        head = plain_md(row.head) + "".join(f" [{letter}]" for letter in row.letters)
        cells = [_cell_md(cell, column) for cell, column in zip(row.cells, table.columns[1:], strict=True)]
        lines.append("| " + " | ".join([head, *cells]) + " |")
    lines.append("")
    if any(cell.rank for row in table.rows for cell in row.cells):
        lines.append("- **bold**: best; *italic*: second best.")
    lines.extend(f"- {plain_md(rule)}" for rule in table.rules)
    lines.extend(f"- [{letter}] {plain_md(note)}" for letter, note in table.footnotes)
    return "\n".join(lines) + "\n"


def _cell_md(cell: Cell, column: Column) -> str:
    text = plain_md(with_minus(cell.text) if column.numeric else cell.text)
    return f"**{text}**" if cell.rank == "best" else f"*{text}*" if cell.rank == "second" else text


def plain_md(text: str) -> str:
    """Escape what Markdown or the HTML inside it would interpret, show what would turn text; a cell is one line."""
    one_line = visible(" ".join(text.split()))
    escaped = re.sub(r"([\\|*`$\[\]])", r"\\\1", one_line)
    # A tilde pair would strike through; a lone one only needs care beside another cell's.
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("~", "\\~")


def wide_csv(table: Table) -> str:
    """Return a table as CSV, one line per row; footnotes are spelt out in the last column.

    A column with intervals is followed by their ends and the values by seed.
    """
    notes = dict(table.footnotes)
    spread = {at for row in table.rows for at, cell in enumerate(row.cells) if cell.interval is not None}
    stream = io.StringIO()
    write = _rows_to(stream)
    first, *others = [column.title for column in table.columns]
    titles = [_with_spread(at in spread, [title], *(f"{title} {part}" for part in ("low", "high", "seeds")))
              for at, title in enumerate(others)]  # fmt: skip
    write([first, *chain.from_iterable(titles), "footnotes"])
    for row in table.rows:
        cells = [_csv_cell(cell, at in spread) for at, cell in enumerate(row.cells)]
        written = [part for parts in cells for part in parts]
        write([row.head, *written, " ".join(notes[letter] for letter in row.letters)])
    return stream.getvalue()


def _csv_cell(cell: Cell, spread: bool) -> list[str]:
    text = [cell.text if cell.precise is None else cell.precise]
    low, high = ("", "") if cell.interval is None else map(repr, cell.interval)
    return _with_spread(spread, text, low, high, " ".join(map(repr, cell.values)))


def _rows_to(stream: io.StringIO) -> Callable[[Iterable[object]], None]:
    """Return what writes a row of CSV; foreign text among the cells is made harmless."""
    writer = csv.writer(stream, lineterminator="\n")
    return lambda row: writer.writerow([csv_cell(str(cell)) for cell in row])


def _with_spread(spread: bool, text: list[str], *parts: str) -> list[str]:
    return [*text, *parts] if spread else text


def long_csv(records: Iterable[Record]) -> str:
    """Return every figure of every run, unrounded, one a line; a run without any keeps a line."""
    stream = io.StringIO()
    write = _rows_to(stream)
    write(LONG_COLUMNS)
    for record in records:
        head = _run_columns(record)
        for quantity, split, name, value in _figures(record):
            write([*head, quantity, split, name, "" if value is None else repr(value)])
    return stream.getvalue()


def _run_columns(record: Record) -> list[str | int]:
    spec = record.spec
    return [
        spec.benchmark,
        spec.benchmark_version,
        spec.setting,
        spec.pair,
        spec.preset,
        plain(spec.decoder),
        spec.method,
        "teacher" if is_teacher(record) else "method",
        plain(spec.options),
        spec.seed,
        record.run_id,
        record.status,
        "; ".join(record.marks),
    ]


def _figures(record: Record) -> Iterator[tuple[str, str, str, float | None]]:
    """Yield (quantity, split, class, value); an empty class means the split as a whole."""
    summary = record.summary
    if record.status != "done" or summary is None:
        yield "status", "", "", None
        return
    yield "summary", "in-domain", "", summary.in_domain
    yield "summary", "OOD mean", "", summary.ood
    for target, value in sorted(summary.ood_without.items()):
        yield "summary", f"OOD without {target}", "", value
    for group, together in sorted(summary.groups.items()):
        yield "summary", f"{group} mean", "", together.mean
        if together.pooled is not None:
            yield "summary", f"{group} pooled", "", together.pooled
    yield "summary", "gap", "", summary.gap
    if record.corruptions:
        yield "summary", "mPC", "", summary.mpc
        yield "summary", "rPC", "", summary.rpc
    splits: list[tuple[str, SplitResult | None]] = [("in-domain", record.in_domain)]
    for split, result in [*splits, *record.targets.items()]:
        if result is None:
            continue
        yield record.metric, split, "", result.value
        if record.metric != COUNTED:  # a detector has several figures that others report
            for key, value in result.metrics.items():
                yield key, split, "", value
        for name, of_class in result.per_class.items():
            yield class_metric(record.metric), split, name, of_class
