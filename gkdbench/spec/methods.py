"""Methods by name: of any installed distribution, in a file, as a variant, or inside a combinator.

    METHOD                   a method of an entry point
    METHOD@PACKAGE           the same name from a given distribution, where several offer it
    ./my_kd.py:my_kd         a function of a file
    VARIANT                  a method with options set, by variants.yaml; the rows of an ablation are such names
    COMBINATOR(NAME)         a combinator around any of these

A method is a function `(pair, *, option: type = default, ...) -> list[Stage]`. It is read from its file, so that
listing methods imports no method and no torch.
"""

import ast
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

from gkdbench.errors import GkdbenchError, UsageError
from gkdbench.identity.code import code_digest, parse_file
from gkdbench.spec.catalogue import VARIANTS_FILE, packages
from gkdbench.spec.documents import Strict, nearest, parse, read_yaml
from gkdbench.spec.options import Option, option_values, read_options
from gkdbench.spec.plugins import (
    OURS,
    distribution_name,
    distribution_version,
    entries,
    find_module,
    normalised,
    unreadable,
)

METHODS = "gkdbench.methods"
COMBINATORS = "gkdbench.combinators"
Kind = Literal["method", "combinator", "variant", "broken"]
KINDS: dict[str, Kind] = {METHODS: "method", COMBINATORS: "combinator"}
MOST_COMBINATORS = 8
NAME = re.compile(r"(?!.*\.py$)[A-Za-z_][\w.-]*", re.ASCII)
"""What a method, a combinator or a variant may be called: never a path, nor anything that a shell would read."""
_AROUND = re.compile(r"([A-Za-z_][\w.@-]*)\s*\((.*)\)", flags=re.DOTALL)


@dataclass(frozen=True)
class MethodSource:
    """Where a method's code is, and what can be known of it without running it."""

    name: str
    file: Path
    function: str
    module: str | None
    """Import name; None for a method given by path."""
    origin: str
    """Distribution and version, or the path that was given."""
    summary: str
    options: tuple[Option, ...]
    code_digest: str
    """Of the file and what it imports from its own distribution, and of the combinators around the method."""
    combinators: tuple["MethodSource", ...] = ()
    """Functions `(pair, stages) -> stages` that rearrange the method's stages, the innermost first."""

    def with_defaults(self, name: str, summary: str, given: Mapping[str, str], origin: str) -> "MethodSource":
        """Return the method under another name, with some options set: a variant."""
        values = option_values(self.options, given, self.name, origin, partial=True)
        options = tuple(
            replace(option, default=values[option.name], required=False) if option.name in values else option
            for option in self.options
        )
        return replace(self, name=name, summary=summary, options=options)

    def parse_options(self, given: Mapping[str, str], origin: str) -> dict[str, Any]:
        """Return every option's value: what was given, else its default."""
        return option_values(self.options, given, self.name, origin)


@dataclass(frozen=True)
class Offer:
    """What one distribution offers under a name: a method, a combinator or a variant."""

    name: str
    kind: Kind
    distribution: str
    origin: str
    """Distribution and version, or of what method it is a variant."""
    read: Callable[[], MethodSource]
    """Read its file without importing it; UsageError names what is wrong with it."""
    file: Path | None = None
    """That defines the variant."""
    sets: Mapping[str, Any] = field(default_factory=dict)
    """Options of the variant."""

    @property
    def address(self) -> str:
        """What tells it from others of the name."""
        return f"{self.name}@{self.distribution}" if self.file is None else f"the variant in {self.file}"


@dataclass(frozen=True)
class Listed:
    """One line of a listing: what a name stands for, or what is wrong with it."""

    name: str
    """As `find_method` takes it; with `@distribution` where the bare name means another's or is refused."""
    kind: Kind
    origin: str
    source: MethodSource | None = None
    reason: str = ""
    offer: Offer | None = None
    clash: str = ""


class VariantEntry(Strict):
    """One variant."""

    method: str
    """A method's name, or a combinator around one."""
    options: dict[str, bool | int | float | str | None] = {}
    summary: str


