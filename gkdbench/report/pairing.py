"""Whether two results were judged alike: on the same images and labels, by the same protocol."""

from typing import TYPE_CHECKING

from gkdbench.runs.record import SplitResult

if TYPE_CHECKING:  # a table of methods needs no counts, so no Parquet
    from gkdbench.report.image_counts import SplitCounts

OTHER_DATA = "judged on other images or labels"
OTHER_PROTOCOL = "judged by another protocol"
NO_SUM = (
    "AP is no sum over images, as it ranks the boxes of all images together: there are no counts per image that a "
    "bootstrap could draw from"
)
UNKNOWN_RULE = "the bootstrap does not know this rule of the mean"


def same_data(first: SplitResult, second: SplitResult) -> bool:
    """Say whether two results are of the same images and labels, as far as records tell.

    Digests of the data decide where both state them. Where one does not (a rendered benchmark's version says what was
    judged; older records do not say), the number of images must agree, and the pixels that each class has in the
    ground truth, which no prediction changes; under another protocol those may be counted at another size.
    """
    if first.data and second.data:
        return first.data == second.data
    if first.n_images != second.n_images:
        return False
    return first.protocol != second.protocol or truth_pixels(first) == truth_pixels(second)


def truth_pixels(result: SplitResult) -> list[int]:
    """Return the pixels of each class in the ground truth."""
    return [sum(row) for row in result.confusion]


def unlike(first: SplitResult, second: SplitResult) -> str | None:
    """Say why two results may not be set against each other; None where they may."""
    if first.protocol != second.protocol:
        return OTHER_PROTOCOL
    return None if same_data(first, second) else OTHER_DATA


def same_images(first: "SplitCounts", second: "SplitCounts") -> bool:
    """Say whether counts are of the same images in the same order, of the same ground truth image by image."""
    if first.counts.shape != second.counts.shape or not first.names.equals(second.names):
        return False
    apart = first.pixels.truth != second.pixels.truth
    return not apart.any()
