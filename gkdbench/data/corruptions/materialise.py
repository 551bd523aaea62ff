"""Corrupting a whole dataset ahead of time, in several processes, going on where an interrupted one ended."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gkdbench.data.checking.reading_processes import results_of
from gkdbench.data.corruptions.corrupt import check_available
from gkdbench.data.corruptions.dataset import corrupted_image
from gkdbench.data.corruptions.kept import KeptImages, encoded
from gkdbench.data.dataset import Dataset
from gkdbench.errors import DataError

Job = tuple[int, str, tuple[int, ...]]
"""An image, and the severities of a kind that are missing of it."""
_BLOCK = 4096
"""What a file takes on disk is a multiple of it."""
_SPARE = 1.1


@dataclass(frozen=True)
class Work:
    """What is left to do for a dataset."""

    dataset: Dataset
    store: Path
    of: str
    jobs: Sequence[Job]

    @property
    def images(self) -> int:
        """Number of corrupted images that are missing."""
        return sum(len(severities) for _, _, severities in self.jobs)

    def kept(self, kind: str, severity: int) -> KeptImages:
        """Return the images of a kind and severity."""
        return KeptImages(self.store, self.of, kind, severity)

    def disk_need(self) -> int:
        """Return about how many bytes the missing images take: from one image per kind, mildest and most severe."""
        total = 0.0
        for number, kind in enumerate(dict.fromkeys(kind for _, kind, _ in self.jobs)):
            jobs = [job for job in self.jobs if job[1] == kind]
            index, _, severities = jobs[number * 7919 % len(jobs)]
            ends = sorted({severities[0], severities[-1]})
            sizes = [len(encoded(corrupted_image(self.dataset, index, kind, severity))) for severity in ends]
            total += sum(len(job[2]) for job in jobs) * (sum(sizes) / len(sizes) + _BLOCK / 2)
        return int(total * _SPARE)


@dataclass(frozen=True)
class _CorruptAndKeep:
    """Does one job, in whatever process."""

    work: Work

    def __call__(self, job: Job) -> int:
        index, kind, severities = job
        name = self.work.dataset.name(index)
        for severity in severities:
            image = corrupted_image(self.work.dataset, index, kind, severity)
            self.work.kept(kind, severity).keep(name, image)
        return len(severities)


def outstanding(dataset: Dataset, kinds: Sequence[str], severities: Sequence[int], store: Path, of: str) -> Work:
    """Return which corrupted images of a dataset are missing in a store; begins their folders.

    of: digest of the dataset without its labels, which says whether images that lie there are those wanted.
    """
    for kind in kinds:
        check_available(kind)
    names = [dataset.name(index) for index in range(len(dataset))]
    jobs: list[Job] = []
    for kind in kinds:
        kept = [KeptImages(store, of, kind, severity) for severity in sorted(severities)]
        for one in kept:
            one.begin(names)
        present = {one.severity: one.present() for one in kept}
        for index, name in enumerate(names):
            file = kept[0].file(name).name
            missing = tuple(severity for severity, files in present.items() if file not in files)
            if missing:
                jobs.append((index, kind, missing))
    return Work(dataset, store, of, jobs)


def materialise(
    work: Work,
    workers: int,
    need: int | None = None,
    *,
    pause: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the missing images and return how many; DataError beforehand where the disk cannot hold them.

    need: what work.disk_need said, if it was asked. pause is called between images and may raise; the same call later
    goes on. progress is called with (images done, images in all).
    """
    if not work.jobs:
        return 0
    needed = work.disk_need() if need is None else need
    existing = next(folder for folder in (work.store, *work.store.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DataError(
            f"{work.store}: {work.images} corrupted images need about {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free; set GKDBENCH_CACHE, or leave them to be computed as they are read"
        )
    done, total = 0, work.images
    for count in results_of(_CorruptAndKeep(work), work.jobs, workers, pause):
        done += count
        if progress is not None:
            progress(done, total)
    return done
