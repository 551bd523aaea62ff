"""Reading YAML and JSON documents strictly: safe loader, no duplicate keys, errors that name file and key."""

import difflib
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from gkdbench.errors import DataError, UsageError

M = TypeVar("M", bound=BaseModel)


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


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, refusing a mapping that names a key twice (YAML would keep the last).

    A key that another mapping merged in (`<<`) gives may be given again: that is how merging is meant.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._checked: set[int] = set()

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
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain value", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)


def read_text(path: Path) -> str:
    """Return the text of a file; a missing or unreadable file is one clear line."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read ({reason})") from error


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file."""
    text = read_text(path)
    try:
        return _UniqueKeys(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not valid YAML"
        raise UsageError(f"{where}: {problem}") from error


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error


def parse(model: type[M], content: Any, origin: str) -> M:
    """Validate a document's content against its model; the error names file, key, value and nearest key."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{origin}: {_first_problem(model, content, error)}") from error


def _first_problem(model: type[BaseModel], content: Any, error: ValidationError) -> str:
    problems = error.errors()
    # where a key is misspelt, the right one is missing as well: the misspelt one says more
    unknown = [one for one in problems if one["type"] == "extra_forbidden"]
    first = unknown[0] if unknown and problems[0]["type"] == "missing" else problems[0]
    others = problems[1:]
    absent = first["type"] in ("missing", "extra_forbidden")
    key = ".".join(str(part) for part in _written(content, first["loc"], absent))
    more = f" (and {len(others)} more problem{'s' if len(others) > 1 else ''})" if others else ""
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1])
        return f"key {key!r} is not known{nearest(str(first['loc'][-1]), known)}{more}"
    if first["type"] == "missing":
        return f"key {key!r} is missing{more}"
    message = _in_words(first)
    value = first["input"]
    shown = f" (got {value!r})" if isinstance(value, str | int | float | bool | None) else ""
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
        try:
            current = current[part]
        except (KeyError, IndexError, TypeError):
            current = None


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names of the section at a location, as far as plain nesting and mappings can be followed."""
    current: Any = model
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
    return list(getattr(current, "model_fields", {}))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
