"""What options change of a benchmark's preset: `recipe.STAGE.FIELD=VALUE` and `limits.ROLE=IMAGES`."""

import re
from collections.abc import Collection, Mapping
from typing import Any, get_args

from gkdbench.errors import UsageError
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.documents import nearest, parse
from gkdbench.spec.recipe import STAGE_NAMES, Preset, Role, StageRecipe

SECTIONS = ("recipe", "limits")
"""What stands before the first dot of an option that is the preset's and not the method's."""
LIMITS = "limits."
_FIELDS = tuple(name for name in StageRecipe.model_fields if name not in ("augmentation", "betas"))


def changed_preset(benchmark: Benchmark, name: str, options: Mapping[str, str]) -> tuple[Preset, dict[str, Any]]:
    """Return a preset with options applied, and what they changed: `STAGE.FIELD` or `limits.ROLE` -> value."""
    if name not in benchmark.presets:
        known = list(benchmark.presets)
        raise UsageError(
            f"--preset: benchmark {benchmark.name!r} has no preset {name!r}{nearest(name, known)}"
            f" (known: {', '.join(known)})"
        )
    preset = benchmark.presets[name]
    content = preset.model_dump(mode="json")
    given = [_place(key) for key in options]
    for (section, key), (option, text) in zip(given, options.items(), strict=True):
        place = content[section]
        if section == "limits":
            place[key] = _limit(option, text)
        elif key == "size":
            place[key] = _size(option, text)
        else:
            place[key] = None if _is_none(text) else text
    content["limits"] = {role: limit for role, limit in content["limits"].items() if limit is not None}
    wanted = parse(Preset, content, f"-o recipe (preset {name!r})")
    return wanted, {
        f"{section}.{key}": value
        for section, key in given
        if (value := _value(wanted, section, key)) != _value(preset, section, key)
    }


def options_of(changed: Mapping[str, Any]) -> list[str]:
    """Return the options that change this, as people write them."""
    return [f"{'' if name.startswith(LIMITS) else 'recipe.'}{name}={value}" for name, value in changed.items()]


def marks_of(changed: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of a run whose preset was changed."""
    limited = [name.startswith(LIMITS) for name in changed]
    return ["custom recipe"] * (not all(limited)) + ["custom limits"] * any(limited)


def check_name(fault: str, name: str, known: Collection[str], form: str) -> None:
    """Raise UsageError, with the nearest of them, where a name is not among those known."""
    if name not in known:
        raise UsageError(f"{fault} {name!r}{nearest(name, known)} ({form}: {', '.join(known)})")


def _place(option: str) -> tuple[str, str]:
    """Return section and key of the preset that an option names."""
    section, _, path = option.partition(".")
    if section == "limits":
        check_name(f"-o {option}: no role", path, get_args(Role), "limits.ROLE; roles")
        return section, path
    stage, _, field = path.partition(".")
    check_name(f"-o {option}: no stage", stage, STAGE_NAMES, "recipe.STAGE.FIELD; stages")
    check_name(f"-o {option}: a recipe has no field", field, _FIELDS, "fields")
    return stage, field


def _value(preset: Preset, section: str, key: str) -> Any:
    """Return what a preset has in a place, as JSON holds it."""
    if section == "limits":
        return {str(role): count for role, count in preset.limits.items()}.get(key)
    found = getattr(preset.stage(section), key)
    return list(found) if isinstance(found, tuple) else found


def _is_none(text: str) -> bool:
    return text.lower() == "none"


def _limit(option: str, text: str) -> int | None:
    """Read a number of images; None: all of them."""
    if _is_none(text):
        return None
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise UsageError(f"-o {option}={text}: must be a number of images from 1, or none for all")
    return int(text)


def _size(option: str, text: str) -> list[int]:
    """Read a height and width in pixels: `96x128`, `[96, 128]`, or one number for both."""
    number = r"\s*([0-9]{1,5})\s*"
    found = re.fullmatch(rf"[\[(]?{number}(?:[x,]{number})?[\])]?", text)
    if found is None:
        raise UsageError(f"-o {option}={text}: must be HEIGHTxWIDTH in pixels, such as 96x128, or one number for both")
    return [int(found[1]), int(found[2] or found[1])]
