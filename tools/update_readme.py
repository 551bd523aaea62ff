"""Write the README's result tables from the committed records: `python tools/update_readme.py [--check]`.

`--check` changes nothing and fails where the README is not what the records say.
"""

import argparse
import sys
from pathlib import Path

from gkdbench.report.terminal import terminal_tables
from gkdbench.runs.record import read_record

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- results: made by tools/update_readme.py from results/published -->"
END = "<!-- end of results -->"


def tables() -> str:
    """Return the method tables of results/published as Markdown."""
    files = sorted((ROOT / "results" / "published").glob("*/record.json"))
    parts = []
    for table in sorted(terminal_tables(read_record(file) for file in files), key=lambda table: table.title):
        header, *rows = table.rows
        lines = [f"**{table.title}**, {table.metric} in percent", ""]
        lines += [_line(header), _line(["---"] + ["---:"] * (len(header) - 1))]
        lines += [_line(row) for row in rows]
        # the terminal marks ranks with stars, a page can print the best in bold
        notes = ["Bold: best among comparable rows, without the teacher."]
        notes += [note for note in table.notes if not note.startswith("**:")]
        lines += ["", *(f"- {note}" for note in notes)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(cells: "list[str] | tuple[str, ...]") -> str:
    shown = [cell.removesuffix("**").removesuffix("*") for cell in cells]
    bold = [f"**{text}**" if cell.endswith("**") else text for cell, text in zip(cells, shown, strict=True)]
    return "| " + " | ".join(bold) + " |"


def updated(readme: str) -> str:
    """Return the README with the part between the marks replaced."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def main() -> int:
    """Update or check the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    options = parser.parse_args()
    path = ROOT / "README.md"
    old = path.read_text()
    new = updated(old)
    if options.check:
        if old != new:
            print("README.md is not up to date; run tools/update_readme.py", file=sys.stderr)
        return int(old != new)
    path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
