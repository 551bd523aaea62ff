"""From the rows of tables to the runs behind them."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from gkdbench.report.baseline import candidates
from gkdbench.report.comparison import Comparison, MethodRow
from gkdbench.report.html_table import Link, RowFacts
from gkdbench.report.layout import Row, Table
from gkdbench.report.run_checks import untaught
from gkdbench.report.run_views import anchor
from gkdbench.runs.record import Record


class RunLinks:
    """Where each run's details are on the page."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._anchors = {record.run_id: anchor(record.run_id) for record in records}

    def facts(self, row: Row) -> RowFacts:
        """Return the link of a row whose head is a run id."""
        found = self._anchors.get(row.head)
        return RowFacts((Link(found, row.head),) if found else ())

    def of(self, records: Sequence[Record]) -> tuple[Link, ...]:
        """Return a link per run that has details on the page, in order of seeds."""
        known = [record for record in records if record.run_id in self._anchors]
        return tuple(
            Link(self._anchors[record.run_id], f"seed {record.spec.seed}", record.run_id)
            for record in sorted(known, key=lambda record: (record.spec.seed, record.run_id))
        )

    def home(self, comparisons: Iterable[Comparison]) -> dict[str, Comparison]:
        """Return the comparison that each run belongs to, by run id."""
        return {record.run_id: one for one in comparisons for row in one.rows for record in row.records}


class ComparisonRows:
    """A comparison's rows, found again in its tables by their names and, where these repeat, their footnotes."""

    def __init__(self, comparison: Comparison, links: RunLinks) -> None:
        self._links = links
        self.two = _two(comparison)
        """Ids of two runs worth comparing; empty where there are none."""
        self._by_name: defaultdict[str, list[MethodRow]] = defaultdict(list)
        for row in comparison.rows:
            self._by_name[row.name].append(row)

    def facts_in(self, table: Table) -> Callable[[Row], RowFacts]:
        """Return what tells, of a row of this table, the runs behind it and whether it is kept out of the ranking."""
        return partial(self._facts, table)

    def _facts(self, table: Table, row: Row) -> RowFacts:
        found = [one for one in self._by_name.get(row.head, ()) if (one.status == "done") == (row.kind != "status")]
        if len(found) > 1:
            spelt = dict(table.footnotes)
            notes = {spelt.get(letter, "") for letter in row.letters}
            fitting = [one for one in found if _notes(one) <= notes]
            most = max((len(_notes(one)) for one in fitting), default=0)
            found = [one for one in fitting if len(_notes(one)) == most] or found
        records = [record for one in found for record in one.records]
        apart = bool(found) and not any(one.comparable for one in found)
        return RowFacts(self._links.of(records), apart and row.kind != "status")


def _two(comparison: Comparison) -> tuple[str, ...]:
    """Return a run of the best student that no teacher taught, or else of the teacher, and one of the best taught."""
    rows = candidates(comparison)[::-1]  # rows stand in order of their OOD mean, the best last
    alone = [row for row in rows if untaught(row)] or [row for row in comparison.rows if row.teacher]
    taught = [row for row in rows if not untaught(row)]
    known = [row.records[0].run_id for found in (alone, taught) for row in found[:1]]
    return tuple(known) if len(known) == 2 and all(re.fullmatch(r"[\w.-]+", name) for name in known) else ()


def _notes(row: MethodRow) -> set[str]:
    return set(row.footnotes) if row.status == "done" else {f"{row.status}: {row.reason}"} if row.reason else set()
