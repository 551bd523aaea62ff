"""Detectors in the loop and under judgement: what a stage trains, repeatable draws, boxes in the images' own pixels."""

import gc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from toy import encoder, recipe, training

from gkdbench.api import Stage, Unsupported
from gkdbench.contract import Boxes
from gkdbench.data.dataset import Dataset
from gkdbench.data.stream import Samples, Share, batches
from gkdbench.detection.average_precision import voc_score
from gkdbench.detection.detector import Detector
from gkdbench.detection.faster_rcnn import FoundBoxes
from gkdbench.detection.finding import find_boxes, judge_boxes
from gkdbench.engine.frozen_features import compute, worth_it
from gkdbench.engine.interruption import StopFlag
from gkdbench.engine.loop import train
from gkdbench.engine.optimiser import build_optimiser
from gkdbench.engine.passes import LiveStep, Moment, StageModule
from gkdbench.engine.ranks import leave_group
from gkdbench.errors import DataError, Interrupted
from gkdbench.spec.augmentation import DetectionViews
from gkdbench.spec.decoder import FasterRCNNDecoder
from gkdbench.spec.inference import Inference
from gkdbench.spec.objects import Objects

SIZE = (32, 64)
CLASSES = 3
SPEC = FasterRCNNDecoder(
    name="faster-rcnn", width=8, scales=[2, 1], anchors=[[6, 12], [20, 30]], rpn_samples=16, rpn_kept=(30, 20),
    rpn_kept_judging=(30, 20), roi_size=3, roi_scale=24, roi_samples=12, head_width=16,
)  # fmt: skip
VIEWS = DetectionViews(kind="detection_views")
CPU = torch.device("cpu")


class Learning(Stage):
    """The task alone."""

    teacher = None


class Probing(Learning):
    task = False
    labels = True


class Mimicking(Stage):
    """Task and the teacher's pyramid."""

    def loss(self, step):
        pairs = zip(step.student().pyramid, step.teacher().pyramid, strict=True)
        return {"pyramid": torch.stack([(s - t).square().mean() for s, t in pairs]).sum()}


