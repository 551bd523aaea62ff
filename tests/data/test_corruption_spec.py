from typing import Any

import pytest
from pydantic import model_validator

from gkdbench.data.readers import CorruptedSplit, FilesSplit, FolderSplit
from gkdbench.errors import UsageError
from gkdbench.spec.corruption import EVERY_KIND, GROUPS, KINDS, with_corruptions
from gkdbench.spec.documents import Strict, parse
from gkdbench.spec.split import AnySplit


class Source(Strict):
    val: AnySplit


class Plan(Strict):
    """A benchmark as far as corruptions go."""

    source: Source
    targets: dict[str, AnySplit]

    @model_validator(mode="before")
    @classmethod
    def _corruptions(cls, content: Any) -> Any:
        return with_corruptions(content)


VAL = {"reader": "folders", "root": "val"}


def plan(corruptions: Any, **targets: Any) -> Plan:
    content = {"source": {"val": VAL}, "targets": {**targets, "corruptions": corruptions, "last": VAL}}
    return parse(Plan, content, "b.yaml")


def test_names_are_those_of_the_definition() -> None:
    assert len(KINDS) == 15 and len(EVERY_KIND) == 19 and len(set(EVERY_KIND)) == 19
    assert sum(map(len, (GROUPS[name] for name in ("noise", "blur", "weather", "digital")))) == 15
    assert GROUPS["weather"] == ("snow", "frost", "fog", "brightness")


@pytest.mark.parametrize("given", ["all", {}, {"kinds": "all"}, {"kinds": ["all"]}])
def test_all_of_them(given: Any) -> None:
    targets = plan(given).targets
    assert len(targets) == 76 and next(iter(targets)) == "gaussian_noise-1" and list(targets)[-1] == "last"
    split = targets["jpeg_compression-5"]
    assert isinstance(split, CorruptedSplit)
    assert (split.kind, split.severity, split.of) == ("jpeg_compression", 5, FolderSplit(reader="folders", root="val"))


def test_some_of_another_split_in_the_place_of_the_key() -> None:
    other = {"reader": "files", "root": "b", "images": "{stem}.png"}
    found = plan({"kinds": ["fog", "noise"], "severities": [2, 4], "of": other}, first=VAL).targets
    assert list(found)[:3] == ["first", "fog-2", "fog-4"] and len(found) == 2 + 8
    split = found["shot_noise-4"]
    assert isinstance(split, CorruptedSplit) and split.of == FilesSplit(reader="files", root="b", images="{stem}.png")


def test_a_target_written_out_and_what_is_written_back() -> None:
    content = {
        "source": {"val": VAL},
        "targets": {"corruptions": {"reader": "corrupted", "kind": "fog", "severity": 3, "of": VAL}},
    }
    written_out = parse(Plan, content, "b.yaml")
    assert written_out.targets["corruptions"].corruption == ("fog", 3) and list(written_out.targets) == ["corruptions"]
    whole = plan({"kinds": "blur"})
    assert parse(Plan, whole.model_dump(mode="json"), "b.yaml") == whole


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kinds": ["frog"]}, "key 'kinds': 'frog' is no corruption; did you mean 'fog'?"),
        ({"kinds": "nois"}, "key 'kinds': 'nois' is no corruption; did you mean 'noise'?"),
        ({"kinds": 3}, "key 'kinds': must be all or a list of names (got 3)"),
        ({"kinds": []}, "key 'kinds': Value should have at least 1 item"),
        ({"kinds": ["fog", "weather"]}, "key 'kinds': 'fog' appears twice"),
        ({"severities": [0]}, "key 'severities.0': Input should be greater than or equal to 1 (got 0)"),
        ({"severities": [1, 1]}, "key 'severities': 1 appears twice"),
        ({"severity": [1]}, "key 'severity' is not known; did you mean 'severities'?"),
        ({"of": {"reader": "folders"}}, "key 'of.root' is missing"),
        ({"of": {"reader": "floder", "root": "x"}}, "key 'of.reader': reader 'floder' is none of coco, corrupted"),
        ({"of": {**VAL, "rot": "x"}}, "key 'of.rot' is not known; did you mean 'root'?"),
        (None, "Input should be a valid dictionary"),
    ],
)
def test_mistakes_are_one_line_with_the_key(given: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(given)
    text = str(caught.value)
    assert text.startswith(f"b.yaml: targets.corruptions: {said}") and "\n" not in text


def test_a_name_may_not_be_taken() -> None:
    with pytest.raises(UsageError, match="targets: 'fog-1' is a target of its own and one of corruptions"):
        plan({"kinds": ["fog"]}, **{"fog-1": VAL})


def test_mistakes_elsewhere_keep_their_words() -> None:
    with pytest.raises(UsageError, match=r"key 'source' is missing"):
        parse(Plan, {"targets": {"corruptions": "all"}}, "b.yaml")
    with pytest.raises(UsageError, match=r"key 'source.val.root' is missing"):
        parse(Plan, {"source": {"val": {"reader": "folders"}}, "targets": {"corruptions": "all"}}, "b.yaml")
    with pytest.raises(UsageError, match=r"key 'targets.x.kind'"):
        split = {"reader": "corrupted", "kind": "frog", "severity": 3, "of": VAL}
        parse(Plan, {"source": {"val": VAL}, "targets": {"x": split}}, "b.yaml")
