"""Every way of breaking the contract that the kit knows is caught, with the line to look at."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from plugins import INIT, RETURN, TEACHER, VALUE, after, write

from gkdbench.conformance import check, suite


@dataclass(frozen=True)
class Bad:
    """How the plugin is broken, which check says so in which words, and a piece of the line it points at."""

    changes: tuple[tuple[str, str], ...]
    check: str
    says: str
    line: str


BAD = {
    "nan": Bad((after(VALUE, "        value = value * float('nan')\n"),), "terms", "is nan", '"cosine": value'),
    "shape": Bad(((VALUE, "        value = 1 - similarity\n"),), "terms", "not that of a floating", '"cosine": value'),
    "float": Bad(((RETURN, '        return {"cosine": 1.0}\n'),), "terms", "is a float, not a tensor", '"cosine": 1.0'),
    "no_gradient": Bad(
        ((RETURN, '        return {"cosine": value.detach()}\n'),), "terms", "has no gradient", '"cosine": value'
    ),
    "called_task": Bad(((RETURN, '        return {"task": value}\n'),), "terms", "name of the task loss", '"task": v'),
    "no_dict": Bad(((RETURN, "        return value\n"),), "terms", "returned a Tensor, not a dict", "def loss"),
    "raises": Bad(
        (after(VALUE, "        value = value + similarity[99]\n"),), "terms", "IndexError", "similarity[99]"
    ),
    "raises_in_torch": Bad(
        (after(VALUE, "        F.mse_loss(student, teacher[:, :2])\n"),), "terms", "RuntimeError", "F.mse_loss"
    ),
    "infinite_gradient": Bad(
        (after(VALUE, "        value = value + (similarity * 0).sum().abs().sqrt()\n"),),
        "terms", "gradient of term 'cosine' is not finite", '"cosine": value',
    ),
    "empty_when_ignored": Bad(
        (after(VALUE, "        value = value + similarity.mean() * step.labels[step.labels != 255].float().mean()\n"),),
        "terms", "is nan on a batch whose labels are all ignored", '"cosine": value',
    ),
    "needs_two_images": Bad(
        (after(VALUE, "        value = value + similarity[1].mean()\n"),), "terms", "IndexError", "similarity[1]"
    ),
    "unsupported_late": Bad(
        (after(VALUE, '        raise Unsupported("no luck")\n'),), "terms", "say it in the factory", "no luck"
    ),
    "draws_torch": Bad(
        ((VALUE, VALUE.replace("mean()", "mean() + 0 * torch.rand(())")),),
        "clean hands", "loss draws from the global generator of torch", "def loss",
    ),
    "draws_numpy": Bad(
        (after(VALUE, "        value = value + 0 * numpy.random.rand()\n"),),
        "clean hands", "global generator of numpy", "def loss",
    ),
    "draws_random": Bad(
        (after(VALUE, "        value = value + 0 * random.random()\n"),),
        "clean hands", "global generator of random", "def loss",
    ),
    "draws_in_a_function": Bad(
        (
            after(VALUE, "        value = noisy(value)\n"),
            (
                "class Cosine",
                "def noisy(value):\n    noise = torch.randn(())\n    return value + 0 * noise\n\n\nclass Cosine",
            ),
        ),
        "clean hands", "global generator of torch", "def loss",
    ),
    "factory_draws_numpy": Bad(
        (after(INIT, "        self.luck = float(numpy.random.rand())\n"),),
        "stages", "global generator of numpy", "def __init__",
    ),
    "differs_between_calls": Bad(
        (after(INIT, "        self.luck = id(object()) + numpy.random.rand()\n"),),
        "stages", "two calls of the factory", "def __init__",
    ),
    "factory_seeds_torch": Bad(
        (after(INIT, "        torch.manual_seed(0)\n"),), "stages", "seeds torch's generator itself", "def __init__"
    ),
    "draws_after_backward": Bad(
        (after(RETURN, "\n    def after_backward(self, step):\n        self.last = torch.rand(3)\n"),),
        "clean hands", "after_backward draws from the global generator of torch", "def after_backward",
    ),
    "writes_after_backward": Bad(
        (after(RETURN, "\n    def after_backward(self, step):\n        step.teacher().tokens.zero_()\n"),),
        "clean hands", "after_backward writes into step.teacher().tokens", "def after_backward",
    ),
    "writes_teacher_tokens": Bad(
        (after(VALUE, "        teacher.mul_(2.0)\n"),), "clean hands", "step.teacher().tokens", "def loss"
    ),
    "writes_at_once": Bad(
        (after(VALUE, "        step.teacher().tokens.add_(1.0)\n"),),
        "clean hands", "loss writes into step.teacher().tokens", "def loss",
    ),
    "writes_labels": Bad(
        (after(VALUE, "        step.labels[step.labels == 255] = 0\n"),),
        "clean hands", "writes into step.labels", "def loss",
    ),
    "writes_data": Bad(
        (after(VALUE, "        step.images.data.clamp_(0.4, 0.5)\n"),),
        "clean hands", "writes into step.images", "def loss",
    ),
    "holds_the_teacher": Bad(
        (after(VALUE, "        self.kept = step._module.teacher\n"),),
        "frozen parts", "holds the teacher", "def loss",
    ),
    "trains_the_teacher": Bad(
        (
            after(VALUE, "        self.outside = [step._module.teacher.requires_grad_(True)]\n"),
            after(RETURN, (
                "\n    def after_backward(self, step):\n"
                "        for p in self.outside[0].encoder.parameters():\n"
                "            p.data.add_(0.1)\n"
            )),
        ),
        "frozen parts", "and never the teacher", "def loss",
    ),
    "unfreezes_the_teacher": Bad(
        (after(VALUE, "        step._module.teacher.requires_grad_(True)\n"),),
        "frozen parts", "parameter of the teacher requires a gradient", "def loss",
    ),
    "teacher_in_training_mode": Bad(
        (after(VALUE, "        step._module.teacher.train()\n"),),
        "frozen parts", "put into training mode", "def loss",
    ),
    "moves_the_frozen": Bad(
        (
            after(TEACHER, '    trains = frozenset({"head"})\n'),
            after(RETURN, (
                "\n    def after_backward(self, step):\n"
                "        for p in step._module.student.encoder.parameters():\n"
                "            p.data.mul_(0.9)\n"
            )),
        ),
        "frozen parts", "student.encoder.model.cls_token was changed", "def loss",
    ),
    "unfreezes_the_encoder": Bad(
        (
            after(TEACHER, '    trains = frozenset({"head"})\n'),
            after(VALUE, "        step._module.student.encoder.requires_grad_(True)\n"),
        ),
        "trained parts", "requires a gradient although", 'trains = frozenset({"head"})',
    ),
    "lies_about_trains": Bad(
        ((VALUE, "        value = (1 - F.cosine_similarity(self.proj(student.detach()), teacher, dim=-1)).mean()\n"),
         after(TEACHER, '    name = "source"\n    task = False\n    trains = frozenset({"encoder"})\n'),
         ("    return [Cosine(pair, weight)]", "    return [Cosine(pair, weight), Head()]"),
         ("def cosine(", 'class Head(Stage):\n    name = "task"\n    teacher = None\n\n\ndef cosine(')),
        "trained parts", "trains names 'encoder', but no gradient", 'trains = frozenset({"encoder"})',
    ),
    "mixes_silently": Bad(
        (after(VALUE, "        flat = F.normalize(student.mean(1))\n        value += (flat @ flat.T).mean()\n"),),
        "micro-batches", "'cosine' mixes images; declare mixes_batch = True", '"cosine": value',
    ),
    "sums_over_images": Bad(
        ((VALUE, "        value = (1 - similarity).sum()\n"),), "micro-batches", "a sum over images", '"cosine": value'
    ),
    "batch_norm_unsaid": Bad(
        (
            after(INIT, "        self.norm = nn.BatchNorm1d(pair.student.width)\n"),
            ("self.proj(student)", "self.proj(self.norm(student.transpose(1, 2)).transpose(1, 2))"),
        ),
        "micro-batches", "BatchNorm mixes images; declare mixes_batch = True", "def __init__",
    ),
    "forgets_state": Bad(
        (
            after(INIT, "        self._seen = 0\n"),
            after(VALUE, "        self._seen += 1\n        value = value * (1 + self._seen)\n"),
        ),
        "checkpoint", "keep all state in parameters and buffers", "def loss",
    ),
    "never_the_same": Bad(
        (
            after(VALUE, "        value = value * (1 + next(COUNT))\n"),
            ("class Cosine", "COUNT = itertools.count()\n\n\nclass Cosine"),
        ),
        "checkpoint", "two trainings from the same seed differ", "def loss",
    ),
    "grows_state": Bad(
        (after(VALUE, '        self.register_buffer("mean", student.detach().mean())\n'),),
        "checkpoint", "register all state in __init__", "def __init__",
    ),
    "wrong_name": Bad((after(TEACHER, '    name = "warmup"\n'),), "stages", "'warmup' is none of", 'name = "warmup"'),
    "wrong_data": Bad((after(TEACHER, '    data = "target"\n'),), "stages", "draws from 'target'", 'data = "target"'),
    "wrong_trains": Bad(
        (after(TEACHER, '    trains = frozenset({"encodr"})\n'),), "stages", "no set of 'encoder'", "encodr"
    ),
    "wrong_teacher": Bad(
        ((TEACHER, '    teacher = "features"\n'),), "stages", "teacher = 'features'", 'teacher = "features"'
    ),
    "wrong_tap": Bad(
        (after(TEACHER, "    taps_student = Taps(blocks=(11,))\n"),), "terms", "taps block 11", "step.student()"
    ),
    "no_head": Bad(
        (after(TEACHER, '    task = False\n    trains = frozenset({"encoder"})\n'),),
        "stages", "leaves no trained head", "trains = frozenset",
    ),
    "no_stages": Bad((("[Cosine(pair, weight)]", "Cosine(pair, weight)"),), "stages", "returned no list of stages", ""),
    "factory_raises": Bad(
        (("    return [Cosine(pair, weight)]", "    return [Cosine(pair.student, weight)]"),),
        "stages", "AttributeError", "nn.Linear(pair.student.width",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_broken_contract_is_caught_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(suite, "PAIRS", suite.PAIRS[:1])  # one pair says it as well as eight
    bad = BAD[name]
    method, lines = write(tmp_path, *bad.changes)
    verdicts = check(method, ranks=False)
    said = [row for row in verdicts.failures if row.check == bad.check and bad.says in row.detail]
    assert said, verdicts.table()
    if bad.line:
        assert bad.line in lines[int(said[0].where.rpartition(":")[2]) - 1], said[0]
        assert Path(said[0].where.rpartition(":")[0]).resolve() == (tmp_path / "plugin.py").resolve()


def test_a_method_that_serves_no_pair_fails(tmp_path: Path) -> None:
    method, _ = write(tmp_path, ("    return [Cosine(pair, weight)]", '    raise Unsupported("not today")'))
    verdicts = check(method, ranks=False)
    assert [row.outcome for row in verdicts.rows] == ["unsupported"] * 8 + ["failed"]
    assert "not today" in verdicts.failures[0].detail
