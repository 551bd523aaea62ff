"""Methods by name: entry points found without importing, clashes, files, variants and combinators."""

import shlex
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

from gkdbench.errors import UsageError
from gkdbench.run.digests import run_id
from gkdbench.run.record import RunSpecRecord
from gkdbench.spec import catalogue, plugins, variants
from gkdbench.spec.method_listing import listed
from gkdbench.spec.method_names import (
    COMBINATORS,
    METHODS,
    clashes,
    find_method,
    innermost,
    is_path,
    method_names,
    offers,
    recorded_name,
    variant_of,
    warnings_for,
)
from gkdbench.spec.selection import Selection, resolve, selection_of

METHOD = 'def mine(pair, *, weight: float = 1.0):\n    """Say one thing."""\n    return []\n'
RAISES = 'raise RuntimeError("importing this must never happen")\n'


def forget() -> None:
    """Empty what is remembered of installed packages."""
    for remembered in (plugins._scan, catalogue._packages, variants._read, offers):
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


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Return a folder on the path; what was installed into it is forgotten afterwards."""
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.folder))
    before = set(sys.modules)
    forget()
    yield made
    monkeypatch.undo()
    forget()
    for name in set(sys.modules) - before:
        if str(made.folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def rows(group: str = METHODS) -> dict[str, Any]:
    return {line.name: line for line in listed(group)}


def test_built_in_methods_are_found_by_their_entry_points() -> None:
    assert {"finetune", "frozen", "gkd", "teacher", "vanilla_kd"} <= set(offers())
    method = find_method("gkd")
    assert method.module == "gkdbench_methods.gkd" and method.origin.startswith("gkdbench ")
    assert {option.name for option in method.options} >= {"masked", "proxy", "weight"}
    assert not [line for group in (METHODS, COMBINATORS) for line in listed(group) if line.kind == "broken"]
    assert not clashes() and not clashes(COMBINATORS)


def test_names_that_are_not_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown method 'finetun'; did you mean 'finetune'\? \(known: .*PATH"):
        find_method("finetun")
    with pytest.raises(UsageError, match=r"unknown method 'gkd-qds'; did you mean 'gkd-qsd'\?"):
        find_method("gkd-qds")
    with pytest.raises(UsageError, match=r"no such file .*absent\.py"):
        find_method(f"{tmp_path}/absent.py:mine")
    (tmp_path / "mine.py").write_text(METHOD)
    with pytest.raises(UsageError, match="say which function of the file"):
        find_method(f"{tmp_path}/mine.py")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"bytes\.py: cannot be read"):
        find_method(f"{tmp_path}/bytes.py:mine")
    with pytest.raises(UsageError, match=r"no package 'nobody' offers method 'gkd' \(known: gkd@gkdbench\)"):
        find_method("gkd@nobody")
    with pytest.raises(UsageError, match="no package '' offers method 'gkd'"):
        find_method("gkd@")


@pytest.mark.parametrize(
    ("name", "path"), [("./a.py:f", True), ("a.py", True), ("my.pyramid", False), ("kd@x.pypi", False), ("gkd", False)]
)
def test_what_means_a_file(name: str, path: bool) -> None:
    assert is_path(name) is path


# --- packages ---------------------------------------------------------------------------------------------------------


def test_listing_imports_nothing_of_a_package(site: Site) -> None:
    """Neither a package that raises, nor one around the method's, nor namespaces, the inner ones included."""
    site.write("raises/__init__.py", RAISES)
    site.write("raises/inner/__init__.py", RAISES)
    site.write("raises/inner/kd.py", RAISES + METHOD)
    site.write("outer_space/inner_space/deep/kd.py", RAISES + METHOD)
    site.write("flat.py", RAISES + METHOD)
    site.write("package/__init__.py", RAISES + METHOD)
    site.install(
        "quiet",
        """
        a = raises.inner.kd:mine
        b = outer_space.inner_space.deep.kd:mine
        c = flat:mine
        d = package:mine
        """,
    )
    found = rows()
    assert [(found[name].kind, found[name].origin) for name in "abcd"] == [("method", "quiet 1.0")] * 4
    assert found["b"].source.file == site.folder / "outer_space/inner_space/deep/kd.py"
    assert not {"raises", "outer_space", "flat", "package"} & {name.partition(".")[0] for name in sys.modules}


