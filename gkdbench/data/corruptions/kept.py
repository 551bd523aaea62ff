"""Corrupted images on disk: one folder per kind and severity with PNGs and a manifest that says what they are.

They are written in several processes. A killed one leaves nothing that looks finished, and the next one goes on with
what is missing. What is read back is bit for bit what would be computed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from gkdbench.data.checking.reading_processes import results_of
from gkdbench.data.corruptions.corrupt import SEED_RULES, check_available, corrupted_image, corruption_seed
from gkdbench.data.corruptions.library import LIBRARY, VERSION
from gkdbench.data.dataset import Dataset
from gkdbench.data.files.whole import write_whole
from gkdbench.errors import DataError
from gkdbench.spec.corruption import target_name

FORMAT = 1
MANIFEST = "manifest.json"
_LONGEST_NAME = 100
_FASTEST = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_WHAT = "corrupted images"
_SAMPLES = 30
"""Images whose size on disk says how large all are."""
_BLOCK = 4096
"""What a file takes on disk is a multiple of it."""
_SPARE = 1.1

Job = tuple[int, str, int]
"""An image, a kind, a severity."""


@dataclass(frozen=True)
class KeptImages:
    """The images of one kind and severity; `of` is the digest of what they were made of."""

    store: Path
    of: str
    kind: str
    severity: int

    @property
    def folder(self) -> Path:
        """Where they lie: the images of another split lie elsewhere."""
        return self.store / self.of[:16] / target_name(self.kind, self.severity)

    def file(self, name: str) -> Path:
        """Return where an image is kept, whatever its name is made of."""
        mark = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
        return self.folder / f"{quote(name, safe='')[-_LONGEST_NAME:]}-{mark}.png"

    def image(self, name: str) -> NDArray[np.uint8] | None:
        """Return an image, uint8 [H, W, 3]; None where it is not there or cannot be read."""
        try:
            content = np.frombuffer(self.file(name).read_bytes(), np.uint8)
        except OSError:
            return None
        found = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
        return None if found is None else np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB, dst=found), np.uint8)

    def usable(self) -> bool:
        """Whether a manifest says that these are the images wanted."""
        try:
            found = json.loads((self.folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and {key: found.get(key) for key in self._identity()} == self._identity()

    def begin(self, names: Sequence[str]) -> None:
        """Prepare the folder and write its manifest; images of another version that lie there are removed."""
        if self.usable():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        images = {name: [self.file(name).name, corruption_seed(name, self.kind, self.severity)] for name in names}
        content = json.dumps({**self._identity(), "images": images}, indent=0).encode()  # name -> file, seed
        write_whole(self.folder / MANIFEST, lambda stream: stream.write(content), _WHAT)

    def present(self) -> set[str]:
        """Return the names of the files that are there, whole."""
        try:
            return {entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".png")}
        except OSError:
            return set()

    def _identity(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "of": self.of,
            "kind": self.kind,
            "severity": self.severity,
            "library": LIBRARY,
            "version": VERSION,
            "seed_rule": SEED_RULES[self.kind],
        }


@dataclass(frozen=True)
class Work:
    """What is left to do for a dataset; does a job of it when it is called, in whatever process."""

    dataset: Dataset
    store: Path
    of: str
    jobs: Sequence[Job]

    def __call__(self, job: Job) -> None:
        """Write one image; DataError where the disk refuses."""
        index, kind, severity = job
        content = self._content(job)
        file = KeptImages(self.store, self.of, kind, severity).file(self.dataset.name(index))
        write_whole(file, lambda stream: stream.write(content), _WHAT)

    def disk_need(self) -> int:
        """Return about how many bytes the missing images take, from some of all kinds and severities."""
        sizes = [len(self._content(job)) for job in self.jobs[:: -(-len(self.jobs) // _SAMPLES)]]
        return int(len(self.jobs) * (sum(sizes) / len(sizes) + _BLOCK / 2) * _SPARE)

    def _content(self, job: Job) -> bytes:
        image = corrupted_image(self.dataset, *job)
        whole, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _FASTEST)
        assert whole
        return bytes(content)


def outstanding(dataset: Dataset, kinds: Sequence[str], severities: Sequence[int], store: Path, of: str) -> Work:
    """Return which corrupted images of a dataset are missing in a store; begins their folders.

    of: digest of the dataset without its labels, which says whether images that lie there are those wanted.
    """
    names = [dataset.name(index) for index in range(len(dataset))]
    jobs: list[Job] = []
    for kind in kinds:
        check_available(kind)
        for severity in sorted(severities):
            kept = KeptImages(store, of, kind, severity)
            kept.begin(names)
            present = kept.present()
            jobs += [(n, kind, severity) for n, name in enumerate(names) if kept.file(name).name not in present]
    return Work(dataset, store, of, jobs)


def materialise(
    work: Work,
    workers: int,
    *,
    pause: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the missing images; DataError beforehand where the disk cannot hold them.

    pause is called between images and may raise; the same call later goes on. progress is called with (images done,
    images in all).
    """
    if not work.jobs:
        return
    needed = work.disk_need()
    free = shutil.disk_usage(next(folder for folder in (work.store, *work.store.parents) if folder.exists())).free
    if free < needed:
        raise DataError(
            f"{work.store}: {len(work.jobs)} corrupted images need about {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free; set GKDBENCH_CACHE, or leave them to be computed as they are read"
        )
    for done, _ in enumerate(results_of(work, work.jobs, workers, pause), start=1):
        progress(done, len(work.jobs))
