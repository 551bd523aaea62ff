"""Combinators around methods by name, and how a record finds its method again."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from sites import METHOD, Site, rows

from gkdbench.errors import UsageError
from gkdbench.identity.run import run_id
from gkdbench.runs.record import RunSpecRecord
from gkdbench.spec.methods import (
    COMBINATORS,
    clashes,
    find_method,
    innermost,
    recorded_name,
    warnings_for,
)
from gkdbench.spec.selection import Selection, resolve, selection_of


def test_combinators_stand_around_any_method(tmp_path: Path) -> None:
    (tmp_path / "a(1)").mkdir()
    path = tmp_path / "a(1)" / "mine.py"
    path.write_text(METHOD)
    twice = find_method("decoupled( decoupled (gkd) )")
    assert twice.name == "decoupled(decoupled(gkd))" and [c.name for c in twice.combinators] == ["decoupled"] * 2
    once, plain = find_method("decoupled(gkd)"), find_method("gkd")
    assert len({twice.code_digest, once.code_digest, plain.code_digest}) == 3
    assert once.options == plain.options and once.function == "gkd"
    assert find_method(f"decoupled({path}:mine)").name == "decoupled(mine)"
    assert find_method("coupled(gkd@gkdbench)").name == "coupled(gkd)"
    assert innermost(twice.name) == "gkd" == innermost("gkd")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("decoupeld(gkd)", "--method: unknown combinator 'decoupeld'; did you mean 'decoupled'? (known: coupled, deco"),
        ("gkd(cwd)", "--method: unknown combinator 'gkd'"),
        ("decoupled(gdk)", "--method: unknown method 'gdk'; did you mean 'gkd'?"),
        ("decoupled", "--method: 'decoupled' is a combinator; write it around a method: 'decoupled(METHOD)'"),
        ("decoupled()", "--method decoupled(): say which method stands inside the brackets"),
        ("decoupled(gkd", "--method decoupled(gkd: its brackets do not match"),
        ("decoupled(gkd))", "--method decoupled(gkd)): its brackets do not match"),
        ("decoupled(gkd, cwd)", "--method: unknown method 'gkd, cwd'"),
        ("decoupled(" * 2000 + "gkd" + ")" * 2000, "--method: more than 8 combinators around one method"),
    ],
)
def test_expressions_that_mean_nothing(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_method(name)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_combinator_takes_no_options(site: Site) -> None:
    site.write("around.py", "def around(pair, stages, *, weight: float = 1.0): return stages\n")
    site.install("around", combinators="around = around:around\nunder = around:under\ndecoupled = around:around")
    with pytest.raises(UsageError, match=r"around\.py: a combinator takes the pair and the stages, and no options"):
        find_method("around(gkd)")
    found = rows(COMBINATORS)
    assert found["around"].kind == found["under"].kind == found["decoupled@around"].kind == "broken"
    assert found["decoupled"].kind == "combinator" and find_method("decoupled(gkd)")


def test_a_combinator_of_another_package_is_picked_and_recorded(site: Site) -> None:
    site.write("around.py", "def around(pair, stages): return stages\n")
    site.install("around", combinators="around = around:around\ndecoupled = around:around")
    assert find_method("around@around(gkd)").name == "around(gkd)"
    picked = find_method("decoupled@around(gkd)")
    assert picked.name == "decoupled@around(gkd)"
    assert find_method("decoupled@gkdbench(gkd)").name == "decoupled(gkd)"
    assert find_method(recorded_name(picked.name, picked.origin)) == picked
    assert warnings_for("decoupled(gkd)") == [clashes(COMBINATORS)["decoupled"]] and not warnings_for(picked.name)


# --- from the command line to a record and back -----------------------------------------------------------------------


def through_a_record(method: str, options: tuple[str, ...] = ()) -> tuple[Any, Any]:
    (run,) = resolve(Selection(methods=(method,), options=options, with_teacher=False))
    record = RunSpecRecord(
        method=run.method.name, method_source=run.method.origin, options=dict(run.options), setting=run.setting,
        pair=run.pair, teacher=run.teacher.name, student=run.student.name, benchmark=run.benchmark.name,
        benchmark_version=1, task="segmentation", decoder=run.benchmark.decoder.model_dump(mode="json"),
        seed=run.seed, teacher_seed=run.teacher_seed, preset=run.preset_name, recipe={},
        recipe_overrides=dict(run.recipe_overrides), targets=list(run.targets), code=run.method.code_digest,
    )  # fmt: skip
    (again,) = resolve(selection_of(RunSpecRecord.model_validate_json(record.model_dump_json())))
    return run, again


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gkd-qsd", ()),
        ("gkd-qsd", ("masked=true",)),
        ("gkd-single-mse", ("weight=2",)),
        ("decoupled(gkd-qsd)", ()),
        ("decoupled(decoupled(gkd))", ("target=mse",)),
        ("decoupled({path}:mine)", ("weight=2",)),
        ("{path}:mine", ()),
        ("gkd@kd", ("weight=2",)),
        ("gkd@gkdbench", ()),
        ("decoupled(gkd@kd)", ()),
        ("around(fresh)", ()),
        ("decoupled@kd(fresh)", ()),
    ],
)
def test_a_record_finds_its_method_again(site: Site, tmp_path: Path, method: str, options: tuple[str, ...]) -> None:
    path = tmp_path / "my (own) kd" / "mine.py"
    path.parent.mkdir()
    path.write_text(METHOD)
    site.write("kd.py", METHOD + "def around(pair, stages): return stages\n")
    site.install("kd", "gkd = kd:mine\nfresh = kd:mine", "around = kd:around\ndecoupled = kd:around")
    run, again = through_a_record(method.format(path=path), options)
    assert again == run
    identity = run_id(run, "12345678abc")
    assert not set(identity) & set("()@ /'") and identity.endswith("-s0-12345678") and shlex.quote(identity) == identity


def test_a_record_of_a_package_that_is_gone_runs_no_other(site: Site) -> None:
    site.write("kd.py", METHOD)
    site.install("kd", "fresh = kd:mine")
    name = recorded_name("decoupled(fresh)", "gone 1.0")
    with pytest.raises(UsageError, match=r"no package 'gone' offers method 'fresh' \(known: fresh@kd\)"):
        find_method(name)
