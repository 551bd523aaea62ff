"""Equal content has equal digests, however it is spelt; different content has different ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.identity.digest import canonical, digest, file_sha256
from gkdbench.spec.documents import Strict

PLAIN = st.none() | st.booleans() | st.integers(-(2**52), 2**52) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = PLAIN | st.text(max_size=8)
CONTENT = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def respelt(value: Any) -> Any:
    """Return the same content with keys in reverse, lists as tuples and whole numbers as floats."""
    if isinstance(value, dict):
        return {key: respelt(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return tuple(respelt(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def meaning(value: Any) -> str:
    """Return a text that is equal exactly for content that should share a digest."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{meaning(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(meaning, value)) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value)) if value == int(value) else repr(value)
    return json.dumps(value)


@given(CONTENT)
def test_spelling_does_not_matter(content: Any) -> None:
    assert digest(content) == digest(respelt(content))


@given(CONTENT, CONTENT)
def test_equal_digests_mean_equal_content(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (meaning(one) == meaning(other))


@given(CONTENT)
def test_a_digest_survives_json(content: Any) -> None:
    assert digest(json.loads(json.dumps(canonical(content)))) == digest(content)


def test_a_known_digest() -> None:
    """A change here means that no finished run of an earlier version is recognised."""
    content = {"b": [1, 2.5, None, True], "a": {"x": "ä", "y": (1.0, -0.0)}, "c": Path("some/where"), "d": {2, 1}}
    assert digest(content) == "759eca85ec57c35ca0524245a3fc37b15105a07466eaae288b2fdaed50a6e12c"


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (1, "1"), (None, "None"), ([], {}), ([[1], 2], [1, [2]]), (0.1, 0.1000001), ("a", "A")],
)
def test_near_misses_differ(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_models_digest_as_their_content() -> None:
    class Section(Strict):
        size: tuple[int, int]
        rate: float

    assert digest(Section(size=(1, 2), rate=1)) == digest({"rate": 1, "size": [1, 2]})


@pytest.mark.parametrize("value", [object(), b"bytes", {"a": np.zeros(2)}, [1j]])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot digest a"):
        digest(value)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_numbers_that_equal_nothing_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest(value)


def test_a_files_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, example B.1
    assert file_sha256(tmp_path / "a") == expected
