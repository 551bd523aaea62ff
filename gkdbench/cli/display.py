"""Progress for a person: a bar with time left on a terminal, one plain line per interval elsewhere."""

import atexit
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gkdbench.cli.console import say
from gkdbench.report.visible_text import visible

if TYPE_CHECKING:
    from rich.progress import Progress

INTERVAL_S = 15.0
REDRAWN_S = 0.1


class PlainDisplay:
    """One line per interval on stderr; for logs and pipes."""

    def __init__(self, say: Callable[[str], None] = say) -> None:
        self.say = say
        self._title, self._began, self._last, self._seen = "", 0.0, 0.0, 0

    def begin(self, title: str) -> None:
        """Name the work whose progress follows."""
        self._title, self._began = title, time.monotonic()
        self._last, self._seen = self._began, 0
        self.say(title)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Show how far the work is, at most once per interval."""
        now = time.monotonic()
        if done < self._seen:  # another piece of work under the same title
            self._began = now
        self._seen = done
        if now - self._last >= INTERVAL_S:
            self._last = now
            left = f"{(now - self._began) / done * (total - done):.0f} s" if done else "?"
            self.say(f"{self._title}: {done}/{total}, {left} left  {text}")


class BarDisplay(PlainDisplay):
    """A bar below what is said; drawn by whoever does the work, as threads and forked processes go badly together."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        atexit.register(self._close)

    def begin(self, title: str) -> None:
        """Name the work whose progress follows."""
        from rich import progress
        from rich.console import Console

        self._close()
        self._title, self._began = title, time.monotonic()
        name, said = (progress.TextColumn(form, markup=False) for form in ("{task.description}", "{task.fields[text]}"))
        self._bar = progress.Progress(
            name, progress.BarColumn(24), progress.MofNCompleteColumn(), progress.TimeRemainingColumn(), said,
            console=Console(stderr=True), auto_refresh=False, transient=True, redirect_stdout=False,
        )  # fmt: skip
        self._bar.add_task(visible(title), total=None, text="")
        self._bar.start()

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Redraw the bar, ten times a second at most."""
        if self._bar is None:  # the same work once more, such as on another split
            self.begin(self._title)
        assert self._bar is not None
        task, now = self._bar.tasks[0], time.monotonic()
        if done < task.completed:
            self._bar.reset(task.id)
        self._bar.update(task.id, completed=done, total=total, text=visible(text))
        if done >= total:
            self._close()
            self.say(f"{self._title}: done in {now - self._began:.0f} s")
        elif now - self._last >= REDRAWN_S:
            self._last = now
            self._bar.refresh()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def choose_display(rank: int = 0) -> PlainDisplay:
    """Return the bar on a terminal, plain lines elsewhere, nothing for other ranks than the first."""
    if rank:
        return PlainDisplay(lambda text: None)
    dumb = os.environ.get("TERM", "") in ("", "dumb")
    return BarDisplay() if sys.stderr.isatty() and not dumb else PlainDisplay()
