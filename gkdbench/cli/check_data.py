"""`gkdbench check data`: whether a benchmark's data, or a dataset's, is all there and what it should be.

Keys of the JSON document, which scripts may rely on:

    status         ok, or failed where there is a problem (exit code 3)
    benchmark, version, dataset   what was checked; null where it is not that
    classes        how many
    splits         by name: status (ok, failed, absent), images, expected (counts that are right; empty: any), read,
                   size, labelled (share of the pixels read; null without labels), ignored_pixels, classes_seen,
                   frequencies (shares of the labelled pixels), without_labelled_pixel (images), boxes (null without:
                   objects, difficult, images_without_object, reaching_beyond, clipped, dropped, by_class: all counts),
                   labels_without_image, digest, notes
    corrupted      list of: of (a split), kinds, severities, images, kept (of these, on disk and not computed when read)
    problems       list of: split, kind (opening, count, file, labels, overlap), message
    overlaps       candidates (images with the byte size of one of another split), compared (of these), found: list of
                   splits (two), images, example (two), expected, reason; null where there are not two splits
    contact_sheet  path, or null where no image can be read
"""

from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gkdbench.cli.console import command, print_json, print_table, say
from gkdbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gkdbench.data.checking.corrupted import Corrupted
    from gkdbench.data.checking.health import Health, SplitHealth
    from gkdbench.data.checking.sheet import Sample
    from gkdbench.data.checking.subject import Subject
    from gkdbench.data.dataset import Dataset

_TOTALS = ("objects", "difficult", "images_without_object")


