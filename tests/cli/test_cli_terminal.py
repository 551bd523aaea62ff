"""On a terminal tables wrap and progress is a bar; elsewhere both are plain lines."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

WORK = """
from gkdbench.cli.display import choose_display
display = choose_display()
display.begin("training [x]")
for step in range(1, 4):
    display.progress(step, 3, "loss 1.0")
display.begin("judging")
display.say("warning: [bold] words")
raise SystemExit(1)
"""


def on_terminal(folder: Path, *arguments: str) -> str:
    """Return what a program shows on a terminal of 70 columns."""
    ours, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "70"}
    with subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # how Linux says that the other side has closed it
                break
        process.wait()
    os.close(ours)
    return shown.decode()


def test_tables_keep_to_the_width_of_a_terminal_only(tmp_path: Path) -> None:
    words = ("-m", "gkdbench", "list", "methods", "gkd*")
    shown = on_terminal(tmp_path, *words).splitlines()
    assert len(shown) > 20 and all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 70 for line in shown)
    piped = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in piped and all(line.startswith(("gkd", "name", "---")) for line in piped.splitlines())


def test_progress_is_a_bar_on_a_terminal_only(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, "-c", WORK)
    assert "3/3" in shown and "loss 1.0" in shown and "training [x]: done in 0 s" in shown
    assert "warning: [bold] words" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back, although the program failed
    piped = subprocess.run([sys.executable, "-c", WORK], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert piped.stderr == "training [x]\njudging\nwarning: [bold] words\n" and piped.stdout == ""
