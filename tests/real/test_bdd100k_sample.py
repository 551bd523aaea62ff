"""The sample that BDD100K's own evaluation is tested with; skipped where the developers' data are not at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gkdbench.metrics.confusion import score, tally

SHARED = os.environ.get("GKDBENCH_SHARED")


def picture(name: str) -> NDArray[np.uint8]:
    with Image.open(Path(str(SHARED)) / "data" / "bdd100k_samples" / "eval_seg" / name) as opened:
        return np.asarray(opened)


@pytest.mark.skipif(SHARED is None, reason="GKDBENCH_SHARED is not set (developers' sample data)")
def test_counts_are_those_that_the_tools_authors_expect() -> None:
    counts, void = tally(picture("gt/a.png"), picture("pred/a.png"), 2, 255)
    assert counts.tolist() == [[93, 1], [4, 2]] and void.tolist() == [0, 0]
    result = score(counts, "present_in_truth")
    np.testing.assert_allclose(result.iou, [93 / 98, 2 / 7], rtol=1e-12)
    assert result.mean == pytest.approx((93 / 98 + 2 / 7) / 2, rel=1e-12) and result.in_mean == 2
