"""Corrupted images as data: kinds, severities, one corrupted split, and many targets in three lines of YAML.

    targets:
      corruptions:            # 75 targets: gaussian_noise-1 ... jpeg_compression-5
        kinds: all            # or [fog, noise, ...]: kinds and the names of GROUPS
        severities: [1, 3, 5] # left out: 1 to 5
        of: {...}             # left out: the in-domain split

Kinds and severities are those of ImageNet-C (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261), applied to images
of any size as in Pascal-C, COCO-C and Cityscapes-C (Michaelis et al., arXiv 1907.07484), whose code (imagecorruptions)
is not ImageNet-C's to the pixel: its elastic_transform is much weaker at severities 1 and 2.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator

from gkdbench.errors import UsageError
from gkdbench.spec.documents import Strict, nearest, parse
from gkdbench.spec.split import AnySplit

Kind = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "speckle_noise",
    "gaussian_blur",
    "spatter",
    "saturate",
]
"""The 15 of the benchmark, and four that were meant for tuning."""
Severity = Annotated[int, Field(ge=1, le=5)]

EVERY_KIND: tuple[Kind, ...] = get_args(Kind)
KINDS: tuple[Kind, ...] = EVERY_KIND[:15]
"""What `all` stands for."""
SEVERITIES = (1, 2, 3, 4, 5)
GROUPS: dict[str, tuple[Kind, ...]] = {
    "all": KINDS,
    "noise": KINDS[:3],
    "blur": KINDS[3:7],
    "weather": KINDS[7:11],
    "digital": KINDS[11:],
    "extra": EVERY_KIND[15:],
}
"""Names that stand for several kinds."""
KEY = "corruptions"
"""What stands in a target's place for many of them."""

def _kinds(given: Any) -> Any:
    """Put kinds in the place of groups; every wrong name is one clear line."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("must be all or a list of names")
    unknown = next((name for name in names if name not in GROUPS and name not in EVERY_KIND), None)
    if unknown is not None:
        known = (*GROUPS, *EVERY_KIND)
        raise ValueError(f"{unknown!r} is no corruption{nearest(unknown, known)} (known: {', '.join(known)})")
    return [kind for name in names for kind in GROUPS.get(name, (name,))]


class Corruptions(Strict):
    """Many targets at once: every kind at every severity."""

    of: AnySplit | None = None
    """What is corrupted; None: the in-domain split."""
    kinds: Annotated[list[Kind], BeforeValidator(_kinds), Field(min_length=1)] = list(KINDS)
    """Kinds and names of GROUPS, or one of these names alone."""
    severities: list[Severity] = Field(list(SEVERITIES), min_length=1)

    @field_validator("kinds", "severities")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} appears twice")
        return values


def target_name(kind: str, severity: int) -> str:
    """Return what the target of a corruption is called."""
    return f"{kind}-{severity}"


def expanded(corruptions: Corruptions, in_domain: Any) -> dict[str, dict[str, Any]]:
    """Return the corrupted splits by their targets' names, as their YAML would say them."""
    of = in_domain if corruptions.of is None else corruptions.of
    return {
        target_name(kind, severity): {"reader": "corrupted", "kind": kind, "severity": severity, "of": of}
        for kind in corruptions.kinds
        for severity in corruptions.severities
    }


def with_corruptions(content: Any, context: Any = None) -> Any:
    """Return a benchmark's content with every target in the place of `corruptions`.

    For a validator that runs before the fields': what is wrong is a ValueError whose text names the key.
    """
    if not isinstance(content, Mapping):
        return content
    changed = dict(content)
    for section in ("targets", "hidden_targets"):
        targets = content.get(section)
        given = targets.get(KEY) if isinstance(targets, Mapping) else None
        if not isinstance(targets, Mapping) or KEY not in targets or (isinstance(given, Mapping) and "reader" in given):
            continue  # or an ordinary target that happens to be called so
        changed[section] = _replaced(targets, _parsed(given, f"{section}.{KEY}", context), content, section)
    return changed


def _replaced(
    targets: Mapping[Any, Any], corruptions: Corruptions, content: Mapping[Any, Any], section: str
) -> dict[Any, Any]:
    source = content.get("source")
    new = expanded(corruptions, source.get("val") if isinstance(source, Mapping) else getattr(source, "val", None))
    taken = next((name for name in new if name in targets), None)
    if taken is not None:
        raise ValueError(f"{section}: {taken!r} is a target of its own and one of {KEY}")
    result: dict[Any, Any] = {}
    for name, split in targets.items():
        result.update(new if name == KEY else {name: split})
    return result


def _parsed(given: Any, key: str, context: Any) -> Corruptions:
    try:
        return parse(Corruptions, {} if given == "all" else given, key, context)
    except UsageError as error:  # which pydantic would not turn into a problem of the benchmark's
        raise ValueError(str(error)) from None
