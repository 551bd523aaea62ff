"""How long fuzz tests go on, and the damage that they do.

As part of the suite each draws a fixed number of examples, always the same. `GKDBENCH_FUZZ=100` draws a hundred times
as many, others at every call: `GKDBENCH_FUZZ=100 pytest tests/fuzz`.
"""

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from gkdbench.errors import GkdbenchError

F = TypeVar("F", bound=Callable[..., None])
TIMES = int(os.environ.get("GKDBENCH_FUZZ", "1"))
ODD_TEXTS = ["", " ", "..", "../x", "/x", "a/b", "\x00", "\x1b[2J", "‮x", "=1+1", "nul", "a" * 300, "ä", "a\u0308", "-"]
ODD_NUMBERS = [0, -1, 2**31, 2**63, 10**400, -0.0, 1e308, float("nan"), float("inf"), -float("inf")]


def fuzz(examples: int) -> Callable[[F], F]:
    """Decorate a property with how many examples it takes in the suite."""
    return settings(
        max_examples=examples * TIMES, derandomize=TIMES == 1, deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
    )  # fmt: skip


def told(error: GkdbenchError) -> str:
    """Return what a user is told; one line, not too long for a screen."""
    said = str(error)
    assert said.strip() and "\n" not in said and len(said) < 2000, said[:500]
    return said


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from(ODD_NUMBERS), st.sampled_from(ODD_TEXTS),
    st.text(max_size=8), st.floats(),
)  # fmt: skip
values: SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(content: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values within a document."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path for key, value in inside for path in ((*above, key), *places(value, (*above, key)))]


@st.composite
def damaged(draw: DrawFn, document: Any, most: int = 3) -> Any:
    """Draw a document in which some values are others, gone, doubled, or have something beside them."""
    content = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, most))):
        paths = places(content)
        if not paths:
            break
        *above, last = draw(st.sampled_from(paths))
        holder = content
        for key in above:
            holder = holder[key]
        how = draw(st.sampled_from(["other", "gone", "beside", "moved"]))
        if how == "gone":
            del holder[last]
        elif how == "beside" and isinstance(holder, dict):
            holder[draw(st.text(max_size=6) | st.sampled_from(ODD_TEXTS))] = draw(values)
        elif how == "moved":
            *other, end = draw(st.sampled_from(paths))
            found = content
            for key in (*other, end):
                try:
                    found = found[key]
                except (KeyError, IndexError, TypeError):
                    found = None
            holder[last] = json.loads(json.dumps(found))
        else:
            holder[last] = draw(values)
    return content


@st.composite
def broken(draw: DrawFn, whole: bytes) -> bytes:
    """Draw a file of which a part is cut off, overwritten, left out or doubled."""
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(len(whole), start + 64)))
    how = draw(st.sampled_from(["cut", "overwritten", "left out", "doubled", "bit"]))
    if how == "cut":
        return whole[:start]
    if how == "bit" and start < len(whole):
        return whole[:start] + bytes([whole[start] ^ 1 << draw(st.integers(0, 7))]) + whole[start + 1 :]
    new = {"left out": b"", "doubled": 2 * whole[start:end]}.get(how)
    return whole[:start] + (draw(st.binary(max_size=32)) if new is None else new) + whole[end:]
