"""A folder into which packages are installed for a test: their metadata and files, nothing of them imported."""

from pathlib import Path
from textwrap import dedent
from typing import Any

from gkdbench.spec import catalogue, methods, plugins
from gkdbench.spec.methods import COMBINATORS, METHODS, listed

METHOD = 'def mine(pair, *, weight: float = 1.0):\n    """Say one thing."""\n    return []\n'
RAISES = 'raise RuntimeError("importing this must never happen")\n'


def forget() -> None:
    """Empty what is remembered of installed packages."""
    for remembered in (plugins._scan, catalogue._packages, methods._installed):
        remembered.cache_clear()


class Site:
    """A folder on the path into which packages are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def write(self, file: str, text: str) -> Path:
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    def install(self, distribution: str, methods: str = "", combinators: str = "", **more: str) -> None:
        """Lay down a distribution's metadata, with entry points written `name = module:function`."""
        groups = {METHODS: methods, COMBINATORS: combinators, **{f"gkdbench.{k}": v for k, v in more.items()}}
        info = f"{distribution.replace('-', '_')}-1.0.dist-info"
        self.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"[{group}]\n{dedent(text).strip()}\n" for group, text in groups.items() if text]
        (self.folder / info / "entry_points.txt").write_text("".join(lines))
        forget()


def rows(group: str = METHODS) -> dict[str, Any]:
    """Return what is listed of a group, by name."""
    return {line.name: line for line in listed(group)}
