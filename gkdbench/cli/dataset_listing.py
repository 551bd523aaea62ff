"""What `gkdbench list datasets` shows: where a dataset comes from, how it may lie, what its labels mean."""

from collections.abc import Mapping
from typing import Any

from gkdbench.spec.dataset import DatasetEntry, Labels, Layout
from gkdbench.spec.dataset_catalogue import datasets


def dataset_entries() -> dict[str, dict[str, Any]]:
    """Return all datasets of the catalogue by name; keys with an underscore are shown for one alone."""
    return {
        name: {
            "images": _counts(source.entry.counts),
            "classes": _classes(source.entry),
            "title": source.entry.title,
            "_home": source.entry.home,
            "_licence": source.entry.licence,
            "_official_files": _files(source.entry.files) or None,
            "_folders_below_the_data_root": ", ".join(source.entry.roots),
            "_layouts": [line for layout in source.entry.layouts for line in _layout(layout)],
            "_labels": _labels(source.entry),
            "_notes": source.entry.notes or None,
            "_defined_in": str(source.file),
        }
        for name, source in datasets().items()
    }


def _classes(entry: DatasetEntry) -> int | str:
    if entry.boxes is not None:
        return f"{len(entry.boxes.classes)}, boxes"
    return len(entry.labels.classes) if entry.labels else "unlabelled"


def _counts(counts: Mapping[str, list[int]]) -> str:
    return ", ".join(f"{split} {' or '.join(f'{n:,}' for n in expected)}" for split, expected in counts.items())


def _files(files: Mapping[str, str]) -> list[str]:
    return [f"{name} ({size})" if size else name for name, size in files.items()]


def _layout(layout: Layout) -> list[str]:
    facts = [f"splits {', '.join(layout.where)}"]
    facts += [f"cut into tiles of {layout.tile}"] if layout.tile else []
    facts += ["halved"] if layout.half else []
    facts += ["labels hold ids of their own"] if layout.means else []
    lines = [f"{layout.name} ({'; '.join(facts)}): images {layout.images}"]
    lines += [f"    labels {layout.labels}"] if layout.labels else []
    lines += [f"    boxes {layout.boxes}"] if layout.boxes else []
    return lines + [f"    {split} listed in {template}" for split, template in layout.lists.items()]


def _labels(entry: DatasetEntry) -> dict[str, str] | None:
    labels = entry.labels
    if entry.boxes is not None:
        return {"boxes": ", ".join(entry.boxes.classes), "ignored": ", ".join(entry.boxes.ignored) or "none"}
    if labels is None:
        return None
    what = {"ids": "id", "colours": "colour", "red16": "id in a 16-bit red channel"}[labels.kind]
    shown = {name: f"{what} {_values(members)}" for name, members in labels.classes.items()}
    ignored = _values(labels.ignored) if labels.ignored else "none"
    return {**shown, "ignored": ignored + (_others(labels))}


def _values(members: list[int] | list[tuple[int, int, int]]) -> str:
    return " ".join(str(m) if isinstance(m, int) else ",".join(map(str, m)) for m in members)


def _others(labels: Labels) -> str:
    return "; all others too" if labels.others == "ignored" else "; any other is an error"
