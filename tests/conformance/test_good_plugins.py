"""Methods that keep the contract pass, and the kit leaves its caller as it found him."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from plugins import INIT, RETURN, TEACHER, VALUE, after, write
from typer.testing import CliRunner

from gkdbench.api import Stage
from gkdbench.cli.main import app
from gkdbench.conformance import Verdicts, assert_conforms, check, suite
from gkdbench.errors import UsageError


@pytest.fixture
def one_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "PAIRS", suite.PAIRS[:1])


def notes(verdicts: Verdicts, check_name: str) -> list[str]:
    return [row.detail for row in verdicts.rows if row.outcome == "note" and row.check == check_name]


def test_the_plugin_of_the_readme_conforms_on_every_pair(tmp_path: Path) -> None:
    method, _ = write(tmp_path)
    verdicts = check(method, ranks=False)
    assert verdicts.ok, verdicts.table()
    assert {row.pair for row in verdicts.rows} == {pair.name for pair in suite.PAIRS}
    assert {row.outcome for row in verdicts.rows} == {"passed", "note"}
    assert "task" in notes(verdicts, "scale")[0] and "of its gradient" in notes(verdicts, "scale")[0]
    assert not notes(verdicts, "token count")


def test_a_sum_over_tokens_is_noted(tmp_path: Path, one_pair: None) -> None:
    method, _ = write(tmp_path, (VALUE, "        value = (1 - similarity).sum(1).mean()\n"))
    verdicts = check(method, ranks=False)
    assert verdicts.ok
    assert "a sum over tokens" in notes(verdicts, "token count")[0]


def test_a_term_that_moves_no_student_is_noted(tmp_path: Path, one_pair: None) -> None:
    method, _ = write(tmp_path, ("self.proj(student)", "self.proj(student.detach())"))
    verdicts = check(method, ranks=False)
    assert verdicts.ok and "none of its gradient reaches the student" in notes(verdicts, "scale")[0]
    kept, _ = write(tmp_path)
    assert "none of its gradient" not in notes(check(kept, ranks=False), "scale")[0]


def test_an_unused_adaptor_is_noted_by_name(tmp_path: Path, one_pair: None) -> None:
    method, _ = write(tmp_path, after(INIT, "        self.idle = nn.Linear(2, 2)\n"))
    verdicts = check(method, ranks=False)
    assert verdicts.ok
    assert [d.rpartition(" ")[2] for d in notes(verdicts, "trained parts")] == ["idle.weight", "idle.bias"]


def test_batches_may_be_mixed_where_that_is_said(tmp_path: Path, one_pair: None) -> None:
    mixing = after(VALUE, "        flat = student.mean(1)\n        value = value + (flat @ flat.T).tanh().mean()\n")
    method, _ = write(tmp_path, mixing, after(TEACHER, "    mixes_batch = True\n"))
    assert_conforms(method, ranks=False, weight=2.0)


def test_state_in_a_buffer_survives_a_checkpoint(tmp_path: Path, one_pair: None) -> None:
    method, _ = write(
        tmp_path,
        after(INIT, '        self.register_buffer("seen", torch.zeros(()))\n'),
        after(RETURN, "\n    def after_backward(self, step):\n        self.seen += 1\n"),
        after(VALUE, "        value = value * (1 + self.seen)\n"),
    )
    assert_conforms(method, ranks=False)


def test_a_pair_that_is_refused_in_the_factory_is_no_failure(tmp_path: Path) -> None:
    refusal = '    if not pair.teacher.has_cls:\n        raise Unsupported("needs a class token")\n    return [Cosine'
    method, _ = write(tmp_path, ("    return [Cosine", refusal))
    verdicts = check(method, ranks=False)
    refused = [row for row in verdicts.rows if row.outcome == "unsupported"]
    assert verdicts.ok
    assert [(row.pair, row.detail) for row in refused] == [("CNN teacher", "needs a class token")]


def test_a_factory_that_is_no_string(one_pair: None) -> None:
    class Plain(Stage):
        teacher = None

    def local(pair, *, unused: int = 1):
        return [Plain()]

    verdicts = check(local, options={"unused": 2})
    assert verdicts.ok
    assert [row.outcome for row in verdicts.rows if row.check == "ranks"] == ["skipped"]


def test_unknown_methods_and_options_are_one_line(tmp_path: Path) -> None:
    method, _ = write(tmp_path)
    with pytest.raises(UsageError, match=r"wieght.*weight"):
        check(method, options={"wieght": 1})
    with pytest.raises(UsageError, match="no-such"):
        check("no-such")


def test_generators_and_threads_are_left_alone(one_pair: None) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state(), numpy.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
    check("finetune", ranks=False)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (numpy.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads())


def test_the_command_prints_a_table_or_json_and_its_exit_code(tmp_path: Path, one_pair: None) -> None:
    method, _ = write(tmp_path)
    good = CliRunner().invoke(app, ["check", "method", method, "--no-ranks", "-o", "weight=0.5"])
    assert good.exit_code == 0 and "cosine conforms" in good.stdout
    method, lines = write(tmp_path, (RETURN, '        return {"cosine": 1.0}\n'))
    bad = CliRunner().invoke(app, ["check", "method", method, "--no-ranks", "--json"])
    content = json.loads(bad.stdout)
    assert bad.exit_code == 1 and content["ok"] is False
    where = {row["where"] for row in content["rows"] if row["outcome"] == "failed"}
    line = next(number for number, text in enumerate(lines, 1) if '"cosine": 1.0' in text)
    assert where == {f"{tmp_path}/plugin.py:{line}"}
    wrong = CliRunner().invoke(app, ["check", "method", method, "-o", "weight"])
    assert wrong.exit_code == 2


def test_a_wrong_name_is_said_before_torch_is_imported() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom gkdbench.cli.main import app\n"
        "result = CliRunner().invoke(app, ['check', 'method', 'nowhere'])\n"
        "sys.exit(result.exit_code if 'torch' not in sys.modules else 99)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 2