@dataclass(frozen=True)
class Things(Dataset):
    """Grey images with a red, green or blue rectangle or two, and every fifth with none."""

    count: int = 12
    size: tuple[int, int] = SIZE

    def __len__(self):
        return self.count

    def name(self, index):
        return f"thing/{index}"

    def objects(self, index):
        rng = np.random.default_rng(index)
        number = 0 if index % 5 == 4 else int(rng.integers(1, 3))
        low = rng.integers(0, (self.size[1] // 2, self.size[0] // 2), (number, 2))
        side = rng.integers(6, (self.size[1] // 2, self.size[0] // 2), (number, 2))
        boxes = np.concatenate([low, low + side], axis=1).astype(np.float32)
        return Objects(boxes, rng.integers(0, CLASSES, number), np.arange(number) == 1)

    def image(self, index):
        image = np.full((*self.size, 3), 128, np.uint8)
        found = self.objects(index)
        for (x0, y0, x1, y1), label in zip(found.boxes.astype(int), found.labels, strict=True):
            image[y0:y1, x0:x1] = np.eye(3, dtype=np.uint8)[label] * 255
        return image

    def labels(self, index):
        return None


@dataclass(frozen=True)
class Unlabelled(Things):
    def image(self, index):
        return Things.image(Things(), index)

    def objects(self, index):
        return None


def detector(width=16, depth=2, heads=2, seed=0, head=True, size=SIZE, **changes) -> Detector:
    backbone = encoder(width, depth, heads, seed, img_size=list(size))
    backbone.resize(size)
    made = Detector(backbone, SPEC.model_copy(update=changes), CLASSES)
    if head:
        made.add_head(seed)
    return made


def module(stage, precision="32-true", **arguments) -> StageModule:
    teacher = detector(24, 3, 3, 1) if stage.teacher else None
    return StageModule(stage, detector(head=stage.uses_head(), **arguments), teacher, precision=precision, ignore=255)


def samples(stage, chosen, views=VIEWS) -> Samples:
    return Samples(
        Things(), batch=chosen.batch, size=chosen.size, augmentation=views, ignore=255, seed=5,
        labelled=stage.task or stage.labels,
    )  # fmt: skip


def job(stage, folder, chosen, stop=None, every_s=1e9, **arguments):
    made = training(module(stage, chosen.precision, **arguments), folder, chosen, stop, every_s)
    made.samples = {name: samples(stage, chosen) for name in stage.streams()}
    return made


def chosen_recipe(**changes):
    return recipe(**{"size": SIZE, "steps": 6, "warmup": 1, **changes})


def batch(stage, chosen=None):
    chosen = chosen or chosen_recipe()
    return next(batches(samples(stage, chosen), Share(chosen.batch, chosen.batch), 0, 1, 0))


def live(made):
    return LiveStep(made, batch(made.stage), Moment(0, made.stage.name, 0, 10, 4))


def weights(part):
    return torch.cat([value.detach().flatten() for value in part.state_dict().values()])


def test_a_step_shows_pyramids_and_boxes_and_no_scores_of_pixels():
    made = module(Mimicking())
    step = live(made)
    student, teacher = step.student().pyramid, step.teacher().pyramid
    assert [tuple(level.shape) for level in student] == [tuple(level.shape) for level in teacher]
    assert [tuple(level.shape) for level in student] == [(4, 8, 8, 16), (4, 8, 4, 8)]
    assert student[0].requires_grad and not teacher[0].requires_grad
    with pytest.raises(Unsupported, match="the labels of detection are boxes"):
        _ = step.labels
    assert len(step.boxes) == 4
    assert all(isinstance(one, Boxes) and one.boxes.shape == (len(one.labels), 4) for one in step.boxes)
    for name in ("logits", "pixels"):
        with pytest.raises(Unsupported, match="of every pixel"):
            getattr(step.student(), name)
    assert live(module(Probing())).boxes is not None


def test_a_pyramid_is_float32_whatever_the_pass_was():
    step = live(module(Mimicking(), "bf16-mixed"))
    assert step.student().decoded.pyramid[0].dtype == torch.bfloat16
    assert all(level.dtype == torch.float32 for level in step.student().pyramid)


@pytest.mark.parametrize("trains", [{"encoder", "head"}, {"head"}, {"encoder"}])
def test_gradients_reach_what_a_stage_trains_and_nothing_else(trains):
    stage = Learning()
    stage.trains = frozenset(trains)
    made = module(stage)
    made.train()
    torch.manual_seed(0)
    terms = made(batch(stage), Moment(0, "joint", 0, 10, 4))
    terms["task"].backward()
    assert torch.isfinite(terms["task"])
    for name, part in (("encoder", made.student.encoder), ("head", made.student.head)):
        reached = [value.grad is not None and bool(value.grad.any()) for value in part.parameters()]
        assert any(reached) is (name in trains)
        assert part.training is (name in trains)  # the loss leaves a frozen head in eval mode
        assert any(module.training for module in part.modules()) is (name in trains)


def test_a_stage_with_a_frozen_part_leaves_its_weights_as_they_were(tmp_path):
    for trains in ("encoder", "head"):
        stage = Learning()
        stage.trains = frozenset({trains})
        made = job(stage, tmp_path / trains, chosen_recipe(steps=2))
        student = made.module.student
        before = {name: weights(getattr(student, name)) for name in ("encoder", "head")}
        train(made)
        for name, value in before.items():
            assert torch.equal(weights(getattr(student, name)), value) is (name != trains)


def test_training_learns_is_repeatable_and_goes_on_where_it_stopped(tmp_path):
    chosen = chosen_recipe(steps=12, lr=3e-3)
    first = job(Learning(), tmp_path / "first", chosen)
    outcome = train(first)
    assert outcome.losses["task"] < 0.9 * outcome.first_losses["task"]
    torch.manual_seed(99)  # what was drawn before has no part in it
    second = job(Learning(), tmp_path / "second", chosen)
    assert train(second).losses == outcome.losses

    class StopAt(StopFlag):
        calls = 0

        def __bool__(self):
            self.calls += 1
            return self.calls == 5

    with pytest.raises(Interrupted):
        train(job(Learning(), tmp_path / "third", chosen, StopAt()))
    torch.manual_seed(98)
    third = job(Learning(), tmp_path / "third", chosen)
    assert train(third).losses == outcome.losses
    wanted = weights(first.module.student)
    assert torch.equal(weights(second.module.student), wanted) and torch.equal(weights(third.module.student), wanted)


def test_a_frozen_encoders_features_may_be_computed_beforehand():
    stage = Learning()
    stage.trains = frozenset({"head"})
    chosen = chosen_recipe(steps=20)
    made, stream = module(stage), samples(stage, chosen)
    assert worth_it(stage, made.student, stream, chosen) and stream.variants == 24
    features = compute(made.student, stream, device=CPU, precision="32-true", stop=StopFlag(), meter=lambda *_: None)
    made.train()
    terms = []
    for lookup in (None, features):
        made.lookup = lookup
        torch.manual_seed(0)
        terms.append(made(batch(stage), Moment(0, "joint", 0, 20, 4))["task"])
    torch.testing.assert_close(*terms, rtol=1e-5, atol=1e-6)


def _first_gradients(fabric, chosen, size):
    made = module(Learning())
    wrapped, _ = fabric.setup(made, build_optimiser(made, chosen))
    share = Share(chosen.batch, size, fabric.global_rank, fabric.world_size)
    moment = Moment(3, made.stage.name, 0, chosen.steps, chosen.batch)
    for turn, piece in zip(range(share.turns), batches(samples(made.stage, chosen), share, 0, 1, 0), strict=True):
        torch.manual_seed(turn * share.world + share.rank)  # as the loop does, for the anchors that are drawn
        with fabric.no_backward_sync(wrapped, enabled=turn < share.turns - 1):
            terms = wrapped(piece, moment)
            fabric.backward(torch.stack(list(terms.values())).sum() / share.turns)
    return torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None])


def _rank(fabric, folder):
    torch.set_num_threads(1)
    chosen = chosen_recipe(micro_batch=2)
    gradients = _first_gradients(fabric, chosen, 2)
    made = job(Learning(), folder, chosen)
    made.fabric = fabric
    outcome = train(made)
    if fabric.is_global_zero:
        torch.save({"gradients": gradients, "losses": outcome.losses}, folder / "result.pt")
    leave_group()


@pytest.mark.slow
def test_two_ranks_equal_one_process(tmp_path):
    results = []
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        strategy = "auto"
        if world == 2:
            strategy = DDPStrategy(
                find_unused_parameters=True, broadcast_buffers=False, process_group_backend="gloo",
                start_method="spawn",
            )  # fmt: skip
        fabric = Fabric(accelerator="cpu", devices=world, strategy=strategy)
        fabric.launch(_rank, folder)
        results.append(torch.load(folder / "result.pt", weights_only=True))
    one, two = results
    assert (one["gradients"] - two["gradients"]).abs().max() <= 1e-5 * one["gradients"].abs().max()
    assert two["losses"]["task"] == pytest.approx(one["losses"]["task"], rel=1e-4)


class Knowing(Detector):
    """A detector that finds what it is told, in the pixels of what it sees."""

    def __init__(self, answer):
        super().__init__(detector().encoder, SPEC, CLASSES)
        self.answer, self.seen = answer, []

    def detect(self, images, sizes):
        self.seen.append((images, list(sizes)))
        return [self.answer(image, size) for image, size in zip(images, sizes, strict=True)]


def nothing(image, size):
    return FoundBoxes(torch.empty(0, 4), torch.empty(0, dtype=torch.int64), torch.empty(0))


def coloured(image, size):
    """Find the rectangle of each colour by looking for it."""
    boxes, labels = [], []
    for label in range(CLASSES):
        others = [c for c in range(CLASSES) if c != label]
        rows, columns = np.nonzero(((image[label] > 0.75) & (image[others] < 0.25).all(0)).numpy())
        if len(rows):
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            labels.append(label)
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return FoundBoxes(found, torch.tensor(labels, dtype=torch.int64), torch.linspace(0.9, 0.5, len(labels)))


def judged(network, dataset, protocol, **changes):
    settings = dict(device=CPU, precision="32-true", stop=StopFlag(), meter=lambda done, total: None)
    return judge_boxes(network, dataset, protocol, **{**settings, **changes})


@dataclass(frozen=True)
class Alone(Things):
    """One object an image, so that every one can be found by its colour."""

    def objects(self, index):
        found = super().objects(index)
        return Objects(found.boxes[:1], found.labels[:1], found.difficult[:1])


def test_who_finds_all_has_an_ap_of_100_and_who_finds_nothing_of_0():
    protocol = Inference(size=SIZE, batch=5)
    dataset = Alone(23)
    perfect, empty = judged(Knowing(coloured), dataset, protocol), judged(Knowing(nothing), dataset, protocol)
    assert voc_score(perfect.overlaps).mean == 1 and voc_score(perfect.overlaps).mean_11_point == 1
    assert voc_score(empty.overlaps).mean == 0 and empty.overlaps.never_detected() == (0, 1, 2)
    assert perfect.overlaps.images == 23 and perfect.overlaps.positives().sum() == 19


@pytest.mark.parametrize("size", [(30, 100), (90, 44), (17, 9)])
@pytest.mark.parametrize("fit", ["inside", "stretch"])
def test_boxes_come_back_in_the_images_own_pixels(size, fit):
    window = {"window": SIZE, "stride": SIZE} if fit == "inside" else {}
    protocol = Inference(size=SIZE, fit=fit, **window)
    image = np.full((*size, 3), 128, np.uint8)
    y0, x0, y1, x1 = (round(side * share) for share, side in zip((0.2, 0.3, 0.8, 0.9), size * 2, strict=True))
    image[y0:y1, x0:x1] = 0, 255, 0
    made = Knowing(coloured)
    (found,) = find_boxes(made, [image], protocol, CPU, "32-true")
    ((shown, sizes),) = made.seen
    assert shown.shape == (1, 3, *SIZE) and sizes == [protocol.fitted(*size)]
    assert found.boxes.dtype == np.float32 and found.labels.tolist() == [1]
    pixel = max(size[0] / sizes[0][0], size[1] / sizes[0][1], 1)
    assert np.abs(found.boxes[0] - [x0, y0, x1, y1]).max() <= pixel
    height, width = sizes[0]
    padding = torch.cat([shown[0, :, height:].flatten(1), shown[0, :, :, width:].flatten(1)], dim=1)
    mean = shown[0, :, :height, :width].mean(dim=(1, 2))
    assert (padding.numel() == 0) is (sizes[0] == SIZE)
    assert torch.allclose(padding, mean[:, None].expand_as(padding), atol=1e-5)


def test_boxes_do_not_leave_the_image():
    def beyond(image, size):
        return FoundBoxes(torch.tensor([[0.0, 0, size[1], size[0]]]), torch.tensor([0]), torch.tensor([0.5]))

    protocol = Inference(size=SIZE, fit="inside", window=SIZE, stride=SIZE)
    for size in ((37, 53), (101, 7), (33, 65)):
        (found,) = find_boxes(Knowing(beyond), [np.zeros((*size, 3), np.uint8)], protocol, CPU, "32-true")
        assert found.boxes.tolist() == [[0, 0, size[1], size[0]]]


def test_an_images_finds_do_not_depend_on_its_batch():
    made = detector(score_threshold=0.1).eval()
    protocol = Inference(size=SIZE, fit="inside", window=SIZE, stride=SIZE)
    images = [Things(1, size).image(0) for size in ((32, 64), (20, 64), (50, 50), (64, 20))]
    together = find_boxes(made, images, protocol, CPU, "32-true")
    for order in (images, images[::-1]):
        alone = [find_boxes(made, [image], protocol, CPU, "32-true")[0] for image in order]
        for one, other in zip(together if order is images else together[::-1], alone, strict=True):
            assert len(one) and one.labels.tolist() == other.labels.tolist()
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
    fresh = detector(score_threshold=0.1).eval()  # which has seen no other image before
    (first,) = find_boxes(fresh, images[1:2], protocol, CPU, "32-true")
    np.testing.assert_allclose(first.boxes, together[1].boxes, atol=1e-3)


def test_everybody_is_told_and_only_what_is_asked_for_is_kept():
    told, progress, dataset = [], [], Alone(7)
    found = judged(
        Knowing(coloured), dataset, Inference(size=SIZE, batch=3), keep=(1, 6), each=lambda *one: told.append(one),
        meter=lambda done, total: progress.append((done, total)),
    )  # fmt: skip
    assert [name for name, *_ in told] == [f"thing/{i}" for i in range(7)] and progress == [(3, 7), (6, 7), (7, 7)]
    assert set(found.kept) == {1, 6}
    for index, one in found.kept.items():
        assert one is told[index][2]
        assert one.boxes.tolist() == dataset.objects(index).boxes.tolist()


def test_no_image_or_find_outlives_its_batch():
    """So memory stays flat, however many images there are."""
    images, finds, most = [], [], []

    class Watched(Alone):
        def image(self, index):
            image = np.array(super().image(index))
            images.append(weakref.ref(image))
            most.append((alive(images), alive(finds)))
            return image

    def alive(references):
        return sum(reference() is not None for reference in references)

    judged(
        Knowing(coloured), Watched(24), Inference(size=SIZE, batch=2),
        each=lambda name, objects, found: finds.append(weakref.ref(found)),
    )  # fmt: skip
    gc.collect()
    assert len(images) == len(finds) == 24 and alive(images) == alive(finds) == 0
    assert all(max(counts) <= 4 for counts in most)  # those of a batch, and of the one before


def test_a_stop_is_heard_between_batches():
    class StopAt(StopFlag):
        def check(self):
            if len(made.seen) == 2:
                raise Interrupted("stopped")

    made = Knowing(nothing)
    with pytest.raises(Interrupted):
        judged(made, Things(9), Inference(size=SIZE, batch=2), stop=StopAt())
    assert len(made.seen) == 2


def test_a_split_without_boxes_is_one_clear_line():
    with pytest.raises(DataError, match=r"image 'thing/0': a split to be learnt or judged needs boxes"):
        judged(Knowing(nothing), Unlabelled(2), Inference(size=SIZE))


def test_judging_puts_a_network_into_eval_mode_and_keeps_half_precision_off_boxes():
    made = detector(score_threshold=0.05).train()
    results = [judged(made, Things(4), Inference(size=SIZE, batch=4), precision=p) for p in ("32-true", "bf16-mixed")]
    assert not made.training
    assert all(len(found.overlaps.score) for found in results)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_stage_on_a_gpu_starts_from_the_cpus_loss(tmp_path, precision):
    reference = train(job(Mimicking(), tmp_path / "cpu", chosen_recipe(steps=20)))
    made = job(Mimicking(), tmp_path / "gpu", chosen_recipe(steps=20, precision=precision))
    made.fabric = Fabric(accelerator="cuda", devices=1)
    made.module.teacher.to(made.fabric.device)
    outcome = train(made)
    # the anchors and proposals that are drawn differ: a GPU has a generator of its own
    assert outcome.first_losses["task"] == pytest.approx(reference.first_losses["task"], rel=0.2)
    assert outcome.losses["task"] < outcome.first_losses["task"]
    device = made.fabric.device
    found = judged(made.module.student, Things(4), Inference(size=SIZE, batch=4), device=device, precision=precision)
    assert found.overlaps.images == 4
