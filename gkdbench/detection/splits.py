"""Splits of boxes in files of a user's own: VOC's XML, one per image, or one JSON as COCO has it."""

from typing import TYPE_CHECKING

from pydantic import model_validator

from gkdbench.spec.box_labels import BoxRules
from gkdbench.spec.dataset import PLACE, Bits, check_lists, check_places, check_templates, inside
from gkdbench.spec.documents import Names
from gkdbench.spec.split import Split

MAIN = "ImageSets/Main"
"""Where VOC keeps its lists."""

if TYPE_CHECKING:
    from gkdbench.data.dataset import Dataset, Opening


class VocSplit(BoxRules, Split):
    """Images and an XML of boxes for each, unpacked or in archives below a root."""

    root: str
    """Folder below the data root."""
    images: str = "JPEGImages/{stem}.{suffix}"
    """Template of the images; `{suffix}`, where it is used, is any of jpg, jpeg and png."""
    annotations: str | None = "Annotations/{stem}.xml"
    """Template of the XML files; None: unlabelled."""
    only: dict[str, Names] = {}
    """Placeholder -> the values it may take, such as `year: ["2007", "2012"]` for images in `VOC{year}/JPEGImages/`."""
    list: str | None = None
    """Which images: `train` means ImageSets/Main/train.txt; else a template that ends with .txt, below the root or
    beside the YAML. One `{stem}` per line. None: all images."""
    bits: Bits = None

    @model_validator(mode="after")
    def _layout(self) -> "VocSplit":
        check_templates(self.images, self.annotations)
        check_places("only", self.only, self.images)
        inside("root", self.root)
        if self.list is not None:
            check_lists("list", str(self.listed), self.images)
        if self.annotations is not None and "suffix" in PLACE.findall(self.annotations):
            raise ValueError("annotations: {suffix} is that of the images")
        return self

    @property
    def listed(self) -> str | None:
        """Template of the list."""
        if self.list is None or self.list.endswith(".txt"):
            return self.list
        return f"{MAIN}/{self.list}.txt"

    def open(self, opening: "Opening") -> "Dataset":
        """Find images and annotations; DataError where files are missing."""
        from gkdbench.detection.opening import open_voc

        return open_voc(self, opening)


class CocoSplit(BoxRules, Split):
    """Images, and one JSON file of boxes as COCO has it: images, annotations (bbox, iscrowd), categories by name."""

    root: str
    """Folder below the data root."""
    annotations: str
    """The JSON file below `root`, unpacked or in an archive there."""
    images: str = "."
    """Folder below `root`, or in the archive, that the JSON's file names begin at."""
    bits: Bits = None

    @model_validator(mode="after")
    def _below(self) -> "CocoSplit":
        for key in ("root", "annotations", "images"):
            inside(key, getattr(self, key))
        return self

    def open(self, opening: "Opening") -> "Dataset":
        """Read the JSON and find its images; DataError where files are missing."""
        from gkdbench.detection.opening import open_coco

        return open_coco(self, opening)
