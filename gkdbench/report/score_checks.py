"""Can this be compared, as far as the judging goes: classes and means, protocols, data, classes never predicted."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from gkdbench.report.comparison import Comparison, split_of
from gkdbench.report.corruptions import TOGETHER
from gkdbench.report.finding import Finding, counted, joined
from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.run_views import shown_protocol
from gkdbench.runs.record import Record, SplitResult


def score_findings(comparisons: Sequence[Comparison]) -> tuple[Finding, ...]:
    """Return what records say about how their runs were judged."""
    return (
        _label_spaces(comparisons),
        _protocols(comparisons),
        _never_predicted(comparisons),
        _classes_in_mean(comparisons),
    )


def _results(comparison: Comparison, split: str) -> Iterator[tuple[str, Record, SplitResult]]:
    """Yield row label, run and result of every finished run on a split."""
    for row in comparison.rows:
        for record in row.records if row.status == "done" else ():
            result = split_of(record, split)
            if result is not None:
                yield row.name, record, result


def _gathered(comparison: Comparison, found: Sequence[tuple[str, tuple[Cell, ...]]]) -> Iterator[Row]:
    """Yield a row per split and its cells; corruptions of which the same is said share one, as there may be 75."""
    groups: dict[object, list[tuple[str, tuple[Cell, ...]]]] = {}
    for split, cells in found:
        same = tuple((cell.text, cell.hover) for cell in cells) if split in comparison.corruptions else split
        groups.setdefault(same, []).append((split, cells))
    for group in groups.values():
        splits, (_, cells) = [split for split, _ in group], group[0]
        name = splits[0] if len(splits) == 1 else comparison.told(splits)
        yield Row(comparison.title, (Cell(name), *cells))


def _label_spaces(comparisons: Sequence[Comparison]) -> Finding:
    spaces: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    rules: defaultdict[str, list[str]] = defaultdict(list)
    for one in comparisons:
        spaces[*one.classes, "without", *one.excluded].append(one.title)
        rules[f"{one.metric}, {one.mean_rule}"].append(one.title)
    sentences = ["Runs of other classes, another metric or another rule of the mean never share a comparison."]
    if len(spaces) > 1:
        sentences.append(
            f"The comparisons use {counted(len(spaces), 'label space')}: their values do not compare with each other."
        )
    if len(rules) > 1:
        sentences.append(
            f"The comparisons use {counted(len(rules), 'metric or rule', 'metrics or rules')} of the mean "
            f"({'; '.join(sorted(rules))}): their values do not compare with each other."
        )
    versions: defaultdict[str, set[int]] = defaultdict(set)
    for one in comparisons:
        for row in one.rows:
            for record in row.records:
                versions[record.spec.benchmark].add(record.spec.benchmark_version)
    several = {name: found for name, found in versions.items() if len(found) > 1}
    sentences.extend(
        f"{name} is there in the versions {' and '.join(map(str, sorted(found)))}: kept apart, not comparable."
        for name, found in sorted(several.items())
    )
    beware = len(sentences) > 1
    if len(comparisons) > 1 and not beware:
        sentences.append("All comparisons here have the same classes, the same metric and the same rule of the mean.")
    table = Table(
        slug="check-label-spaces",
        title="Label spaces",
        caption="What enters the mean of each comparison.",
        columns=(
            Column("comparison", False),
            Column("classes"),
            Column("in no mean", False),
            Column("metric", False),
            Column("rule of the mean", False),
        ),
        rows=tuple(
            Row(
                one.title,
                (
                    Cell(str(len(one.classes)), float(len(one.classes)), hover=", ".join(one.classes)),
                    Cell(", ".join(one.excluded) or "–"),
                    Cell(one.metric),
                    Cell(one.mean_rule),
                ),
            )
            for one in comparisons
        ),
    )
    return Finding(
        "label-spaces", "Do classes and means agree?", beware, tuple(sentences), (table,) if comparisons else ()
    )


def _protocols(comparisons: Sequence[Comparison]) -> Finding:
    sentences: list[str] = []
    rows: list[Row] = []
    silent = 0
    for comparison in comparisons:
        mixed, changed, augmented, told = [], [], set(), []
        for split in comparison.splits:
            found = list(_results(comparison, split))
            protocols = Counter(shown_protocol(result.protocol) for _, _, result in found)
            data = Counter(result.data for _, _, result in found if result.data)
            images = {result.n_images for _, _, result in found}
            silent += sum(not result.data for _, _, result in found)
            augmented |= {record.run_id for _, record, result in found if result.protocol.tta}
            if len(protocols) > 1:
                mixed.append(split)
            if len(data) > 1 or len(images) > 1:
                changed.append(split)
            if found:
                digests = ", ".join(digest[:12] for digest in sorted(data)) or "as the benchmark's version"
                if len(data) == 1 and split in comparison.corruptions:
                    digests = "the same in all runs"
                cells = (
                    Cell("; ".join(f"{name} ({counted(n, 'run')})" for name, n in protocols.most_common())),
                    Cell(" or ".join(f"{n:,}" for n in sorted(images)), float(max(images))),
                    Cell(digests),
                )
                told.append((split, cells))
        rows.extend(_gathered(comparison, told))
        if mixed:
            sentences.append(f"{comparison.title}: runs were judged by different protocols on {joined(mixed)}.")
        if augmented:
            sentences.append(
                f"{comparison.title}: {counted(len(augmented), 'run')} judged with test-time augmentation; "
                "that is another protocol, never to be put beside one without it."
            )
        if changed:
            sentences.append(
                f"{comparison.title}: runs were judged on different images or labels on {joined(changed)}."
            )
    beware = bool(sentences)
    if not beware:
        sentences.append("On every split all runs were judged at the same size, in the same way and on as many images.")
    if silent:
        sentences.append(
            f"{counted(silent, 'result')} without a digest of the data: the benchmark's version says what was judged."
        )
    table = Table(
        slug="check-protocols",
        title="How splits were judged",
        caption="Of all finished runs, by comparison and split.",
        columns=(
            Column("comparison", False),
            Column("split", False),
            Column("judged at", False),
            Column("images"),
            Column("data", False),
        ),
        rows=tuple(rows),
    )
    return Finding(
        "protocols", "Were all runs judged alike, on the same data?", beware, tuple(sentences), (table,) if rows else ()
    )


def _never_predicted(comparisons: Sequence[Comparison]) -> Finding:
    sentences, tables = [], []
    for comparison in comparisons:
        seeds: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        of: Counter[str] = Counter()
        runs, total = set(), set()
        for split in comparison.splits:
            for label, record, result in _results(comparison, split):
                total.add(record.run_id)
                for name in result.never_predicted:
                    runs.add(record.run_id)
                    seeds[label, split, name].append(record.spec.seed)
        if not runs:
            continue
        for _, split, name in seeds:
            of[f"{name} on {split}"] += 1
        commonest = ", ".join(f"{what} ({counted(n, 'row')})" for what, n in of.most_common(3))
        sentences.append(
            f"{comparison.title}: {len(runs)} of {counted(len(total), 'run')} never "
            f"{'predict' if comparison.counted else 'detect'} a class that is there, "
            f"most often {commonest}."
        )
        tables.append(_never_table(comparison, seeds))
    beware = bool(sentences)
    if beware:
        judged = " or ".join(dict.fromkeys(one.class_metric for one in comparisons))
        sentences.append(
            f"Such a class has {judged} 0 and pulls the mean "
            "down by its share; a mean that skips it is another quantity."
        )
    else:
        sentences.append("Every run predicts every class that is there, on every split.")
    return Finding("never-predicted", "Is any class never predicted?", beware, tuple(sentences), tuple(tables))


def _never_table(comparison: Comparison, seeds: dict[tuple[str, str, str], list[int]]) -> Table:
    classes: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    corrupted: defaultdict[tuple[str, str], int] = defaultdict(int)
    for (label, split, name), found in seeds.items():
        if split in comparison.corruptions:
            corrupted[label, name] += 1
        else:
            classes[label, split].append(f"{name} (seed {', '.join(map(str, sorted(found)))})")
    for (label, name), number in corrupted.items():
        classes[label, TOGETHER].append(f"{name} (on {number} of {len(comparison.corruptions)})")
    return Table(
        slug=f"check-never-predicted-{comparison.slug}",
        title=f"Never predicted: {comparison.title}",
        caption="Classes that are in the ground truth of a split and in no prediction on it"
        + (", or no detection" if not comparison.counted else "")
        + ".",
        columns=(Column("method", False), Column("split", False), Column("classes", False)),
        rows=tuple(
            Row(label, (Cell(split), Cell(", ".join(names)))) for (label, split), names in sorted(classes.items())
        ),
    )


def _classes_in_mean(comparisons: Sequence[Comparison]) -> Finding:
    sentences: list[str] = []
    rows: list[Row] = []
    beware = False
    for comparison in comparisons:
        full = len(comparison.classes) - len(comparison.excluded)
        uneven, short, told = [], [], []
        for split in comparison.splits:
            counts = Counter(result.classes_in_mean for _, _, result in _results(comparison, split))
            if len(counts) > 1:
                uneven.append(split)
            elif counts and set(counts) != {full}:
                short.append(f"{split} ({min(counts)} of {full})")
            if counts and set(counts) != {full}:
                skipped = sorted(
                    {
                        name
                        for _, _, result in _results(comparison, split)
                        for name, value in result.per_class.items()
                        if value is None and name not in comparison.excluded
                    }
                )
                shown = ", ".join(f"{n} ({counted(runs, 'run')})" for n, runs in sorted(counts.items()))
                told.append((split, (Cell(shown), Cell(str(full), float(full)),
                                     Cell(", ".join(skipped) or "not recorded"))))  # fmt: skip
        rows.extend(_gathered(comparison, told))
        if uneven:
            beware = True
            sentences.append(
                f"{comparison.title}: on {joined(uneven)} the mean is over another number of classes from run to run; "
                "such means are not the same quantity."
            )
        if short:
            sentences.append(f"{comparison.title}: classes absent from a split enter no mean there: {joined(short)}.")
    if not sentences:
        sentences.append("On every split the mean of every run is over all classes that count.")
    table = Table(
        slug="check-classes-in-mean",
        title="Classes in the mean",
        caption="Splits whose mean is not over all classes.",
        columns=(
            Column("comparison", False),
            Column("split", False),
            Column("classes in the mean", False),
            Column("of"),
            Column("skipped", False),
        ),
        rows=tuple(rows),
    )
    return Finding(
        "classes-in-mean", "Is every mean over the same classes?", beware, tuple(sentences), (table,) if rows else ()
    )
