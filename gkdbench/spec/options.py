"""Options, as `-o NAME=VALUE`: of a method, `recipe.STAGE.FIELD` of a preset's recipe, `limits.ROLE` of its limits.

A method's options are the keyword-only arguments of its function; their types are read from its syntax tree.
"""

import ast
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from gkdbench.errors import UsageError
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.documents import check_name, nearest, parse
from gkdbench.spec.recipe import STAGE_NAMES, Preset, Role, StageRecipe

LIMITS = "limits."
SECTIONS = ("recipe", "limits")
"""What stands before the first dot of an option that is the preset's and not the method's."""
_FIELDS = tuple(name for name in StageRecipe.model_fields if name not in ("augmentation", "betas"))
_TYPES: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
_WORDS = {"true": True, "false": False, "none": None}


@dataclass(frozen=True)
class Option:
    """One keyword argument of a method's function."""

    name: str
    types: tuple[type, ...]
    choices: tuple[Any, ...]
    default: Any
    required: bool

    def parse(self, text: str, origin: str) -> Any:
        """Convert the text after `name=` to the option's type."""
        for candidate in _readings(text):
            if candidate in self.choices or type(candidate) in self.types:
                return candidate
        close = nearest(text, [choice for choice in self.choices if isinstance(choice, str)])
        raise UsageError(f"{origin}: option {self.name}={text!r} is not {self.expected()}{close}")

    def expected(self) -> str:
        """Say what values the option takes."""
        kinds = ["None" if t is type(None) else t.__name__ for t in self.types]
        if self.choices:
            kinds.insert(0, "one of " + ", ".join(str(choice) for choice in self.choices))
        return " or ".join(kinds)


def _readings(text: str) -> Iterator[Any]:
    """Yield all that a text may mean, the narrowest type first."""
    if text.lower() in _WORDS:
        yield _WORDS[text.lower()]
    for convert in (int, float, str):
        try:
            reading = convert(text)
        except ValueError:
            continue
        if not isinstance(reading, float) or math.isfinite(reading):
            yield reading


def option_values(
    options: Iterable[Option], given: Mapping[str, str], method: str, origin: str, *, partial: bool = False
) -> dict[str, Any]:
    """Return every option's value: what was given, else its default; `partial`: only what was given."""
    known = {option.name: option for option in options}
    for name in given:
        check_name(f"{origin}: method {method!r} has no option", name, known, "options")
    values = {}
    for name, option in known.items():
        if name in given:
            values[name] = option.parse(given[name], origin)
        elif option.required and not partial:
            raise UsageError(f"{origin}: method {method!r} needs -o {name}=VALUE")
        elif not partial:
            values[name] = option.default
    return values


def read_options(factory: ast.FunctionDef, file: Path, positional: int) -> Iterator[Option]:
    """Read the options of a method's function; `positional`: how many arguments must come before them."""
    arguments = factory.args
    before = [*arguments.posonlyargs, *arguments.args]
    if len(before) != positional or arguments.vararg or arguments.kwarg:
        form = (
            f"take the pair and, after a '*', its options: def {factory.name}(pair, *, weight: float = 1.0)"
            if positional == 1
            else f"be a combinator: def {factory.name}(pair, stages)"
        )
        raise UsageError(f"{file}:{factory.lineno}: {factory.name} must {form}")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        where = f"{file}:{argument.lineno}: option {argument.arg!r}"
        allowed = _allowed(argument.annotation, where)
        types = tuple(one for one in allowed if isinstance(one, type))
        choices = tuple(one for one in allowed if not isinstance(one, type))
        value = None if default is None else _plain(default, f"{where}: its default")
        yield Option(argument.arg, types, choices, value, default is None)


def _allowed(annotation: ast.expr | None, where: str) -> tuple[Any, ...]:
    """Return the types, and for Literal the values, that an annotation allows."""
    match annotation:
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Constant(value=None):
            return (type(None),)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _allowed(left, where) + _allowed(right, where)
        case ast.Subscript(value=ast.Name(id=form) | ast.Attribute(attr=form), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if form == "Literal":
                return tuple(_plain(part, f"{where}: the choices in Literal[...]") for part in parts)
            if form in ("Optional", "Union"):
                found = tuple(one for part in parts for one in _allowed(part, where))
                return found if form == "Union" else (*found, type(None))
    raise UsageError(f"{where}: annotate it as bool, int, float, str, Literal[...] or a union")


def _plain(node: ast.expr, what: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{what} must be a plain value") from error


# --- of a preset ------------------------------------------------------------------------------------------------------


def changed_preset(benchmark: Benchmark, name: str, options: Mapping[str, str]) -> tuple[Preset, dict[str, Any]]:
    """Return a preset with options applied, and what they changed: `STAGE.FIELD` or `limits.ROLE` -> value."""
    presets = {str(known): preset for known, preset in benchmark.presets.items()}
    check_name(f"--preset: benchmark {benchmark.name!r} has no preset", name, presets)
    preset = presets[name]
    before = preset.model_dump(mode="json")
    content = preset.model_dump(mode="json")
    places = [_place(option) for option in options]
    for (section, key), (option, text) in zip(places, options.items(), strict=True):
        if key == "size":
            content[section][key] = _size(option, text)
        elif section == "limits" and text.lower() == "none":
            content[section].pop(key, None)
        else:
            content[section][key] = None if text.lower() == "none" else text
    wanted = parse(Preset, content, f"-o (on preset {name!r})")
    after = wanted.model_dump(mode="json")
    return wanted, {
        f"{section}.{key}": after[section].get(key)
        for section, key in places
        if after[section].get(key) != before[section].get(key)
    }


def options_of(changed: Mapping[str, Any]) -> list[str]:
    """Return the options that change this, as people write them."""
    shown = {name: "x".join(map(str, value)) if isinstance(value, list) else value for name, value in changed.items()}
    return [f"{'' if name.startswith(LIMITS) else 'recipe.'}{name}={value}" for name, value in shown.items()]


def marks_of(changed: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of a run whose preset was changed."""
    limited = [name.startswith(LIMITS) for name in changed]
    return ["custom recipe"] * (not all(limited)) + ["custom limits"] * any(limited)


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


def _size(option: str, text: str) -> list[int]:
    """Read a height and width in pixels, or one number for both."""
    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    if found is None:
        raise UsageError(f"-o {option}={text}: must be HEIGHTxWIDTH in pixels, such as 96x128, or one number for both")
    return [int(found[1]), int(found[2] or found[1])]
