"""Reading YAML and JSON documents strictly: safe loader, no duplicate keys, errors that name file and key."""

import difflib
import json
import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, get_args
from unicodedata import normalize

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from gkdbench.errors import DataError, UsageError

M = TypeVar("M", bound=BaseModel)
_BITS, _DIGITS = 64, 20
_SHOWN = 60
"""Characters of a value that a message shows."""
_LARGEST = 10**6
"""Values of a document, its aliases written out."""


@dataclass(frozen=True)
class Added:
    """Marks a field that a published format got later: written only where it differs from its default.

    So documents and digests from before the field stay what they were.
    """


class Section(BaseModel):
    """A section of a document: unknown keys are errors, `Added` fields are written where they say something."""

    model_config = ConfigDict(extra="forbid")

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        for name, field in type(self).model_fields.items():
            if any(isinstance(mark, Added) for mark in field.metadata) and getattr(self, name) == field.default:
                content.pop(name, None)
        return content


class Strict(Section):
    """A section that people write: its values are immutable."""

    # inf and nan can neither be written as JSON nor digested
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, refusing what no document means.

    That is: a mapping that names a key twice (YAML would keep the last), values that their tag does not fit, numbers
    beyond 64 bits. A key that another mapping merged in (`<<`) gives may be given again: that is how merging is meant.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._checked: set[int] = set()

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return a node's value; what its tag does not fit is an error with its line."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            tag = node.tag.rpartition(":")[2]
            said = f"{shortened(node.value)} is no {tag}" if isinstance(node, yaml.ScalarNode) else f"no valid {tag}"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from error
        if isinstance(value, int) and value.bit_length() > _BITS:
            said = f"number {shortened(node.value)} is too large"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return value

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Check a mapping before what it merges in is put among its own keys."""
        if id(node) not in self._checked:
            self._checked.add(id(node))
            self._check_keys(node)
        super().flatten_mapping(node)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            wrong = "a key must be a plain value" if not isinstance(key, Hashable) else ""
            if wrong or key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, wrong or f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)


def each_once(names: list[str]) -> list[str]:
    """Return a list of names; ValueError where one stands there twice, Unicode form and spaces aside."""
    seen: dict[str, str] = {}
    for name in names:
        alike = " ".join(normalize("NFC", name).split())
        if not alike:
            raise ValueError("a name is empty")
        if alike in seen:
            how = "stands there twice" if name == seen[alike] else f"and {seen[alike]!r} look alike"
            raise ValueError(f"{name!r} {how}")
        seen[alike] = name
    return names


Names = Annotated[list[str], AfterValidator(each_once)]
"""Names of which none stands there twice."""


def read_text(path: Path) -> str:
    """Return the text of a file, which may begin with a byte order mark.

    A file that is missing, cannot be read or is not in UTF-8 is one clear line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: cannot be read ({error.reason}); save the file in UTF-8") from error


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file."""
    text = read_text(path)
    try:
        loader = _StrictLoader(text)
        document = loader.get_single_node()
        if document is None:
            return None
        if _values(document, {}) > _LARGEST:
            raise UsageError(f"{path}: aliases make too many values of it")
        return loader.construct_document(document)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not valid YAML"
        raise UsageError(f"{where}: {problem}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: nested too deeply, or an alias stands within what it names") from error


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values of a document, its aliases and what it merges in written out."""
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json_content(read_text(path), str(path))


def json_content(text: str | bytes, origin: str, *, numbers: bool = True) -> Any:
    """Return what a JSON document holds; DataError where it is none or names a key twice.

    numbers: refuse those that are too large, NaN and Infinity; else whoever uses one has to look.
    """
    checks: dict[str, Any] = {"parse_constant": _no_number, "parse_int": _whole, "parse_float": _finite}
    try:
        return json.loads(text, object_pairs_hook=_unique, **(checks if numbers else {}))
    except json.JSONDecodeError as error:
        raise DataError(f"{origin}:{error.lineno}: not valid JSON ({error.msg}); get the file again") from error
    except RecursionError as error:
        raise DataError(f"{origin}: not valid JSON (nested too deeply); get the file again") from error
    except ValueError as error:  # UnicodeDecodeError too
        raise DataError(f"{origin}: not valid JSON ({error}); get the file again") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"key {shortened(twice)} appears twice")
    return content


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"number {shortened(digits)} is too large")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"number {shortened(text)} is too large")
    return number