class VariantTable(Strict):
    """The content of a variants.yaml file; its entries are checked one by one."""

    variants: dict[Any, Any]


# --- what is installed ------------------------------------------------------------------------------------------------


def offers(group: str = METHODS) -> Mapping[str, tuple[Offer, ...]]:
    """Return all that is offered, by name, what counts first: our methods, our variants, strangers' likewise."""
    return _installed(group)[0]


def meant(name: str, group: str = METHODS) -> Offer | None:
    """Return what a bare name means; None where nobody offers it, or several strangers offer a method of the name."""
    offered = offers(group).get(name, ())
    strangers = [offer for offer in offered if offer.kind != "variant" and offer.distribution != OURS]
    return None if not offered or (offered[0] in strangers and len(strangers) > 1) else offered[0]


def clashes(group: str = METHODS) -> dict[str, str]:
    """Return what must be said of each name that stands for several things."""
    said = {}
    for name, offered in offers(group).items():
        if len(offered) > 1:
            claims = ", ".join(offer.address for offer in offered)
            chosen = meant(name, group)
            which = "say which" if chosen is None else f"{name!r} means {chosen.address}"
            said[name] = f"several packages offer {KINDS[group]} {name!r} ({claims}); {which}"
    return said


def listed(group: str = METHODS) -> list[Listed]:
    """Return all that is installed, each broken plugin with its reason: it hides nobody else, and is not imported."""
    offered, broken = _installed(group)
    lines = [line for line in broken if line.name not in offered]
    said = clashes(group)
    for name, several in offered.items():
        for offer in several:
            if offer.kind == "variant" and offer is not several[0]:
                continue
            shown = name if offer is meant(name, group) else offer.address
            kind, source, reason = offer.kind, None, ""
            try:
                source = offer.read()
            except GkdbenchError as error:
                kind, reason = "broken", str(error)
            lines.append(Listed(shown, kind, offer.origin, source, reason, offer, said.get(name, "")))
    return sorted(lines, key=lambda line: line.name)


@lru_cache
def _installed(group: str) -> tuple[dict[str, tuple[Offer, ...]], list[Listed]]:
    """Return all that is offered by name, and what has no name or no content to offer."""
    found: dict[tuple[str, str], Offer] = {}
    broken = [_broken(name, name, reason) for name, reason in unreadable(group).items()]
    for entry in entries(group):
        distribution = distribution_name(entry)
        origin = f"{distribution} {distribution_version(entry)}"
        if NAME.fullmatch(entry.name):
            read = partial(_read_entry, entry, KINDS[group], distribution, origin)
            offer = Offer(entry.name, KINDS[group], distribution, origin, read)
            # one distribution may be found twice, in a build folder and installed: the first on the path counts
            found.setdefault((entry.name, normalised(distribution)), offer)
        else:
            reason = f"{entry.name!r} cannot be a name: letters, digits, '_', '-' and '.', not ending in .py"
            broken.append(_broken(entry.name, origin, reason))
    if group == METHODS:
        for made in _variants():
            if isinstance(made, Listed):
                broken.append(made)
            else:
                found[made.name, str(made.file)] = made
    ours_first = sorted(found.values(), key=lambda o: (o.distribution != OURS, o.kind == "variant", o.distribution))
    names = sorted({offer.name for offer in ours_first})
    return {name: tuple(offer for offer in ours_first if offer.name == name) for name in names}, broken


def _broken(name: str, origin: str, reason: str) -> Listed:
    return Listed("".join(letter if letter.isprintable() else "?" for letter in name), "broken", origin, None, reason)


