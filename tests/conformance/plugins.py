"""Small plugins for the conformance kit's tests: a good one, and ways to break it."""

from pathlib import Path

GOOD = '''\
import itertools
import random

import numpy
import torch
import torch.nn.functional as F
from torch import nn

from gkdbench.api import Stage, Taps, Unsupported


class Cosine(Stage):
    """Task loss plus cosine mimicry of the teacher's last patch tokens."""

    teacher = "encoder"

    def __init__(self, pair, weight):
        super().__init__()
        self.weight, self.proj = weight, nn.Linear(pair.student.width, pair.teacher.width)

    def loss(self, step):
        student, teacher = step.student().tokens, step.teacher().tokens
        similarity = F.cosine_similarity(self.proj(student), teacher, dim=-1)
        value = self.weight * (1 - similarity).mean()
        return {"cosine": value}


def cosine(pair, *, weight: float = 1.0):
    return [Cosine(pair, weight)]
'''
VALUE = "        value = self.weight * (1 - similarity).mean()\n"
RETURN = '        return {"cosine": value}\n'
TEACHER = '    teacher = "encoder"\n'
INIT = "        super().__init__()\n"


def write(folder: Path, *changes: tuple[str, str]) -> tuple[str, list[str]]:
    """Write the plugin with pieces replaced; return what names it and the lines of its file."""
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file = folder / "plugin.py"
    file.write_text(text)
    return f"{file}:cosine", text.splitlines()


def after(old: str, new: str) -> tuple[str, str]:
    """Add lines behind a piece of the plugin."""
    return old, old + new
