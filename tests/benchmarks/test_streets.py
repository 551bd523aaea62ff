"""The renderer draws what its documentation says, the same everywhere, and the cache keeps it."""

import errno
import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gkdbench.errors import DataError, UsageError
from gkdbench_benchmarks.streets import cache, render
from gkdbench_benchmarks.streets.cache import rendered_split, split_name
from gkdbench_benchmarks.streets.parts import IGNORE, PART_INDEX, PARTS

# Measured on 500 images, per cent of the pixels.
DAY_SHARES = {
    "road": 33.7,
    "sidewalk": 5.1,
    "building": 31.4,
    "fence": 2.1,
    "pole": 2.7,
    "sign": 0.8,
    "vegetation": 4.9,
    "terrain": 3.3,
    "sky": 11.7,
    "person": 1.2,
    "vehicle": 3.0,
}


def fingerprint(kind: str, index: int) -> str:
    one = render.render(kind, 3, index)
    content = one.image.tobytes() + one.parts.tobytes() + one.depth.tobytes()
    return hashlib.sha256(content).hexdigest()


def test_an_image_depends_on_kind_seed_and_index_alone() -> None:
    wanted = [(kind, index) for kind in render.KINDS for index in (0, 5)]
    here = [fingerprint(kind, index) for kind, index in wanted]
    program = (
        "import hashlib\n"
        "from gkdbench_benchmarks.streets.render import render\n"
        f"for kind, index in reversed({wanted!r}):\n"
        "    one = render(kind, 3, index)\n"
        "    content = one.image.tobytes() + one.parts.tobytes() + one.depth.tobytes()\n"
        "    print(hashlib.sha256(content).hexdigest())\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert there.stdout.split()[::-1] == here
    own = here[:-2]  # the last kind is the composite, which repeats others
    assert len(set(own)) == len(own)


def test_rendering_needs_no_torch() -> None:
    program = "import sys\nimport gkdbench_benchmarks.streets.cache\nsys.exit('torch' in sys.modules)\n"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_rendering_leaves_the_threads_of_opencv_alone() -> None:
    before = cv2.getNumThreads()
    render.render("day", 0, 0)
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize("kind", render.KINDS)
def test_shapes_and_ranges(kind: str) -> None:
    for index in range(3):
        one = render.render(kind, 1, index)
        assert one.image.shape == (*render.SIZE, 3)
        assert one.image.dtype == one.parts.dtype == np.uint8
        assert one.image.std() > 3
        assert one.parts.shape == one.depth.shape == render.SIZE
        assert one.parts.max() < len(PARTS)
        assert one.depth.dtype == np.float16
        assert one.depth.min() > 0
        assert np.isfinite(one.depth).all()
        labels = render.class_labels(one.parts)
        assert set(np.unique(labels)) <= {*range(len(render.CLASSES)), IGNORE}


def test_unknown_kinds_are_named() -> None:
    with pytest.raises(ValueError, match=r"dusk.*night"):
        render.render("dusk", 0, 0)


def test_class_shares_of_the_source_are_the_documented_ones() -> None:
    labels = [render.class_labels(render.render("day", 1, i).parts) for i in range(150)]
    counts = np.bincount(np.concatenate(labels).ravel(), minlength=256)
    assert counts[len(render.CLASSES) :].sum() == 0
    shares = 100 * counts[: len(render.CLASSES)] / counts.sum()
    for name, share in zip(render.CLASSES, shares, strict=True):
        expected = DAY_SHARES[name]
        assert abs(share - expected) < max(0.12 * expected, 0.35 * expected**0.5), name


def test_a_composite_takes_its_kinds_in_turn() -> None:
    assert fingerprint("proxy", 4) == fingerprint("wide_objects", 4)
    assert fingerprint("proxy", 5) == fingerprint("wide_street", 5)


def test_rain_reflects_down_to_the_last_row() -> None:
    for index in range(50):
        image = render.render("rain", 2, index).image
        assert image[-6:].mean() > 40, index


def coherence(grey: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """0 where the grain has no direction, 1 for pure stripes (structure tensor)."""
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0)[mask], cv2.Sobel(grey, cv2.CV_32F, 0, 1)[mask]
    xx, yy, xy = (dx * dx).mean(), (dy * dy).mean(), (dx * dy).mean()
    return float(np.hypot(xx - yy, 2 * xy) / (xx + yy))


def test_city_has_striped_walls_but_no_striped_ground() -> None:
    found: dict[str, list[float]] = {"road": [], "sky": [], "wall": []}
    for index in range(60):
        one = render.render("city", 2, index)
        grey = one.image.mean(-1).astype(np.float32)
        for name, values in found.items():
            mask = cv2.erode((one.parts == PART_INDEX[name]).astype(np.uint8), np.ones((5, 5)))
            if mask.sum() > 60:
                values.append(coherence(grey, mask > 0))
    assert np.mean(np.array(found["road"]) > 0.5) == 0
    assert np.mean(np.array(found["sky"]) > 0.5) < 0.05
    assert 0.05 < np.mean(np.array(found["wall"]) > 0.5) < 0.5


@pytest.mark.parametrize("kind", [*render.TARGETS, "held-out"])
def test_a_target_differs_from_the_source(kind: str) -> None:
    def statistics(of: str) -> NDArray[np.float64]:
        images = np.stack([render.render(of, 4, i).image for i in range(20)]) / 255.0
        rough = np.abs(np.diff(images, axis=2)).mean()
        return np.array([*images.mean((0, 1, 2)), images.std(), 4 * rough])

    assert np.abs(statistics(kind) - statistics("day")).max() > 0.04


def test_a_split_is_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    split = rendered_split(tmp_path, "day", 1, 5, progress=lambda a, b: calls.append((a, b)))
    assert calls[-1] == (5, 5)
    assert len(split) == 5
    assert not split.images.flags.writeable
    one = render.render("day", 1, 3)
    assert np.array_equal(split.images[3], one.image)
    assert np.array_equal(split.labels[3], render.class_labels(one.parts))

    def refuse(kind: str, seed: int, index: int) -> render.Rendered:
        raise AssertionError("rendered again")

    monkeypatch.setattr(cache, "render", refuse)
    again = rendered_split(tmp_path, "day", 1, 5)
    assert np.array_equal(again.images, split.images)


def test_splits_do_not_collide(tmp_path: Path) -> None:
    names = {
        split_name(kind, seed, count)
        for kind in render.KINDS
        for seed in (1, 11)
        for count in (1, 11)
    }
    assert len(names) == 4 * len(render.KINDS)
    day = rendered_split(tmp_path, "day", 1, 2)
    night = rendered_split(tmp_path, "night", 1, 2)
    assert day.images.mean() > 2 * night.images.mean()


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
@pytest.mark.parametrize("kept", [0, 50, 5000])
def test_a_truncated_file_is_repaired(tmp_path: Path, name: str, kept: int) -> None:
    split = rendered_split(tmp_path, "fog", 1, 3)
    images, labels = split.images.copy(), split.labels.copy()
    folder = tmp_path / split_name("fog", 1, 3)
    content = (folder / name).read_bytes()
    del split
    (folder / name).write_bytes(content[:kept])
    repaired = rendered_split(tmp_path, "fog", 1, 3)
    assert np.array_equal(repaired.images, images)
    assert np.array_equal(repaired.labels, labels)
    assert sorted(path.name for path in folder.iterdir()) == ["images.npy", "labels.npy"]


def test_two_may_render_the_same_split_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: rendered_split(tmp_path, "snow", 1, 6), range(2))
    assert np.array_equal(first.images, second.images)


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    several = rendered_split(tmp_path / "several", "wide_objects", 1, 205, workers=2)
    alone = rendered_split(tmp_path / "alone", "wide_objects", 1, 205, workers=1)
    assert np.array_equal(several.images, alone.images)
    assert np.array_equal(several.labels, alone.labels)


def test_a_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, arr: Any, **options: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.np, "save", full)
    with pytest.raises(DataError, match=r"rendered scenes cannot be kept there \(No space left on device\)") as caught:
        rendered_split(tmp_path, "day", 1, 3)
    assert "\n" not in str(caught.value) and not [path for path in tmp_path.glob("*/*")]


def test_wrong_requests_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dusk"):
        rendered_split(tmp_path, "dusk", 1, 3)
    with pytest.raises(UsageError, match="positive"):
        rendered_split(tmp_path, "day", 1, 0)
    occupied = tmp_path / "file"
    occupied.write_text("")
    with pytest.raises(DataError, match="cannot be kept there"):
        rendered_split(occupied, "day", 1, 3)
