"""Layouts of the study's tables, as YAML: which printed rows and columns, and which runs answer them."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gkdbench.errors import DataError
from gkdbench.report.comparison import IN_DOMAIN
from gkdbench.report.corruptions import MPC, RPC
from gkdbench.spec.benchmark import Name
from gkdbench.spec.catalogue import folders
from gkdbench.spec.documents import Strict, parse, read_yaml

FOLDER = "tables"
"""Folder of a benchmark package whose YAML files lay tables out, one each."""
WHATS = "in_domain, ood, gap, mpc, rpc, target NAME, ood without NAME, group NAME mean, group NAME pooled"
_WHAT = re.compile(r"(in_domain|ood|gap|mpc|rpc)|target (\S+)|ood without (\S+)|group (\S+) (mean|pooled)")


class Source(Strict):
    """Where a table was printed: a file of results/paper without suffix, and the value of its column `table`."""

    file: str
    table: str


class Printed(Strict):
    """The printed numbers of a column."""

    source: str
    target: str
    over: list[str] = []
    """Printed targets of the same source that the column is the average of; empty: it is no average, or of nothing
    that is printed."""


class Measured(Strict):
    """The figure of a run that stands in a column, and where it differs from the row's what must have been run."""

    benchmark: Name
    what: str
    preset: str | None = None
    setting: str | None = None
    teacher: str | None = None
    student: str | None = None
    decoder: str | None = None

    @model_validator(mode="after")
    def _known(self) -> "Measured":
        if _WHAT.fullmatch(self.what) is None:
            raise ValueError(f"what {self.what!r} is none of {WHATS}")
        return self

    @property
    def figure(self) -> str:
        """Return the title of the figure's column in a table of methods."""
        found = _WHAT.fullmatch(self.what)
        assert found is not None
        plain, target, without, group, how = found.groups()
        if plain:
            return {"in_domain": IN_DOMAIN, "ood": "OOD mean", "gap": "gap", "mpc": MPC, "rpc": RPC}[plain]
        return target or (f"OOD without {without}" if without else f"{group} {how}")


class TableColumn(Strict):
    """A column: what was printed, what is measured, or both."""

    title: str
    group: str = ""
    """Heading over neighbouring columns of the same group."""
    published: Printed | None = None
    measured: Measured | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "TableColumn":
        if self.published is None and self.measured is None:
            raise ValueError(f"column {self.title!r} needs published, measured or both")
        return self

    @property
    def name(self) -> str:
        """Return group and title."""
        return f"{self.group} → {self.title}" if self.group else self.title


Reading = Annotated[str, Field(pattern=r"^\S+( -o \w+=\S+)*$")]
"""A method, with options where it must not have been run at its defaults: `NAME -o OPTION=VALUE ...`."""


class PrintedRows(Strict):
    """How printed rows are found among runs. A printed name maps to a method, to several readings of it, or to none."""

    methods: dict[str, Reading | list[Reading] | None] = {}
    undistilled: list[str] = []
    """Methods without a teacher that answer rows of a network which nobody distilled, one line each."""
    models: dict[str, Name] = {}
    """Printed initialisation and size, as `DeiT ViT-B` -> name in models.yaml."""
    decoders: dict[str, str] = {}
    more: dict[str, Reading] = {}
    """Rows that nobody printed, title -> method: shown once they have runs, with the models of the first row."""

    def readings(self, printed: str) -> list[str]:
        """Return the methods that a printed name may stand for, the likeliest first."""
        found = self.methods.get(printed)
        return [] if found is None else found if isinstance(found, list) else [found]


class RecordRows(Strict):
    """Rows that are the runs of a benchmark, in settings in this order."""

    benchmark: Name
    settings: list[Name] = Field(min_length=1)


class Ranking(Strict):
    """Which rows compete for best and second best."""

    roles: list[str] = ["student", "kd"]
    by: list[Literal["setting", "arch", "decoder", "student_init"]] = []
    """Facts that rows of one group share."""
    alike: dict[str, str] = {}
    """Values that count as another one, where a table sets networks of different kinds side by side."""


class Layout(Strict):
    """One table."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    order: int
    source: Source | None = None
    preset: str
    """Runs of other presets stand apart."""
    columns: list[TableColumn] = Field(min_length=1)
    rows: PrintedRows | None = None
    records: RecordRows | None = None
    ranking: Ranking = Ranking()
    notes: list[str] = []
    """Readings and remarks, printed below the table."""

    @model_validator(mode="after")
    def _one_kind_of_rows(self) -> "Layout":
        if (self.rows is None) == (self.records is None):
            raise ValueError("a layout has either rows (of a printed table) or records (of a benchmark)")
        if (self.rows is None) != (self.source is None):
            raise ValueError("rows and source come together")
        if self.records is not None and any(column.published for column in self.columns):
            raise ValueError("a table of records has no published columns")
        return self

    @model_validator(mode="after")
    def _columns_differ(self) -> "Layout":
        names = [column.name for column in self.columns]
        printed = [f"{p.source} → {p.target}" for column in self.columns if (p := column.published)]
        for found in (names, printed):
            twice = next((name for name in found if found.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"columns: {twice!r} appears twice")
        return self

    @property
    def slug(self) -> str:
        """Return the name of the table's files."""
        return f"paper-{self.id}" if self.source else f"study-{self.id}"

    @property
    def benchmarks(self) -> frozenset[str]:
        """Return the benchmarks whose runs stand in the table."""
        return frozenset(column.measured.benchmark for column in self.columns if column.measured)


def layouts() -> tuple[Layout, ...]:
    """Return the layouts of all installed benchmark packages, in order; UsageError names file and key of a fault."""
    found: dict[str, tuple[Layout, str]] = {}
    for folder in folders():
        for file in sorted((folder / FOLDER).glob("*.yaml")):
            layout = parse(Layout, read_yaml(file), str(file))
            if layout.id in found:
                raise DataError(f"{file}: key 'id': {layout.id!r} is taken by {found[layout.id][1]}; choose another")
            found[layout.id] = (layout, str(file))
    return tuple(sorted((layout for layout, _ in found.values()), key=lambda layout: (layout.order, layout.id)))
