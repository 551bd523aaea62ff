"""Count the lines that carry code, by room: blank lines, comments and docstrings are free but in the longest file and
function, of which a reader sees every line.

    python tools/code_lines.py                 # the rooms, the core (all but the report), the longest file and function
    python tools/code_lines.py --core-most N   # exit code 1 where something is above its limit
    python tools/code_lines.py --loaded        # also what the default run loads (it runs, at its smallest size)
"""

import argparse
import ast
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("gkdbench", "methods", "benchmarks")
REPORT = "gkdbench/report"
RENDERER = "benchmarks/streets"
WITHOUT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef
LOADED = """
import sys
from gkdbench.cli.main import main
sys.argv = ["gkdbench", "run", "--method", "gkd", "--setting", "f2l", "--preset", "smoke", "--no-report"]
sys.argv += ["--results", sys.stdin.read()]
try:
    main()
finally:
    print(*{m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)}, sep="\\n")
"""


def code_lines(text: str) -> set[int]:
    """Return the numbers of the lines of a source text that carry code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type not in WITHOUT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Yield the name and the length of every function, all its lines counted."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def room(name: str) -> str:
    """Return the room of a file: a package of gkdbench, or the top folder."""
    parts = name.split("/")
    depth = 2 if name.startswith(("gkdbench/", RENDERER)) and len(parts) > 2 else 1
    return "/".join(parts[:depth])


def loaded() -> set[str]:
    """Return the files of the product that the default run has loaded when its record is written."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", LOADED], input=folder, capture_output=True, text=True, cwd=ROOT, check=True
        )
    paths = [Path(line) for line in done.stdout.splitlines() if line.endswith(".py")]
    return {str(path.relative_to(ROOT)) for path in paths if path.is_relative_to(ROOT)}


def main() -> None:
    """Print the counts; leave with 1 where a limit is passed."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--loaded", action="store_true", help="count what the default run loads")
    limits = {
        "all": "the product", "core": "the product without its report", "loaded-core": "what the default run loads",
        "file": "one file", "function": "one function",
    }  # fmt: skip
    for limit, what in limits.items():
        asked.add_argument(f"--{limit}-most", type=int, metavar="N", help=f"limit for {what}")
    given = asked.parse_args()

    listed = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, cwd=ROOT, check=True)
    rooms: Counter[str] = Counter()
    files: dict[str, int] = {}
    lengths: list[tuple[int, str]] = []
    longest: list[tuple[int, str]] = []
    for name in listed.stdout.split():
        text = (ROOT / name).read_text(encoding="utf-8")
        lines = code_lines(text)
        rooms[room(name)] += len(lines)
        if name.split("/")[0] in PRODUCT:
            files[name] = len(lines)
            lengths.append((len(text.splitlines()), name))
            longest += [(count, f"{name}: {function}") for function, count in functions(text)]
    for place, count in rooms.most_common():
        print(f"{place:24} {count:6}")
    core = {name: count for name, count in files.items() if not name.startswith(REPORT)}
    counts = {"all": sum(files.values()), "core": sum(core.values())}
    counts["file"], counts["function"] = max(lengths)[0], max(longest)[0]
    said = {"file": max(lengths)[1], "function": max(longest)[1]}
    if given.loaded or given.loaded_core_most:
        run = loaded()
        counts["loaded-core"] = sum(count for name, count in core.items() if name in run and RENDERER not in name)
    print()
    over = False
    for limit, count in counts.items():
        most = getattr(given, f"{limit.replace('-', '_')}_most")
        above = most is not None and count > most
        over = over or above
        bound = "" if most is None else f" (at most {most}{': too many' if above else ''})"
        print(f"{limits[limit]:32} {count:6}{bound} {said.get(limit, '')}".rstrip())
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