@command
def check_data(
    name: Annotated[
        str,
        typer.Argument(
            help="Benchmark by name or path of a YAML (NAME_c: only what is corrupted for it); dataset by name, or as "
            "datasets/FILE.yaml:NAME."
        ),
    ],
    dataset: Annotated[
        bool, typer.Option("--dataset", help="NAME is a dataset, where a benchmark has this name too.")
    ] = False,
    data_root: Annotated[
        Path | None, typer.Option(envvar="GKDBENCH_DATA", help="Folder of downloaded data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the contact sheet goes.")] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            help="Images read per split; if not given, all of labelled splits of at most 500 and 12 of others.", min=1
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read every image; interrupted and repeated, it goes on where it was.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Processes of --full and --materialise; 0: one per processor.", min=0)
    ] = 0,
    materialise: Annotated[
        bool,
        typer.Option(
            "--materialise", help="Write the corrupted images to the cache; interrupted and repeated, it goes on."
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Read again what was read before, and take exchanged images for good.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Count, read and compare the images of all splits, and draw a contact sheet."""
    subject = find_subject(name, dataset)
    from gkdbench.cli.display import choose_display
    from gkdbench.data.checking.corrupted import kept_images
    from gkdbench.data.checking.health import examine
    from gkdbench.data.checking.reading import SAMPLE, WHOLE, Effort
    from gkdbench.data.checking.reading_processes import all_processors
    from gkdbench.data.dataset import DataPlace
    from gkdbench.engine.interruption import stop_on_signals
    from gkdbench.runs.files import check_output

    if materialise and not subject.corrupted:
        raise UsageError(f"check data {name} --materialise: {subject.kind} {subject.name} has no corrupted images")
    sheet_file = out or Path(f"{subject.name}-contact-sheet.png")
    check_output(sheet_file)
    display, place = choose_display(), DataPlace(data_root)
    with stop_on_signals() as stop:
        whole = inf if full else WHOLE if sample is None else 0
        effort = Effort(whole, sample or SAMPLE, workers or all_processors(), fresh, stop.check)
        health = examine(subject, place, effort, display)
        corrupted = kept_images(health, place)
        if materialise and not health.problems:
            for one in corrupted:
                one.write(effort.workers, stop.check, display)
    if materialise and health.problems:
        say("--materialise: nothing was written, since the data have problems")
    sheet = draw(health, sheet_file)
    if as_json:
        print_json(document(health, sheet, corrupted))
    else:
        _print(health)
        for one in corrupted:
            print(one.told())
        if sheet is not None:
            say(f"contact sheet: {sheet}")
    if health.problems:
        count = len(health.problems)
        say(f"gkdbench: {subject.kind} {subject.name}: {count} problem{'s' if count > 1 else ''} with its data")
        raise typer.Exit(DataError.exit_code)


def find_subject(name: str, dataset: bool = False) -> "Subject":
    """Return what a name on the command line means: a benchmark before a dataset, where both are called so."""
    from gkdbench.data.checking.subject import benchmark_subject, corruptions_of, dataset_subject
    from gkdbench.spec.catalogue import benchmark_files, find_benchmark
    from gkdbench.spec.dataset_catalogue import FOLDER, datasets, find_dataset
    from gkdbench.spec.documents import nearest

    path, _, own = name.rpartition(":")
    if path.endswith((".yaml", ".yml")):
        file = Path(path).resolve()
        if not file.is_file() or file.parent.name != FOLDER:
            raise UsageError(f"check data {name}: {path} is no file in a folder called {FOLDER!r}")
        return dataset_subject(find_dataset(own, file.parent.parent))
    if name.endswith((".yaml", ".yml")):
        return benchmark_subject(find_benchmark(name))
    benchmarks, known = {} if dataset else benchmark_files(), datasets()
    if name in benchmarks:
        if name in known:
            say(f"{name} is a benchmark; the dataset of this name by itself: --dataset")
        return benchmark_subject(find_benchmark(name))
    if name in known:
        return dataset_subject(known[name])
    whole = name.removesuffix("_c")
    if whole in benchmarks:
        corrupted = corruptions_of(benchmark_subject(find_benchmark(whole)))
        if corrupted.corrupted:
            return corrupted
    raise UsageError(
        f"check data: no {'' if dataset else 'benchmark or '}dataset {name!r}{nearest(name, [*benchmarks, *known])} "
        "(gkdbench list benchmarks, gkdbench list datasets)"
    )


def document(health: "Health", sheet: Path | None, corrupted: "Sequence[Corrupted]" = ()) -> dict[str, Any]:
    """Return the JSON document."""
    subject, comparison = health.subject, health.comparison
    return {
        "status": "failed" if health.problems else "ok",
        "benchmark": subject.name if subject.kind == "benchmark" else None,
        "version": subject.version,
        "dataset": subject.name if subject.kind == "dataset" else None,
        "classes": len(subject.labels.classes),
        "splits": {split.part.name: split.facts() for split in health.splits},
        "corrupted": [one.facts() for one in corrupted],
        "problems": [vars(one) for one in health.problems],
        "overlaps": comparison
        and {
            "candidates": comparison.candidates,
            "compared": comparison.compared,
            "found": [
                {
                    "splits": list(one.splits), "images": one.images, "example": list(one.example),
                    "expected": one.reason is not None, "reason": one.reason,
                }
                for one in comparison.overlaps
            ],
        },
        "contact_sheet": sheet and str(sheet.resolve()),
    }  # fmt: skip


def _print(health: "Health") -> None:
    classes = health.subject.labels.classes
    facts = {split.part.name: split.facts() for split in health.splits}
    boxed = {name: one["boxes"] for name, one in facts.items() if one["boxes"]}
    shares = {name: one["frequencies"] for name, one in facts.items() if one["labelled"]}
    what = "boxes" if boxed else "labelled %"
    header = ["split", "images", "expected", "read", "size", what, "classes seen", "problems"]
    print_table([header, *(_row(split, facts[split.part.name], len(classes)) for split in health.splits)])
    if shares:
        print("\nclasses, % of the labelled pixels read")
        body = [[name, *(f"{100 * one[name]:.2f}" for one in shares.values())] for name in classes]
        print_table([["class", *shares], *body])
    if boxed:
        print("\nboxes read, of them difficult, and images without an object")
        body = [[name, *(str(one["by_class"][name]) for one in boxed.values())] for name in classes]
        body += [[key.replace("_", " "), *(str(one[key]) for one in boxed.values())] for key in _TOTALS]
        print_table([["class", *boxed], *body])
    remarks = _remarks(health)
    if remarks:
        print("\n" + "\n".join(remarks))


def _row(split: "SplitHealth", facts: dict[str, Any], classes: int) -> list[str]:
    if facts["boxes"]:
        labels = str(facts["boxes"]["objects"])
    elif facts["labelled"] is not None:
        labels = f"{100 * facts['labelled']:.1f}"
    else:
        labels = "unlabelled" if facts["read"] else ""
    return [
        split.part.name,
        split.status if facts["images"] is None else str(facts["images"]),
        " or ".join(map(str, split.expected)),
        str(facts["read"]),
        facts["size"],
        labels,
        f"{facts['classes_seen']} of {classes}" if labels not in ("", "unlabelled") else "",
        str(len(split.problems) or ""),
    ]


def _remarks(health: "Health") -> list[str]:
    from gkdbench.data.checking.health import by_fault

    lines = [f"{split.part.name}: {note}" for split in health.splits for note in split.notes]
    comparison = health.comparison
    if comparison is not None:
        lines += [one.message for one in comparison.overlaps if one.reason is not None]
        if comparison.candidates > comparison.compared:
            lines.append(
                f"shared images: compared {comparison.compared} of {comparison.candidates} whose size in bytes is that "
                "of an image of another split; --full compares all"
            )
    for problem, count in by_fault(health.problems):
        more = f" ({count - 1} more like it; --json names all)" if count > 1 else ""
        lines.append(f"problem: {problem.split}: {problem.message}{more}")
    return lines


def draw(health: "Health", path: Path) -> Path | None:
    """Draw a contact sheet of the images that can be read; None where there is none."""
    import numpy as np

    from gkdbench.data.checking.sheet import contact_sheet
    from gkdbench.runs.files import write_png

    samples = {
        split.part.name: found
        for split in health.splits
        if split.dataset is not None and (found := _samples(split.dataset, split.part.labelled))
    }
    if not samples:
        return None
    sheet = contact_sheet(samples, np.array(health.subject.palette, np.uint8), health.subject.labels.classes)
    write_png(path, sheet)
    return path


def _samples(dataset: "Dataset", labelled: bool) -> "list[Sample]":
    from gkdbench.data.checking.counts import read, spread
    from gkdbench.data.checking.sheet import COLUMNS, Sample

    found = []
    for index in spread(len(dataset), COLUMNS):
        with suppress(DataError):  # named among the problems where it was read for them
            image, label = read(dataset, index, labelled=labelled)
            found.append(Sample(image, label, dataset.objects(index) if labelled else None))
    return found
