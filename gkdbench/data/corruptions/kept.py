"""Corrupted images on disk: one folder per kind and severity with PNGs and a manifest that says what they are.

Every file is written under another name and renamed when it is whole, so a killed process leaves nothing that looks
finished, and the next one goes on with what is missing. What is read back is bit for bit what would be computed.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from gkdbench.data.corruptions.corrupt import SEED_RULES, corruption_seed
from gkdbench.data.corruptions.library import LIBRARY, VERSION
from gkdbench.errors import DataError
from gkdbench.spec.corruption import target_name

FORMAT = 1
MANIFEST = "manifest.json"
_LONGEST_NAME = 100
_STALE_S = 3600
_FASTEST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True)
class KeptImages:
    """The images of one kind and severity; `of` is the digest of what they were made of."""

    store: Path
    of: str
    kind: str
    severity: int

    @cached_property
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

    def keep(self, name: str, image: NDArray[np.uint8]) -> None:
        """Write an image; DataError where the disk refuses."""
        file = self.file(name)
        self._write(file, encoded(image))

    def usable(self) -> bool:
        """Whether a manifest says that these are the images wanted."""
        try:
            found = json.loads((self.folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and {key: found.get(key) for key in self._identity()} == self._identity()

    def begin(self, names: Iterable[str]) -> None:
        """Prepare the folder and write its manifest; images of another version that lie there are removed."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            usable = self.usable()
            for path in self.folder.iterdir():
                partial = path.suffix == ".tmp" and time.time() - path.stat().st_mtime > _STALE_S
                if partial or (path.suffix == ".png" and not usable):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise self._refused(error) from error
        if usable:
            return
        images = {name: [self.file(name).name, corruption_seed(name, self.kind, self.severity)] for name in names}
        content = {**self._identity(), "images": images}  # name -> file, seed
        self._write(self.folder / MANIFEST, json.dumps(content, indent=0).encode())

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

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            # not synced: a file that a power cut left empty cannot be decoded, and is then computed
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> DataError:
        reason = error.strerror or str(error)
        return DataError(f"{self.folder}: corrupted images cannot be kept there ({reason}); set GKDBENCH_CACHE")


def encoded(image: NDArray[np.uint8]) -> bytes:
    """Return an image as the bytes of a PNG."""
    whole, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _FASTEST)
    assert whole
    return bytes(content)
