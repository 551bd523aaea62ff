"""Pairs of models that exist as numbers only."""

from gkdbench.api import Pair, Side


def side(width: int, grid: tuple[int, int] = (4, 4), **facts) -> Side:
    known = dict(
        width=width, depth=2, heads=2, grids={"proxy": grid, "source": grid}, tap_widths=(width,) * 2,
        pixel_dim=8, has_cls=True, has_qkv=True, can_mask=True, can_drop=True, has_head=True,
    )  # fmt: skip
    return Side(**{**known, **facts})


def pair(
    student: int = 16, teacher: int = 32, grid: tuple[int, int] = (4, 4), classes: int = 5, **facts
) -> Pair:
    """`student_NAME=` and `teacher_NAME=` set facts of one side."""
    own, other = (
        {key.removeprefix(role): value for key, value in facts.items() if key.startswith(role)}
        for role in ("student_", "teacher_")
    )
    return Pair(side(student, grid, **own), side(teacher, grid, **other), "segmentation", classes, 255)