def shortened(value: object) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def parse(model: type[M], content: Any, origin: str, context: Any = None) -> M:
    """Validate a document's content against its model; the error names file, key, value and nearest key.

    context: what validators may ask for.
    """
    try:
        return model.model_validate(content, context=context)
    except ValidationError as error:
        raise UsageError(f"{origin}: {_first_problem(model, content, error, context)}") from error


def _first_problem(model: type[BaseModel], content: Any, error: ValidationError, context: Any) -> str:
    problems = error.errors()
    # where a key is misspelt, the right one is missing as well: the misspelt one says more
    unknown = [one for one in problems if one["type"] == "extra_forbidden"]
    first = unknown[0] if unknown and problems[0]["type"] == "missing" else problems[0]
    others = problems[1:]
    absent = first["type"] in ("missing", "extra_forbidden")
    key = ".".join(str(part) for part in _written(content, first["loc"], absent))
    more = f" (and {len(others)} more problem{'s' if len(others) > 1 else ''})" if others else ""
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1], content, context)
        return f"key {key!r} is not known{nearest(str(first['loc'][-1]), known)}{more}"
    if first["type"] == "missing":
        return f"key {key!r} is missing{more}"
    message = _in_words(first)
    value = first["input"]
    shown = f" (got {shortened(value)})" if isinstance(value, str | int | float | bool | None) else ""
    where = f"key {key!r}: " if key else ""
    return f"{where}{message}{shown}{more}"


def _in_words(problem: Any) -> str:
    """Return what is wrong with a value; the library's words where they are plain enough."""
    if problem["type"] == "union_tag_invalid":
        known = [tag.strip("' ") for tag in str(problem["ctx"]["expected_tags"]).split(",")]
        tag, key = problem["ctx"]["tag"], str(problem["ctx"]["discriminator"]).strip("'")
        return f"{key} {tag!r} is none of {', '.join(known)}{nearest(str(tag), known)}"
    return str(problem["msg"]).removeprefix("Value error, ")


def _written(content: Any, location: tuple[int | str, ...], absent: bool) -> Iterator[int | str]:
    """Yield the keys of a location that a user wrote.

    Pydantic adds the kind where a section has several kinds, and a mark where the key itself is wrong.
    """
    current = content
    for number, part in enumerate(location, start=1):
        added = isinstance(current, Mapping) and part not in current and not (absent and number == len(location))
        if added or part == "[key]":
            continue
        yield part
        current = _inside(current, part)


def _inside(content: Any, part: int | str) -> Any:
    try:
        return content[part]
    except (KeyError, IndexError, TypeError):
        return None


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...], content: Any, context: Any) -> list[str]:
    """Field names of the section at a location, as far as plain nesting and mappings can be followed."""
    current: Any = _form(model, content, context)
    for part in location:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = fields[part].annotation
        arguments = [a for a in getattr(current, "__args__", ()) if hasattr(a, "model_fields")]
        if arguments and not hasattr(current, "model_fields"):
            of_kind = [a for a in arguments if any(part in get_args(f.annotation) for f in a.model_fields.values())]
            if part in fields and len(arguments) > 1:
                continue  # the next part names the kind
            current = (of_kind or arguments)[-1]
        content = _inside(content, part)
        current = _form(current, content, context)
    return list(getattr(current, "model_fields", {}))


def _form(section: Any, content: Any, context: Any) -> Any:
    """Return the class of a section, which its content says for some."""
    return section.form_of(content, context) if hasattr(section, "form_of") else section


def nearest(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_name(fault: str, name: str, known: Collection[str], form: str = "known") -> None:
    """Raise UsageError, with the nearest of them, where a name is not among those known."""
    if name not in known:
        raise UsageError(f"{fault} {name!r}{nearest(name, known)} ({form}: {', '.join(known) or 'none'})")
