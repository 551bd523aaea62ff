"""Methods by name: entry points found without importing, clashes, files and variants."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sites import METHOD, RAISES, Site, forget, rows

from gkdbench.errors import UsageError
from gkdbench.spec.methods import (
    COMBINATORS,
    METHODS,
    clashes,
    find_method,
    is_path,
    listed,
    meant,
    offers,
    recorded_name,
    warnings_for,
)


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
    with pytest.raises(UsageError, match="cannot be a name"):
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
        "gkd": "several packages offer method 'gkd' (gkd@gkdbench, gkd@kd-1, gkd@kd-2); 'gkd' means gkd@gkdbench",
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
    assert {"gkd-qsd", "gkd"} <= set(offers())


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
    ours = offers()["gkd-qsd"][0]
    assert ours.distribution == "gkdbench" and offers()["gkd-qsd"][2].file == file
    assert find_method("gkd").parse_options({}, "-o")["weight"] == 1.0
    assert find_method("gkd-qsd").origin.startswith("gkdbench ")
    assert find_method("gkd-qsd@kd").origin == find_method("fresh").origin == "kd 1.0"
    assert meant("fresh").kind == "method" and rows()["fresh"].kind == "method"
    assert rows()["gkd-qsd"].kind == "variant" and rows()["gkd-qsd@kd"].kind == "method"
    assert clashes()["fresh"].endswith(f"(fresh@kd, the variant in {file}); 'fresh' means fresh@kd")
    assert clashes()["gkd"].endswith("'gkd' means gkd@gkdbench")
    assert clashes()["gkd-qsd"].endswith(f"'gkd-qsd' means the variant in {ours.file}")
    # a record of the stranger's method is not answered by our variant
    assert recorded_name("gkd-qsd", "kd 1.0") == "gkd-qsd@kd"
    assert recorded_name("gkd-qsd", "gkdbench 0.1.0") == "gkd-qsd"


# --- combinators ------------------------------------------------------------------------------------------------------
