"""Checkpoints of a stage in training: student, stage, optimiser, place. Never the teacher."""

import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

Write = Callable[[Path, Callable[[BinaryIO], Any]], None]


@dataclass
class Progress:
    """Where a stage stands; everything that must survive an interruption besides the tensors."""

    step: int = 0
    log_lines: int = 0
    window: dict[str, list[float]] = field(default_factory=dict)
    """Terms of the steps since the last log line."""
    first: dict[str, float] = field(default_factory=dict)
    """Terms of step 0."""
    wall_s: float = 0.0
    student_passes: int = 0
    teacher_passes: int = 0


class Checkpoint:
    """One file of an unfinished stage, replaced every `every_s` seconds; `say` is told of one that is damaged."""

    def __init__(self, path: Path, write: Write, say: Callable[[str], None], every_s: float = 60.0) -> None:
        self.path, self._write, self._say, self.every_s = path, write, say, every_s
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() - self._last >= self.every_s

    def save(self, module: dict[str, Any], optimiser: dict[str, Any], progress: Progress) -> None:
        """Write the state atomically."""
        state = {"module": module, "optimiser": optimiser, "progress": json.dumps(vars(progress))}
        self._write(self.path, lambda stream: torch.save(state, stream))
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Any], dict[str, Any], Progress] | None:
        """Return module state, optimiser state and progress; None where nothing was saved or what was is damaged.

        Then the stage starts from its beginning: nothing else can be done, and it is said.
        """
        if not self.path.is_file():
            return None
        try:
            with zipfile.ZipFile(self.path) as parts:  # whose checksums torch does not look at
                broken = parts.testzip()
            if broken is not None:
                raise ValueError(f"the checksum of its part {broken} is wrong")
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            progress = Progress(**json.loads(state["progress"]))
            return state["module"], state["optimiser"], progress
        except Exception as error:  # a damaged file fails in many ways; all mean the same to the user
            said = (str(error).splitlines() or [type(error).__name__])[0][:120]
            self._say(f"warning: {self.path}: damaged checkpoint ({said}); the stage starts from its beginning")
            return None