def _variants() -> Iterator[Offer | Listed]:
    """Yield the variants of all installed benchmark packages: a broken one, or a broken file, hides no other."""
    for folder, distribution in packages().items():
        file = folder / VARIANTS_FILE
        try:
            table = parse(VariantTable, read_yaml(file), str(file)).variants if file.is_file() else {}
        except GkdbenchError as error:
            yield _broken(str(file), "variant", str(error))
            continue
        for name, content in table.items():
            where = f"{file}: variant {name!r}"
            try:
                if not isinstance(name, str) or not NAME.fullmatch(name):
                    raise UsageError(f"{where}: a name is letters, digits, '_', '-' and '.', and does not end in .py")
                entry = parse(VariantEntry, content, where)
            except GkdbenchError as error:
                yield _broken(str(name), "variant", str(error))
                continue
            read = partial(_read_variant, name, entry, where)
            yield Offer(name, "variant", distribution, f"variant of {entry.method}", read, file, entry.options)


# --- reading one ------------------------------------------------------------------------------------------------------


def read_method(
    name: str, file: Path, function: str, module: str | None, origin: str, positional: int = 1
) -> MethodSource:
    """Read one method; `positional`: how many arguments come before its options (pair; of a combinator: and stages)."""
    tree = parse_file(file)
    functions = {node.name: node for node in reversed(tree.body) if isinstance(node, ast.FunctionDef)}
    factory = functions.get(function)
    if factory is None:
        raise UsageError(f"{file}: no function {function!r}{nearest(function, functions)} at the top of the file")
    document = ast.get_docstring(factory) or ast.get_docstring(tree) or ""
    options = tuple(read_options(factory, file, positional))
    summary = document.split("\n")[0]
    return MethodSource(name, file, function, module, origin, summary, options, code_digest(file, module))


def _read_entry(entry: EntryPoint, kind: Kind, distribution: str, origin: str) -> MethodSource:
    module, _, function = entry.value.partition(":")
    module, function = module.strip(), function.partition("[")[0].strip()
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise UsageError(
            f"{kind} {entry.name!r} of {distribution}: its entry point is {entry.value!r}, not MODULE:FUNCTION"
        )
    spec = find_module(module)
    if spec is None or spec.origin is None:
        raise UsageError(f"{kind} {entry.name!r}: its module {module} is not importable; reinstall {distribution}")
    positional = 2 if kind == "combinator" else 1
    found = read_method(entry.name, Path(spec.origin), function, module, origin, positional)
    if kind == "combinator" and found.options:
        raise UsageError(f"{found.file}: a combinator takes the pair and the stages, and no options")
    return found


def _read_variant(name: str, entry: VariantEntry, where: str) -> MethodSource:
    if is_path(entry.method):
        raise UsageError(f"{where}: its method {entry.method!r} is a file; name an installed method")
    inner = meant(innermost(entry.method))
    if inner is not None and inner.kind == "variant":
        raise UsageError(f"{where}: its method {entry.method!r} is a variant itself; name a method")
    given = {key: str(value) for key, value in entry.options.items()}
    return find_method(entry.method, where).with_defaults(name, entry.summary, given, where)


# --- from a name to a method ------------------------------------------------------------------------------------------


def find_method(name: str, origin: str = "--method") -> MethodSource:
    """Find a method by any of the forms above; `origin` is who named it."""
    around, inner = _taken_apart(name, origin)
    source = _in_file(inner, origin) if is_path(inner) else _chosen(inner, METHODS, origin).read()
    for outer in reversed(around):
        source = _combined(outer, source, origin)
    return source


def is_expression(name: str) -> bool:
    """Whether a name is of one of the forms that no listing has: a file, a distribution, a combinator."""
    return is_path(name) or "(" in name or "@" in name


def is_path(name: str) -> bool:
    """Whether a name means a function of a file."""
    return re.search(r"\.py(:|$)", name) is not None


def innermost(name: str) -> str:
    """Return the method's own name in a recorded name: of `COMBINATOR(METHOD)` it is `METHOD`."""
    return name.rpartition("(")[2].rstrip(") ").strip()


