"""What machine and libraries a run had: written into every record."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "pillow", "opencv-python-headless")


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a result may depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def commit() -> str | None:
    """Return the git commit of the checkout that the code runs from (-dirty: with changes); None for a wheel."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    found = _git(folder, "rev-parse", "HEAD")
    dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{found}-dirty" if found and dirty else found or None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def describe(device: str, devices: int, threads: int) -> dict[str, Any]:
    """Return python, system, device and library versions."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "device": device,
        "devices": devices,
        "threads": threads,
        "libraries": library_versions(),
        "byte_order": sys.byteorder,
    }
