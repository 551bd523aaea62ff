"""What foreign values may be so that a report can hold them: numbers that can be drawn, text that can be written."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

LARGEST = 1e15
"""Numbers of runs are far smaller; those far larger overflow where they are added, squared or drawn."""
_DEEPEST = 60
_Fault = tuple[str, ...]
"""The keys that lead to a value, then what is wrong with it."""


def fault(content: Any) -> str | None:
    """Say under which key a value is that a report cannot hold, and what is wrong with it; None where all can be held.

    Numbers must be finite and below LARGEST in size, text must be valid Unicode.

    Args:
        content: a record, or what JSON holds.
    """
    found = _fault(content, _DEEPEST)
    if found is None:
        return None
    *keys, wrong = found
    key = encodable(".".join(keys))
    return f"key {key!r}: {wrong}" if keys else wrong


def encodable(text: str) -> str:
    r"""Return text that a file can hold: halves of characters, from JSON or a path, are spelt \udXXX."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_text(text: str) -> bool:
    """Say whether text can be written as UTF-8: JSON may hold halves of characters."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _fault(value: Any, deeper: int) -> _Fault | None:
    kind = type(value)
    if kind is float or kind is int:
        return None if -LARGEST < value < LARGEST else (f"{_short(value)} is no number below 1e15 in size",)
    if kind is str:
        return None if is_text(value) else ("the text holds half a character (a lone surrogate)",)
    if not deeper:
        return (f"nested more than {_DEEPEST} deep",)
    if isinstance(value, BaseModel):
        return _of_items(value.__dict__.items(), deeper)
    if isinstance(value, Mapping):
        return _of_items(value.items(), deeper)
    if kind is list and value:
        if set(map(type, value)) == {int}:  # most of a record is counts: judged by their largest and smallest
            return _fault(max(value), deeper) or _fault(min(value), deeper)
        return _of_items(enumerate(value), deeper)
    return None


def _of_items(items: Iterable[tuple[Any, Any]], deeper: int) -> _Fault | None:
    for key, value in items:
        if type(key) is str and not is_text(key):
            return (key, "the key holds half a character (a lone surrogate)")
        if (found := _fault(value, deeper - 1)) is not None:
            return (str(key), *found)
    return None


def _short(number: float) -> str:
    if isinstance(number, float):
        return repr(number)
    # thousands of digits cannot even be written
    return str(number) if abs(number) < 10**24 else f"{'-' if number < 0 else ''}a number of {number.bit_length()} bits"
