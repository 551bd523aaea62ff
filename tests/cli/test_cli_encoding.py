"""No encoding of the terminal ends a command: what it lacks is spelt out, and JSON stays JSON."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.cli.console import command, print_in_any_encoding, print_json, print_table, say

ROOT = Path(__file__).resolve().parents[2]
RUN = next((ROOT / "results" / "published").glob("streets-f2l-gkd-s0-*")).name
ENCODINGS = ("ascii", "cp1252", "latin-1", "cp437", "utf-8", "utf-16")


@pytest.fixture
def standard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test replace the standard streams."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)
        patch.setattr(sys, "stderr", sys.stderr)
        yield


def printed(encoding: str, text: str) -> tuple[str, str, str]:
    """Return what a table, a message and a JSON document of a text look like to who reads that encoding."""
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    print_in_any_encoding()
    print_table([[text]])
    sys.stdout.flush()
    table = sys.stdout.buffer.getvalue().decode(encoding)
    sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_in_any_encoding()

    def answer(as_json: bool, debug: bool) -> None:
        print_json({"text": text})

    command(answer)(as_json=True, debug=False)
    sys.stdout.flush()
    say(text)
    said = sys.stderr.buffer.getvalue().decode(encoding)
    return table, said, sys.stdout.buffer.getvalue().decode(encoding)


def test_known_signs_are_spelt_in_plain_letters(standard: None) -> None:
    table, said, _ = printed("ascii", "3 ± 1 – −2 → … é \U0001f600")
    assert said == "3 +- 1 - -2 -> ... \\xe9 \\U0001f600\n" and table.splitlines()[0] == said.rstrip()
    _, said, _ = printed("cp1252", "3 ± 1 – −2 é")
    assert said == "3 ± 1 – -2 é\n"
    assert printed("utf-8", "3 ± 1 – −2 → é")[1] == "3 ± 1 – −2 → é\n"


@given(st.sampled_from(ENCODINGS), st.text())
def test_every_text_can_be_printed_and_json_is_read_back(encoding: str, text: str) -> None:
    before = sys.stdout, sys.stderr
    try:
        _, _, document = printed(encoding, text)
    finally:
        sys.stdout, sys.stderr = before
    assert json.loads(document) == {"text": text}


def test_names_of_files_that_are_no_unicode_can_be_printed(standard: None) -> None:
    _, said, document = printed("utf-8", "a\udcff")
    assert said == "a\\udcff\n" and json.loads(document) == {"text": "a\udcff"}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_command_ends_well_and_says_the_same_figures(encoding: str) -> None:
    words = ["compare", RUN, RUN, "--results", str(ROOT / "results")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"}
    texts = []
    for more in ([], ["--json"]):
        done = subprocess.run([sys.executable, "-m", "gkdbench", *words, *more], capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr
        texts.append(done.stdout.decode(encoding))
    assert "95 % interval" in texts[0] and json.loads(texts[1])["first"] == RUN
