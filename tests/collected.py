"""Detections and objects of many images, as average precision takes them."""

from collections.abc import Iterable

from gkdbench.detection.overlaps import BoxCollection, Overlaps
from gkdbench.spec.objects import Detections, Objects


def collect(images: Iterable[tuple[Objects, Detections]], classes: int) -> Overlaps:
    """Collect all images at once."""
    collection = BoxCollection(classes)
    for objects, detections in images:
        collection.add(objects, detections)
    return collection.overlaps()
