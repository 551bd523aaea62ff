"""The published numbers: read from packaged CSV files, pivoted, each value as it was printed."""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from importlib.resources.abc import Traversable

from gkdbench.errors import DataError
from gkdbench.report.layout import Cell, Column, Row, Table

SOURCE = "GKD, CVPR 2026, arXiv 2603.02554"
READ_OFF = 0.2
"""How far a value that was read off a figure may be off."""
_EXACT = 1e-9
"""No printed digit is as small."""
BLANK = Cell("", precise="")
MISSING = Cell("–", precise="")

# File (without .csv), title; in the order of the paper, then what others say about it.
FILES = {
    "table1": "Paper, Table 1: F2L, DeiT students",
    "table6": "Paper, Table 6: beside methods of domain-generalised segmentation",
    "table7": "Paper, Table 7: decoders",
    "table8": "Paper, Table 8: F2L, DINO students",
    "table9": "Paper, Table 9: EndoVis18",
    "table10": "Paper, Table 10: detection under corruptions",
    "fig2_radar": "Paper, Figure 2: radar chart",
    "review_note": "A review note on the paper",
    "third_party": "A third party's re-evaluation, not by the paper's authors",
}
# Where the numbers of a file come from, if not from the paper's own tables and figures.
SECOND_HAND = {
    "review_note": "Source: a review note and the abstract; these rows are not in the paper's tables.",
    "third_party": "Source: measured by a third party (AutoSOTA), not by the paper's authors.",
}
KEY = (
    "setting",
    "role",
    "teacher",
    "teacher_arch",
    "student_init",
    "arch",
    "decoder",
    "params_m",
    "metric",
)
_TITLES = {
    "teacher_arch": "teacher size",
    "student_init": "student from",
    "arch": "size",
    "params_m": "parameters, M",
}


@dataclass(frozen=True)
class Published:
    """One printed number, every field as in the CSV."""

    table: str
    method: str
    source: str
    target: str
    value: str
    approximate: bool
    key: tuple[str, ...]
    """The fields that, with the method, make a row."""

    @property
    def number(self) -> float:
        """Return the value as a number."""
        return float(self.value)

    @property
    def margin(self) -> float:
        """Return how far from the printed value the one that is meant may be: half of the last digit, or READ_OFF."""
        half = 0.5 * 10.0 ** int(Decimal(self.value).as_tuple().exponent)
        return max(half, READ_OFF) if self.approximate else half

    def meets(self, low: float, high: float) -> bool:
        """Say whether an interval reaches a value that is printed like this one: for 54.9 those of [54.85, 54.95)."""
        # halves of decimals are no exact floats
        least, most = self.number - self.margin - _EXACT, self.number + self.margin - _EXACT
        return low < most and high > least

    @property
    def text(self) -> str:
        """Return the value as it is shown: an approximate one with a tilde."""
        return f"~{self.value}" if self.approximate else self.value

    def fact(self, name: str) -> str:
        """Return a field of the row by its column in the CSV."""
        return self.key[KEY.index(name)]


def published_files() -> dict[str, str]:
    """Return the packaged CSV files: name without suffix, content."""
    try:
        folder: Traversable = resources.files("gkdbench_results").joinpath("paper")
        found = [item for item in folder.iterdir() if item.name.endswith(".csv")]
        order = {name: index for index, name in enumerate(FILES)}
        found.sort(key=lambda item: (order.get(item.name[:-4], len(order)), item.name))
        return {item.name[:-4]: item.read_text(encoding="utf-8") for item in found}
    except (ModuleNotFoundError, OSError) as error:
        raise DataError(
            f"the published numbers (package gkdbench_results) cannot be read: {error}; reinstall gkdbench"
        ) from error


def read_published(content: str, origin: str) -> list[Published]:
    """Read one file of printed numbers."""
    lines = csv.DictReader(io.StringIO(content, newline=""))
    try:
        return [
            Published(
                table=line["table"],
                method=line["method"],
                source=line["source"],
                target=line["target"],
                value=line["value"],
                approximate=line["approximate"] == "True",
                key=tuple(line[name] for name in KEY),
            )
            for line in lines
        ]
    except KeyError as error:
        raise DataError(f"{origin}.csv: column {error} is missing; reinstall gkdbench") from error


def paper_tables(without: Collection[tuple[str, str]] = ()) -> tuple[Table, ...]:
    """Return every published table, pivoted: rows are systems, columns are source -> target.

    `without` names tables that are laid out otherwise, as (file, its value of the column `table`).
    """
    tables = []
    for name, content in published_files().items():
        numbers = read_published(content, name)
        parts = list(dict.fromkeys(number.table for number in numbers))
        for part in parts:
            if (name, part) in without:
                continue
            title = FILES.get(name, name)
            slug = f"paper-{name.replace('_', '-')}"
            if len(parts) > 1:
                title = f"{title}: {part.removeprefix('review-note ')}"
                slug += "-" + "-".join(part.split())
            chosen = [number for number in numbers if number.table == part]
            tables.append(_pivot(slug, title, name, chosen))
    return tuple(tables)


def _pivot(slug: str, title: str, file: str, numbers: Sequence[Published]) -> Table:
    # What is the same in every row goes to the caption, what nobody states nowhere.
    varying = [i for i in range(len(KEY)) if len({n.key[i] for n in numbers}) > 1]
    constant = [
        f"{_TITLES.get(KEY[i], KEY[i])} {numbers[0].key[i]}"
        for i in range(len(KEY))
        if i not in varying and numbers[0].key[i]
    ]
    columns = list(dict.fromkeys((n.source, n.target) for n in numbers))
    rows: dict[tuple[str, ...], dict[tuple[str, str], Published]] = {}
    for number in numbers:
        row = rows.setdefault((number.method, *number.key), {})
        if (number.source, number.target) in row:
            raise DataError(f"{slug}: {number.method} has two values for {number.target}")
        row[number.source, number.target] = number
    return Table(
        slug=slug,
        title=title,
        caption="Printed values, not measured here." + (f" All rows: {'; '.join(constant)}." if constant else ""),
        columns=(
            Column("method", False),
            *(Column(_TITLES.get(KEY[i], KEY[i]), KEY[i] == "params_m") for i in varying),
            *(Column(f"{source} → {target}") for source, target in columns),
        ),
        rows=tuple(
            Row(
                head=key[0],
                cells=(
                    *(_fact(KEY[i], key[1 + i]) for i in varying),
                    *(_value(values.get(column)) for column in columns),
                ),
                kind="teacher" if key[1 + KEY.index("role")] == "teacher" else "plain",
            )
            for key, values in rows.items()
        ),
        rules=origin_rules(file, numbers),
    )


def origin_rules(file: str, numbers: Sequence[Published]) -> tuple[str, ...]:
    """Say where the numbers of a table come from, and what a tilde means where one has it."""
    approximate = any(number.approximate for number in numbers)
    return (
        SECOND_HAND.get(file, f"Source: {SOURCE}.") + f" File: results/paper/{file}.csv.",
        *([f"~: approximate, read off a figure (to {READ_OFF}) or stated with a tilde."] if approximate else []),
    )


def _fact(name: str, value: str) -> Cell:
    if not value:
        return BLANK
    return Cell(value, number=float(value) if name == "params_m" else None)


def _value(number: Published | None) -> Cell:
    if number is None:
        return MISSING
    return Cell(number.text, number=number.number)