def test_editable_installs_are_found_through_their_finder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setuptools maps packages, those inside a namespace too, to folders of any name by a finder on sys.meta_path."""
    site.write("src/__init__.py", RAISES)
    site.write("src/kd.py", RAISES + METHOD)
    site.write("part/__init__.py", RAISES)
    site.write("part/kd.py", METHOD)
    (site.folder / "shared_space").mkdir()
    known = {"mapped": site.folder / "src", "shared_space.part": site.folder / "part"}

    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return spec_from_file_location(name, known[name] / "__init__.py") if name in known else None

    def quarrel(name: str, path: Any = None, target: Any = None) -> None:
        if "mapped" in name:
            raise KeyError(name)

    finders = [SimpleNamespace(find_spec=quarrel), object(), *sys.meta_path, SimpleNamespace(find_spec=find_spec)]
    monkeypatch.setattr(sys, "meta_path", finders)
    site.install("editable", "a = mapped.kd:mine\nb = shared_space.part.kd:mine\n")
    assert find_method("a").file == site.folder / "src/kd.py"
    assert find_method("b").file == site.folder / "part/kd.py"
    assert "mapped" not in sys.modules


def test_broken_plugins_are_rows_with_a_reason(site: Site) -> None:
    site.write("fine.py", METHOD)
    site.write("syntax.py", "def mine(pair:\n")
    site.write("empty_space/other.py", "")
    site.write("no_package.py", "")
    site.write("signature.py", "def mine(student, teacher): pass\n")
    site.install(
        "bad",
        """
        lost = no_such_package.methods:mine
        inside = no_package.kd:mine
        space = empty_space:mine
        syntax = syntax:mine
        other = fine:other
        signature = signature:mine
        module = fine
        value = fine:!!
        nested = fine:Mine.make
        ../up = fine:mine
        a(b) = fine:mine
        name.py = fine:mine
        -dash = fine:mine
        ok = fine:mine
        """,
    )
    before = len(rows())
    reasons = {line.name: line.reason for line in listed() if line.kind == "broken"}
    assert set(reasons) == {
        "lost", "inside", "space", "syntax", "other", "signature", "module", "value", "nested", "../up", "a(b)",
        "name.py", "-dash",
    }  # fmt: skip
    assert len(rows()) == before and rows()["ok"].kind == "method"
    for name in ("lost", "inside", "space"):
        assert "is not importable; reinstall bad" in reasons[name]
    for name in ("module", "value", "nested"):
        assert "not MODULE:FUNCTION" in reasons[name]
    for name in ("../up", "a(b)", "name.py", "-dash"):
        assert "cannot be a name" in reasons[name]
    assert "no function 'other'" in reasons["other"] and "must take the pair" in reasons["signature"]
    assert "syntax.py:1: not valid Python" in reasons["syntax"]
    assert not any("\n" in reason for reason in reasons.values())
    assert find_method("gkd").origin.startswith("gkdbench ")
    for name in ("lost", "syntax", "other", "signature", "module"):
        with pytest.raises(UsageError):
            find_method(name)
    with pytest.raises(UsageError, match="unknown method"):
        find_method("../up")


def test_one_unreadable_distribution_hides_no_other(site: Site) -> None:
    site.write("fine.py", METHOD)
    site.install("fine-kd", "fine = fine:mine")
    site.write("torn-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: torn\nVersion: 1.0\n")
    site.write("torn-1.0.dist-info/entry_points.txt", "[gkdbench.methods]\nno equals sign\n")
    site.write("bare-1.0.dist-info/entry_points.txt", "[gkdbench.methods]\nbare = fine:mine\n")
    forget()
    found = rows()
    assert {"gkd", "fine", "bare"} <= set(found) and found["gkd"].kind == "method"
    assert find_method("fine").origin == "fine-kd 1.0"
    if "torn" in found:  # a later Python may read such a file
        assert found["torn"].kind == "broken" and "cannot be read" in found["torn"].reason


def test_ours_counts_among_several_and_any_can_be_picked(site: Site) -> None:
    for number in (1, 2):
        site.write(f"kd{number}.py", METHOD.replace("1.0", f"{number}.0"))
        site.install(f"kd-{number}", f"gkd = kd{number}:mine\nfresh = kd{number}:mine\nonly{number} = kd{number}:mine")
    assert find_method("gkd").origin.startswith("gkdbench ")
    assert find_method("gkd@kd-2").origin == find_method("gkd@KD_2").origin == "kd-2 1.0"
    assert find_method("gkd@kd-2").name == "gkd"
    with pytest.raises(UsageError) as caught:
        find_method("fresh")
    said = "several packages offer method 'fresh' (fresh@kd-1, fresh@kd-2); say which"
    assert str(caught.value) == f"--method: {said}"
    assert clashes() == {
        "fresh": said,
        "gkd": "several packages offer method 'gkd' (gkd@gkdbench, gkd@kd-1, gkd@kd-2); 'gkd' means gkdbench's own",
    }
    assert {"gkd", "gkd@kd-1", "gkd@kd-2", "fresh@kd-1", "fresh@kd-2", "only1"} <= set(rows())
    assert "fresh" not in rows() and rows()["gkd@kd-1"].clash == clashes()["gkd"] and not rows()["only1"].clash
    assert warnings_for("decoupled(gkd)") == [clashes()["gkd"]]
    assert not warnings_for("gkd@kd-1") and not warnings_for("gkd@gkdbench") and not warnings_for("./gkd.py:gkd")


# --- variants ---------------------------------------------------------------------------------------------------------


def install_variants(site: Site, text: str, distribution: str = "more-rows") -> Path:
    package = distribution.replace("-", "_")
    site.write(f"{package}/__init__.py", RAISES)
    file = site.write(f"{package}/variants.yaml", text)
    site.install(distribution, benchmarks=f"{distribution} = {package}")
    return file


def test_our_variants_are_methods_with_options_set() -> None:
    variant = find_method("gkd-qsd")
    base = find_method("gkd")
    assert variant.name == "gkd-qsd" and variant.code_digest == base.code_digest
    assert variant.parse_options({}, "-o") == {**base.parse_options({}, "-o"), "masked": False, "cls": False}
    assert variant.parse_options({"masked": "true", "weight": "2"}, "-o") == {
        **base.parse_options({}, "-o"), "cls": False, "weight": 2,
    }  # fmt: skip
    single = find_method("gkd-single-mse")
    assert [c.name for c in single.combinators] == ["coupled"] and single.name == "gkd-single-mse"
    assert find_method("decoupled(gkd-qsd)").name == "decoupled(gkd-qsd)"
    assert {"gkd-qsd", "gkd"} <= set(method_names())


def test_broken_variants_are_named_and_hide_nobody(site: Site) -> None:
    file = install_variants(
        site,
        """
        variants:
          good: {method: gkd, options: {weight: 2}, summary: Heavier.}
          unknown-method: {method: gdk, summary: s}
          unknown-option: {method: gkd, options: {wieght: 2}, summary: s}
          bad-value: {method: gkd, options: {weight: heavy}, summary: s}
          of-variant: {method: gkd-qsd, summary: s}
          of-itself: {method: of-itself, summary: s}
          of-file: {method: "./kd.py:kd", summary: s}
          of-nothing: {summary: s}
          more: {method: gkd, summary: s, colour: red}
          ../up: {method: gkd, summary: s}
          gkd(x): {method: gkd, summary: s}
          7: {method: gkd, summary: s}
        """,
    )
    reasons = {line.name: line.reason for line in listed() if line.kind == "broken"}
    where = f"{file}: variant"
    starts = {
        "unknown-method": f"{where} 'unknown-method': unknown method 'gdk'; did you mean 'gkd'?",
        "unknown-option": f"{where} 'unknown-option': method 'gkd' has no option 'wieght'; did you mean 'weight'?",
        "bad-value": f"{where} 'bad-value': option weight='heavy' is not int or float",
        "of-variant": f"{where} 'of-variant': its method 'gkd-qsd' is a variant itself; name a method",
        "of-itself": f"{where} 'of-itself': its method 'of-itself' is a variant itself; name a method",
        "of-file": f"{where} 'of-file': its method './kd.py:kd' is a file; name an installed method",
        "of-nothing": f"{where} 'of-nothing': key 'method' is missing",
        "more": f"{where} 'more': key 'colour' is not known",
        "../up": f"{where} '../up': a name is letters, digits",
        "gkd(x)": f"{where} 'gkd(x)': a name is letters, digits",
        "7": f"{where} 7: a name is letters, digits",
    }
    assert set(reasons) == set(starts)
    for name, start in starts.items():
        assert reasons[name].startswith(start)
        if name not in ("../up", "gkd(x)", "7"):
            with pytest.raises(UsageError) as caught:
                find_method(name)
            assert start in str(caught.value)
    assert find_method("good").parse_options({}, "-o")["weight"] == 2
    assert rows()["good"].origin == "variant of gkd" and rows()["good"].kind == "variant"
    assert find_method("gkd-qsd").name == "gkd-qsd"


@pytest.mark.parametrize("text", ["variants: [", "variants: 3\n", "rows: {}\n", ""])
def test_a_broken_file_of_variants_takes_no_names_away(site: Site, text: str) -> None:
    file = install_variants(site, text)
    (line,) = [line for line in listed() if line.kind == "broken"]
    assert line.name == str(file) and line.reason.startswith(str(file)) and "\n" not in line.reason
    assert find_method("gkd-qsd") and find_method("gkd")


def test_which_counts_of_a_method_and_a_variant(site: Site) -> None:
    """Ours before strangers'; among strangers' methods before variants; a clash is always named."""
    site.write("kd.py", METHOD)
    site.install("kd", "gkd-qsd = kd:mine\nfresh = kd:mine")
    file = install_variants(
        site,
        """
        variants:
          gkd: {method: gkd, options: {weight: 3}, summary: s}
          gkd-qsd: {method: gkd, options: {weight: 3}, summary: s}
          fresh: {method: gkd, summary: s}
        """,
    )
    ours = variants.variants()["gkd-qsd"]
    assert ours.ours and ours.others == (file,)
    assert find_method("gkd").parse_options({}, "-o")["weight"] == 1.0
    assert find_method("gkd-qsd").origin.startswith("gkdbench ")
    assert find_method("gkd-qsd@kd").origin == find_method("fresh").origin == "kd 1.0"
    assert variant_of("fresh") is None and rows()["fresh"].kind == "method"
    assert rows()["gkd-qsd"].kind == "variant" and rows()["gkd-qsd@kd"].kind == "method"
    assert clashes()["fresh"].endswith(f"(fresh@kd, the variant in {file}); 'fresh' means fresh@kd")
    assert clashes()["gkd"].endswith("'gkd' means gkdbench's own")
    assert clashes()["gkd-qsd"].endswith(f"'gkd-qsd' means the variant in {ours.file}")
    # a record of the stranger's method is not answered by our variant
    assert recorded_name("gkd-qsd", "kd 1.0") == "gkd-qsd@kd"
    assert recorded_name("gkd-qsd", "gkdbench 0.1.0") == "gkd-qsd"


# --- combinators ------------------------------------------------------------------------------------------------------


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
