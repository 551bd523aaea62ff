"""From a resolved run to its record: stages, evaluation on every split, summary. One run at a time."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import torch
from torch.utils.flop_counter import FlopCounterMode

from gkdbench import __version__
from gkdbench.data.dataset import open_split
from gkdbench.engine.passes import in_precision
from gkdbench.engine.ranks import any_rank
from gkdbench.errors import DataError, GkdbenchError, Interrupted, Unsupported
from gkdbench.identity.run import run_digest, run_id
from gkdbench.models.network import Network
from gkdbench.runs import curves, environment, scales
from gkdbench.runs.examples import Examples
from gkdbench.runs.files import remove_temporaries
from gkdbench.runs.plan import RunPlan
from gkdbench.runs.record import Record, RunSpecRecord, SplitResult, StageRecord
from gkdbench.runs.schedule import Outcome, finished_run
from gkdbench.runs.scoring import corruptions, summarise
from gkdbench.runs.stages import StageRunner, fit_for_judging, initial_network, restore
from gkdbench.runs.store import Artefact
from gkdbench.runs.task import Conditions, Judge
from gkdbench.runs.tasks import room_of
from gkdbench.runs.workshop import Workshop
from gkdbench.spec.benchmark import IN_DOMAIN
from gkdbench.spec.inference import Inference
from gkdbench.spec.selection import RunSpec
from gkdbench.spec.split import Split
from gkdbench.spec.task import TASKS

VAL = "in-domain val"
"""What the in-domain split is called beside targets."""
UNFINISHED = "not finished: the process ended before its last target"


def run(spec: RunSpec, shop: Workshop) -> Outcome:
    """Train and judge one run; its record is written whatever happens.

    Raises Interrupted on a signal, GkdbenchError where the run fails; both leave a record that says so.
    """
    data = shop.planner.data(spec)
    found = None if shop.fresh else finished_run(spec, shop.store, data, lambda line: None)
    if found is not None:
        return found
    identity = run_digest(spec, data)
    with ExitStack() as held:
        if shop.fabric.is_global_zero:
            waiting = f"another command is at run {run_id(spec, identity)}; waiting for it"
            held.enter_context(shop.store.locked(identity, lambda: shop.display.say(waiting), shop.stop.check))
        shop.fabric.barrier()
        found = None if shop.fresh else finished_run(spec, shop.store, data, lambda line: None)
        if found is not None:
            return found
        if shop.fabric.is_global_zero:
            remove_temporaries(shop.store.run_folder(run_id(spec, identity)), alone=True)
        return Outcome(spec, _recorded(spec, shop, identity))


def _recorded(spec: RunSpec, shop: Workshop, identity: str) -> Record:
    record = _blank_record(spec, identity, shop)
    try:
        _execute(spec, shop, record)
        record.status, record.reason = "done", None
    except Unsupported as error:
        record.status, record.reason = "unsupported", str(error)
    except (Interrupted, KeyboardInterrupt) as error:
        record.status, record.reason = "interrupted", str(error) or "stopped from the keyboard"
        _close(record, shop)
        raise
    except GkdbenchError as error:
        record.status, record.reason = "failed", str(error)
        _close(record, shop)
        raise
    except BaseException as error:  # a method may raise SystemExit, which would end the command as if all were well
        record.status, record.reason = "failed", f"{type(error).__name__}: {error}{_blamed(spec, error)}"
        _close(record, shop)
        raise GkdbenchError(record.reason) from error
    _close(record, shop)
    return record


def _blamed(spec: RunSpec, error: BaseException) -> str:
    """Say which line of the method an unforeseen error passed through last; nothing where it passed none."""
    found, link = "", error.__traceback__
    while link is not None:
        if link.tb_frame.f_code.co_filename == str(spec.method.file):
            found = f" (at {spec.method.file.name}:{link.tb_lineno}; gkdbench check method says more)"
        link = link.tb_next
    return found


def _close(record: Record, shop: Workshop) -> None:
    record.finished = _now()
    if shop.fabric.is_global_zero:
        shop.store.write_record(record)


def _execute(spec: RunSpec, shop: Workshop, record: Record) -> None:
    plan = shop.planner.plan(spec)
    record.marks.extend(spec.marks)
    if spec.preset.limits.keys() & {"source", "proxy"}:
        record.marks.append("limit")
    elif spec.preset.limits:  # the same for every run of the preset, which share a table
        judged = ", ".join(f"{role} {count:,}" for role, count in sorted(spec.preset.limits.items()))
        record.warnings.append(f"preset {spec.preset_name} judges the first images of a split alone: {judged}")
    record.warnings.extend(spec.notes)
    record.warnings.extend(_random_weights(spec))
    teacher = None
    costs: list[StageRecord] = []
    if plan.teacher and any(p.stage.teacher == "full" for p in plan.stages):
        teacher, stage_record = _teacher_artefact(plan.teacher, shop)
        costs.append(stage_record)
        of_teacher = plan.teacher.spec
        record.teacher_run_id = run_id(of_teacher, run_digest(of_teacher, shop.planner.data(of_teacher)))
    network = _train(spec, shop, plan, teacher, record)
    costs.extend(record.stages)
    _describe_model(network, record)
    _on_first_rank(shop, lambda: _judge_all(spec, shop, network, plan, record))
    _budget(record, plan)
    record.cost = {
        "from_scratch": {"wall_s": sum(stage.wall_s for stage in costs)},
        "spent_here": {"wall_s": sum(stage.wall_s for stage in costs if not stage.cached)},
    }


def _on_first_rank(shop: Workshop, work: Callable[[], None]) -> None:
    """Do work on the first rank while the others wait; its failure ends them all."""
    failure: BaseException | None = None
    if shop.fabric.is_global_zero:
        try:
            work()
        except BaseException as error:
            failure = error
            if shop.fabric.world_size == 1:
                raise
    failed = any_rank(shop.fabric, failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise Interrupted("the first rank could not judge the run; see its message")


def _teacher_artefact(plan: RunPlan, shop: Workshop) -> tuple[Artefact, StageRecord]:
    runner = StageRunner(plan.spec, shop)
    artefact, cached = None, True
    for planned in plan.stages:
        artefact, cached = runner.ensure(planned, None)
    assert artefact is not None
    return artefact, _stage_record(artefact, cached)


def _train(
    spec: RunSpec, shop: Workshop, plan: RunPlan, teacher: Artefact | None, record: Record
) -> Network:
    """Run all stages in order; return the network that the last one left."""
    runner = StageRunner(spec, shop)
    artefacts: dict[str, Artefact] = {}
    for planned in plan.stages:
        artefact, cached = runner.ensure(planned, teacher)
        artefacts[planned.digest] = artefact
        record.stages.append(_stage_record(artefact, cached))
        record.warnings.extend(scales.warnings(planned.stage.name, record.stages[-1].first_losses))
        if shop.fabric.is_global_zero:
            shop.store.write_record(record)
    last = plan.stages[-1]
    model = last.stage.model
    network = initial_network(spec, model, spec.preset.stage(last.stage.name).sight, spec.seed)
    restore(network, spec, model, artefacts[last.digest], artefacts[last.digest])
    fit_for_judging(network, spec, model, last.recipe.patch)
    if shop.fabric.device.type == "cpu":
        network.use_plain_attention()
    return network


def _judge_all(spec: RunSpec, shop: Workshop, network: Network, plan: RunPlan, record: Record) -> None:
    """Judge in-domain val and every target; the record is rewritten after each."""
    benchmark, folder = spec.benchmark, shop.store.run_folder(record.run_id)
    examples = Examples(benchmark, [VAL, *spec.targets])
    shop.display.begin(f"{spec.method.name}: judging in-domain val and {len(spec.targets)} targets")
    conditions = Conditions(shop.fabric.device, spec.preset.task.precision, shop.stop, shop.workers)
    judge = room_of(benchmark).judge(benchmark, conditions, folder)
    try:
        _judge_splits(spec, shop, network, judge, examples, record)
        record.summary = summarise(benchmark, record)
        # the scores are safe before what pictures need is written; the run is done only when that is there as well
        shop.store.write_record(record)
        judge.finish()
    finally:
        judge.discard()
    # the scores stand without what is left to look at
    with _only_warned(shop, record, "no learning curves"):
        _write_curves(shop, record)
    precise = in_precision(shop.fabric.device, spec.preset.task.precision)
    with _only_warned(shop, record, "no picture of the features"), precise:
        examples.draw_features(network.encoder)
    with _only_warned(shop, record, "no examples"):
        examples.write(
            folder,
            model=plan.stages[-1].stage.model,
            trained=any("encoder" in planned.stage.trains for planned in plan.stages),
        )


def _judge_splits(
    spec: RunSpec, shop: Workshop, network: Network, judge: Judge, examples: Examples, record: Record
) -> None:
    benchmark = spec.benchmark
    digests = shop.planner.data(spec)

    def one(name: str, split: Split, role: str, inference: Inference) -> SplitResult:
        def meter(done: int, total: int) -> None:
            shop.display.progress(done, total, name)

        dataset = open_split(
            split,
            benchmark,
            spec.source.folder,
            shop.place,
            limit=spec.preset.limits.get(role),  # type: ignore[call-overload]
            progress=meter,
        )
        verdict = judge.split(name, dataset, network, inference, meter, examples.choose(name, dataset))
        examples.add(name, dataset, verdict.kept, network.encoder)
        record.model.setdefault("images_per_s", round(verdict.images_per_s, 2))  # of the first, in-domain val
        if not split.rendered:
            verdict.result.data = digests.of(role, split)[:16]
        return verdict.result

    record.in_domain = one(VAL, benchmark.source.val, "val", benchmark.inference_for(IN_DOMAIN))
    shop.store.write_record(record)
    for name, split in spec.targets.items():
        record.targets[name] = one(name, split, "target", benchmark.inference_for(name))
        shop.store.write_record(record)


def _write_curves(shop: Workshop, record: Record) -> None:
    """Leave what the stages logged, whichever run trained them."""
    artefacts = [(stage.name, shop.store.artefact(stage.digest)) for stage in record.stages]
    logs = [(name, artefact.log) for name, artefact in artefacts if artefact is not None]
    curves.write_curves(shop.store.run_folder(record.run_id) / curves.FILE, logs)


@contextmanager
def _only_warned(shop: Workshop, record: Record, what: str) -> Iterator[None]:
    """Turn a failure into a warning; a run that is stopped stays stopped."""
    try:
        yield
    except (DataError, OSError, ValueError, RuntimeError) as error:  # a full disk, not finite, out of memory
        said = " ".join(str(error).split())[:160]
        problem = f"{what}: {said or type(error).__name__}"
        record.warnings.append(problem)
        shop.display.say(f"warning: {problem}")


def _blank_record(spec: RunSpec, identity: str, shop: Workshop) -> Record:
    benchmark, fabric = spec.benchmark, shop.fabric
    device = (
        torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else str(fabric.device)
    )
    return Record(
        run_id=run_id(spec, identity),
        digest=identity,
        status="interrupted",
        reason=UNFINISHED,
        started=_now(),
        command="gkdbench " + shlex.join(sys.argv[1:]),
        version=__version__,
        commit=environment.commit(),
        spec=RunSpecRecord(
            method=spec.method.name,
            method_source=spec.method.origin,
            options=dict(spec.options),
            defaults={option.name: option.default for option in spec.method.options if not option.required},
            setting=spec.setting,
            pair=spec.pair,
            teacher=spec.teacher.name,
            student=spec.student.name,
            weights={m.name: str(m.explicit.resolve()) for m in (spec.teacher, spec.student) if m.explicit is not None},
            benchmark=benchmark.name,
            benchmark_version=benchmark.version,
            task=benchmark.task,
            decoder=benchmark.decoder.model_dump(mode="json"),
            tta=benchmark.inference.tta,
            seed=spec.seed,
            teacher_seed=spec.teacher_seed,
            preset=spec.preset_name,
            recipe=spec.preset.model_dump(mode="json"),
            recipe_overrides=dict(spec.recipe_overrides),
            targets=list(spec.targets),
            code=spec.method.code_digest,
        ),
        metric=TASKS[benchmark.task].metric,
        mean_rule=benchmark.mean_rule,
        classes=list(benchmark.classes),
        excluded_from_mean=list(benchmark.excluded_from_mean),
        ood_targets=list(benchmark.ood_targets or []),
        groups={name: list(targets) for name, targets in benchmark.groups.items()},
        corruptions=corruptions(spec.targets, benchmark),
        environment=environment.describe(device, fabric.world_size, torch.get_num_threads()),
    )


def _stage_record(artefact: Artefact, cached: bool) -> StageRecord:
    facts = artefact.facts
    return StageRecord(
        name=facts.stage,
        digest=facts.digest,
        cached=cached,
        model=facts.model,
        steps=facts.steps,
        images=facts.images,
        student_passes=facts.student_passes,
        teacher_passes=facts.teacher_passes,
        wall_s=round(facts.wall_s, 2),
        peak_gib=round(facts.peak_gib, 3),
        losses=facts.losses,
        first_losses=facts.first_losses,
        notes=facts.notes,
    )


def _random_weights(spec: RunSpec) -> list[str]:
    return [
        f"{role} {source.name!r} starts from random weights"
        for role, source in (("teacher", spec.teacher), ("student", spec.student))
        if source.entry.weights is None and source.explicit is None
    ]


def _describe_model(network: Network, record: Record) -> None:
    size = network.encoder.size
    assert size is not None
    counter = FlopCounterMode(display=False)
    network.eval()
    with torch.no_grad(), counter:
        network(torch.zeros(1, 3, *size))
    record.model.update(
        params=float(sum(p.numel() for p in network.parameters())),
        encoder_params=float(sum(p.numel() for p in network.encoder.parameters())),
        gflops=counter.get_total_flops() / 1e9,
    )


def _budget(record: Record, plan: RunPlan) -> None:
    """Add up images and passes per data role over the run's own stages."""
    for planned, stage in zip(plan.stages, record.stages, strict=True):
        role = record.budget.setdefault(
            "+".join(planned.stage.streams()), {"images": 0, "student_passes": 0, "teacher_passes": 0}
        )
        role["images"] += stage.images
        role["student_passes"] += stage.student_passes
        role["teacher_passes"] += stage.teacher_passes


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
