"""Checkpoints of a stage in training: student, stage, optimiser, place. Never the teacher."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gkdbench.errors import DataError

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
    """One file in the folder of an unfinished stage, replaced every `every_s` seconds."""

    def __init__(self, folder: Path, write: Write, every_s: float = 60.0) -> None:
        self.path, self._write, self.every_s = folder / "checkpoint.pt", write, every_s
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() - self._last >= self.every_s

    def save(
        self,
        module: dict[str, Any],
        optimiser: dict[str, Any],
        progress: Progress,
    ) -> None:
        """Write the state atomically."""
        state = {
            "module": module,
            "optimiser": optimiser,
            "progress": json.dumps(vars(progress)),
        }
        self._write(self.path, lambda stream: torch.save(state, stream))
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Any], dict[str, Any], Progress] | None:
        """Return module state, optimiser state and progress; None where nothing was saved."""
        if not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            progress = Progress(**json.loads(state["progress"]))
            return state["module"], state["optimiser"], progress
        except Exception as error:  # a damaged file fails in many ways; all mean the same to the user
            raise DataError(
                f"{self.path}: damaged checkpoint ({str(error).splitlines()[0][:120]}); "
                "delete it to train this stage from its start"
            ) from error
