"""Splits: sets of images that a benchmark reads, each by a reader that is found by its name.

    reader: NAME                 of the entry points `gkdbench.readers`, where ours count first
    reader: NAME@PACKAGE         of a given distribution
    reader: my_format.py:mine    a class of a file beside the YAML that says so

A reader is a subclass of `Split`: its fields are what the YAML may say, and `open` returns the images. See
gkdbench.readers for how to write one.
"""

import inspect
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import (
    ModelWrapValidatorHandler,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gkdbench.errors import UsageError
from gkdbench.identity.code import code_digest
from gkdbench.identity.digest import digest
from gkdbench.spec.dataset import Labels
from gkdbench.spec.documents import Strict, nearest
from gkdbench.spec.plugins import OURS, distribution_name, entries, import_file

if TYPE_CHECKING:
    from gkdbench.data.dataset import Dataset, Opening

GROUP = "gkdbench.readers"
_OWN = ("gkdbench", "gkdbench_benchmarks")
"""Packages whose readers state versions of what they read; of all others the code counts."""


class Corruption(NamedTuple):
    """How images are corrupted as they are read."""

    kind: str
    severity: int


class Split(Strict):
    """Images of one domain. A section of a YAML becomes the class that its `reader` names."""

    reader: str

    rendered: ClassVar[bool] = False
    """Whether images are drawn, and not read from files that could be missing or wrong."""
    catalogued: ClassVar[bool] = False
    """Whether it is a split of a dataset that others defined, which may share images with others of the same."""

    @model_validator(mode="wrap")
    @classmethod
    def _by_reader(cls, content: Any, handler: ModelWrapValidatorHandler["Split"], info: ValidationInfo) -> "Split":
        if cls is not Split or not isinstance(content, Mapping):
            return handler(content)
        if not isinstance(content.get("reader"), str):
            return handler({key: value for key, value in content.items() if key == "reader"})
        return cls.form_of(content, info.context).model_validate(content, context=info.context)

    @classmethod
    def form_of(cls, content: Any, context: Any = None) -> "type[Split]":
        """Return the class of a section; ValidationError where its reader cannot be had."""
        name = content.get("reader") if isinstance(content, Mapping) else None
        if cls is not Split or not isinstance(name, str):
            return cls
        try:
            return find_reader(name, (context or {}).get("folder"))
        except UsageError as error:
            wrong = PydanticCustomError("reader", "{said}", {"said": str(error)})
            raise ValidationError.from_exception_data(
                "split", [{"type": wrong, "loc": ("reader",), "input": name}]
            ) from None

    @abstractmethod
    def open(self, opening: "Opening") -> "Dataset":
        """Return the images, quickly: files are found now, and read when they are asked for.

        DataError where they are not there, UsageError where the split does not fit the benchmark.
        """

    @property
    def corruption(self) -> Corruption | None:
        """How the images are corrupted; None: they are as they are."""
        return None

    @property
    def original(self) -> "Split":
        """The split whose images are corrupted; itself where none are."""
        return self

    @property
    def pieces(self) -> "Sequence[Split]":
        """The splits that it is joined of; itself where it is one."""
        return [self]

    @property
    def title(self) -> str:
        """What stands before its images' names where it is joined with others."""
        return str(getattr(self, "root", self.reader))

    def expected(self, beside: Path) -> list[int]:
        """Return how many images it may have; empty where nothing is known. beside: folder of the YAML."""
        return []

    def held(self, beside: Path) -> Labels | None:
        """Return what its label files hold; None: what the benchmark's label_map says."""
        return None

    def shown(self) -> str:
        """Return what it is, in a few words: its reader, and what the YAML says to it."""
        said = {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set - {"reader"}}
        words = [_words(key, value) for key, value in said.items()]
        return ", ".join(filter(None, [None if self.reader in said else self.reader, *words]))

    @property
    def code(self) -> str:
        """Digest of a stranger's reader: with other code it may read otherwise. Empty for ours."""
        module = type(self).__module__
        if module.partition(".")[0] in _OWN:
            return ""
        file = str(sys.modules[module].__file__)
        return code_digest(Path(file), None if type(self).file_of() else module)

    @classmethod
    def file_of(cls) -> Path | None:
        """Return the file that it was loaded from by its path; None for one of an installed package."""
        loaded = cls.__module__.startswith(_FROM_FILE)
        return Path(str(sys.modules[cls.__module__].__file__)) if loaded else None


AnySplit = SerializeAsAny[Split]
"""A field that holds a split of any reader."""


def _words(key: str, value: Any) -> str | None:
    if isinstance(value, Split):
        return f"{key} ({value.shown()})"
    if isinstance(value, Mapping) and all(isinstance(one, list) for one in value.values()):
        return ", ".join(f"{place} {' or '.join(map(str, values))}" for place, values in value.items())
    if isinstance(value, list):
        return " and ".join(one.shown() if isinstance(one, Split) else str(one) for one in value)
    return f"{key} {value}" if isinstance(value, str | int) else None


_FROM_FILE = "gkdbench_reader_"


def find_reader(name: str, folder: Path | None = None) -> type[Split]:
    """Return a reader by its name; UsageError where there is none or its code fails.

    folder: of the YAML, where a file's path begins.
    """
    path, colon, attribute = name.partition(".py:")
    if colon:
        return load_file((folder or Path()) / f"{path}.py", attribute)
    found = [entry for entry in entries(GROUP) if name in (entry.name, f"{entry.name}@{distribution_name(entry)}")]
    if not found:
        known = sorted({entry.name for entry in entries(GROUP)})
        raise UsageError(
            f"reader {name!r} is none of {', '.join(known)}{nearest(name, known)}; your own: FILE.py:CLASS"
        )
    entry = min(found, key=lambda entry: (distribution_name(entry) != OURS, distribution_name(entry)))
    try:
        reader = entry.load()
    except Exception as error:  # a stranger's code may fail in any way
        raise UsageError(f"reader {name!r} of {distribution_name(entry)} cannot be imported: {error!r}") from error
    return _checked(reader, name)


def load_file(file: Path, attribute: str) -> type[Split]:
    """Return a reader of a file."""
    if not file.is_file():
        raise UsageError(f"reader {file}:{attribute}: no such file")
    name = _FROM_FILE + digest([str(file.resolve()), file.stat().st_mtime_ns])[:16]
    try:
        module = import_file(file.resolve(), name)
    except Exception as error:
        raise UsageError(f"reader {file}:{attribute} cannot be imported: {error!r}") from error
    return _checked(getattr(module, attribute, None), f"{file}:{attribute}")


def _checked(reader: Any, name: str) -> type[Split]:
    if not (isinstance(reader, type) and issubclass(reader, Split)):
        raise UsageError(f"reader {name}: is no class made of gkdbench.readers.Split")
    if inspect.isabstract(reader):
        raise UsageError(f"reader {name}: has no function `open`, which returns its images")
    return reader
