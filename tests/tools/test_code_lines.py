"""The counter of code lines counts what carries code, and its limits hold a commit back."""

import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''"""A module."""

import os  # why


class Thing:
    """What it is,
    at length."""

    field = 1
    """Said of the field."""

    def act(self) -> str:
        """Act."""
        # a remark
        return """no docstring,
        but two lines of code"""
'''


def test_blank_lines_comments_and_docstrings_are_free() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "code_lines.py"))
    code_lines, functions = tool["code_lines"], tool["functions"]
    numbered = SOURCE.splitlines()
    assert [numbered[line - 1].split()[0] for line in sorted(code_lines(SOURCE))] == [
        "import", "class", "field", "def", "return", "but",
    ]  # fmt: skip
    assert list(functions(SOURCE)) == [("act", 5)]


def test_a_limit_that_is_passed_is_named_and_fails() -> None:
    command = [sys.executable, "tools/code_lines.py", "--core-most", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "at most 10: too many" in done.stdout
