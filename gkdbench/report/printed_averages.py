"""Printed averages against the mean of what they are printed as the average of."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from gkdbench.report.paper import Published
from gkdbench.report.table_layout import Layout


@dataclass(frozen=True)
class UnevenAverage:
    """A printed average that is not the rounded mean of the printed targets beside it."""

    table: str
    """Id of the layout."""
    title: str
    """Title of the table."""
    row: str
    """Method and network, as printed."""
    column: str
    printed: str
    mean: str
    """Mean of the printed targets, to three decimals."""
    recomputed: str
    """That mean, rounded half up to the printed digits."""
    targets: tuple[str, ...]

    @property
    def remark(self) -> str:
        """Return it as a sentence."""
        return (
            f"{self.column} is printed as {self.printed}; the mean of its printed targets is {self.mean}, "
            f"which rounds to {self.recomputed}."
        )


def uneven_in_row(layout: Layout, row: Iterable[Published]) -> list[UnevenAverage]:
    """Check the averages of one printed row; what is approximate or not printed whole is not judged."""
    numbers = list(row)
    by_place = {(number.source, number.target): number for number in numbers}
    found = []
    for column in layout.columns:
        if column.published is None or not column.published.over:
            continue
        source, over = column.published.source, column.published.over
        average = by_place.get((source, column.published.target))
        parts = [part for target in over if (part := by_place.get((source, target)))]
        if average is None or len(parts) < len(over) or any(n.approximate for n in (average, *parts)):
            continue
        mean = sum((Decimal(part.value) for part in parts), Decimal()) / len(parts)
        rounded = mean.quantize(Decimal(average.value), ROUND_HALF_UP)
        if rounded != Decimal(average.value):
            found.append(
                UnevenAverage(
                    table=layout.id,
                    title=layout.title,
                    row=row_name(average),
                    column=column.name,
                    printed=average.value,
                    mean=str(mean.quantize(Decimal("0.001"), ROUND_HALF_UP)),
                    recomputed=str(rounded),
                    targets=tuple(over),
                )
            )
    return found


def row_name(number: Published) -> str:
    """Return what tells a printed row from the table's others, in words."""
    network = f"{number.fact('student_init')} {number.fact('arch')}".strip()
    return ", ".join(part for part in (number.method, network, number.fact("decoder")) if part)
