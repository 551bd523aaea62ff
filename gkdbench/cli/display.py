"""Progress for a person: a bar with time left on a terminal, one plain line per interval elsewhere."""

import os
import sys
import time

from gkdbench.cli.console import say

INTERVAL_S = 15.0


class PlainDisplay:
    """One line per interval on stderr; for logs, pipes and NO_COLOR terminals alike."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._title, self._began, self._last, self._seen = "", 0.0, 0.0, 0

    def say(self, text: str) -> None:
        """Show one line."""
        say(text)

    def begin(self, title: str) -> None:
        """Name the work whose progress follows."""
        self._title, self._began = title, time.monotonic()
        self._last, self._seen = self._began, 0
        say(title)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Show how far the work is, at most once per interval."""
        now = time.monotonic()
        if done < self._seen:  # another piece of work under the same title
            self._began = now
        self._seen = done
        if now - self._last >= self._interval_s:
            self._last = now
            say(f"{self._title}: {done}/{total}, {time_left(self._began, done, total)} left  {text}")


class BarDisplay(PlainDisplay):
    """A bar that is redrawn in place."""

    def begin(self, title: str) -> None:
        """Name the work whose progress follows."""
        self._clear()
        self._title, self._began, self._last, self._seen = title, time.monotonic(), 0.0, 0

    def say(self, text: str) -> None:
        """Show one line above the bar."""
        self._clear()
        say(text)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Redraw the bar, ten times a second at most."""
        now = time.monotonic()
        if done < self._seen:
            self._began = now
        self._seen = done
        if now - self._last < 0.1 and done < total:
            return
        self._last = now
        filled = round(24 * done / max(total, 1))
        bar = "#" * filled + "." * (24 - filled)
        line = f"{self._title} [{bar}] {done}/{total} {time_left(self._began, done, total)} {text}"
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        print(f"\r\x1b[2K{line[: columns - 1]}", end="", file=sys.stderr, flush=True)
        if done >= total:
            print(f"\r\x1b[2K{self._title}: done in {now - self._began:.0f} s", file=sys.stderr)

    def _clear(self) -> None:
        print("\r\x1b[2K", end="", file=sys.stderr)


def time_left(began: float, done: int, total: int) -> str:
    """Return the remaining time at the speed so far, as minutes:seconds."""
    if done <= 0:
        return "?:??"
    remaining = (time.monotonic() - began) / done * (total - done)
    minutes, seconds = divmod(round(remaining), 60)
    return f"{minutes}:{seconds:02d}"


class SilentDisplay(PlainDisplay):
    """For the processes of a multi-device run that are not the first."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def begin(self, title: str) -> None:
        """Show nothing."""

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Show nothing."""


def choose_display(rank: int = 0) -> PlainDisplay:
    """Return the bar on a terminal, plain lines elsewhere, nothing for other ranks than the first."""
    if rank:
        return SilentDisplay()
    dumb = os.environ.get("TERM", "") in ("", "dumb")
    return BarDisplay() if sys.stderr.isatty() and not dumb else PlainDisplay()
