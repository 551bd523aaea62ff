"""Ctrl-C and SIGTERM become a flag that the loop asks for between steps; a second signal ends at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gkdbench.errors import Interrupted


class StopFlag:
    """Whether a signal has asked the process to stop."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def check(self) -> None:
        """Raise Interrupted if a signal has come; for work that has no state to save."""
        if self.signal:
            raise Interrupted(f"stopped by {self.signal}; the same command continues")


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Catch SIGINT and SIGTERM for the length of a with block."""
    flag = StopFlag()

    def note(number: int, _frame: FrameType | None) -> None:
        flag.signal = signal.Signals(number).name
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in previous:
            signal.signal(number, note)
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