def recorded_name(name: str, origin: str) -> str:
    """Return by what name a recorded method is found again, from the name and the origin in the record."""
    own = innermost(name)
    distribution = origin.rpartition(" ")[0]
    offering = {normalised(offer.distribution) for offer in offers().get(own, ()) if offer.kind == "method"}
    bare = meant(own)
    again = own
    if origin.endswith(".py"):
        again = f"{origin}:{own}"
    elif distribution and offering:
        # a bare name that today means another package's method would silently run that one
        offers_it = normalised(distribution) in offering
        is_variant = bare is not None and bare.kind == "variant"
        is_its = bare is not None and normalised(bare.distribution) == normalised(distribution)
        if is_variant == offers_it or not (is_variant or is_its):
            again = f"{own}@{distribution}"
    start = name.rpartition("(")[0] + "(" if "(" in name else ""
    return start + again + ")" * name.count("(")


def warnings_for(name: str) -> list[str]:
    """Return what must be said before a name is used: that others offer what it stands for."""
    around, inner = _taken_apart(name, "--method")
    used = [(METHODS, inner), *((COMBINATORS, outer) for outer in around)]
    return [clashes(group)[plain] for group, plain in used if plain in clashes(group)]


def _taken_apart(name: str, origin: str) -> tuple[list[str], str]:
    """Return the combinators around a method, the outermost first, and the method."""
    around: list[str] = []
    rest = name.strip()
    while found := _AROUND.fullmatch(rest):
        around.append(found[1])
        rest = found[2].strip()
        if len(around) > MOST_COMBINATORS:
            raise UsageError(f"{origin}: more than {MOST_COMBINATORS} combinators around one method")
    if around and not rest:
        raise UsageError(f"{origin} {name}: say which method stands inside the brackets")
    if not is_path(rest) and ("(" in rest or ")" in rest):
        raise UsageError(f"{origin} {name}: its brackets do not match; a combinator is written COMBINATOR(METHOD)")
    return around, rest


def _chosen(name: str, group: str, origin: str) -> Offer:
    """Return the offer that a plain name, or one with a distribution, means."""
    plain, at, distribution = name.partition("@")
    kind = KINDS[group]
    if at and (among := [offer for offer in offers(group).get(plain, ()) if offer.kind == kind]):
        for offer in among:
            if normalised(offer.distribution) == normalised(distribution):
                return offer
        known = ", ".join(offer.address for offer in among)
        raise UsageError(f"{origin}: no package {distribution!r} offers {kind} {plain!r} (known: {known})")
    bare = meant(name, group)
    if bare is not None:
        return bare
    if name in offers(group):
        raise UsageError(f"{origin}: {clashes(group)[name]}")
    for line in _installed(group)[1]:
        if line.name == name:
            raise UsageError(f"{origin}: {line.reason}")
    if group == METHODS and plain in offers(COMBINATORS):
        raise UsageError(f"{origin}: {plain!r} is a combinator; write it around a method: '{plain}(METHOD)'")
    names = ", ".join(offers(group))
    hint = "; a method of your own: PATH.py:NAME" if group == METHODS else ""
    raise UsageError(f"{origin}: unknown {kind} {name!r}{nearest(plain, offers(group))} (known: {names}{hint})")


def _in_file(name: str, origin: str) -> MethodSource:
    path, _, function = name.rpartition(":") if ":" in name else (name, "", "")
    file = Path(path)
    if not function:
        raise UsageError(f"{origin} {name}: say which function of the file, as PATH.py:NAME")
    if not file.is_file():
        raise UsageError(f"{origin} {name}: no such file {file}")
    return read_method(function, file.resolve(), function, None, str(file))


def _combined(outer: str, inner: MethodSource, origin: str) -> MethodSource:
    offer = _chosen(outer, COMBINATORS, origin)
    combinator = offer.read()
    # the distribution is part of the recorded name only where the bare name means another's
    shown = offer.name if offer is offers(COMBINATORS)[offer.name][0] else offer.address
    together = "\n".join([inner.code_digest, combinator.code_digest, combinator.function])
    return replace(
        inner,
        name=f"{shown}({inner.name})",
        summary=f"{inner.summary} [{combinator.summary}]",
        combinators=(*inner.combinators, combinator),
        code_digest=hashlib.sha256(together.encode()).hexdigest(),
    )
