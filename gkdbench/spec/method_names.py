"""Methods by name: of any installed distribution, in a file, as a variant, or inside a combinator.

    METHOD                   a method of an entry point
    METHOD@PACKAGE           the same name from a given distribution, where several offer it
    ./my_kd.py:my_kd         a function of a file
    VARIANT                  a method with options set, by variants.yaml
    COMBINATOR(NAME)         a combinator around any of these
"""

import hashlib
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import EntryPoint
from pathlib import Path

from gkdbench.errors import UsageError
from gkdbench.spec.documents import nearest
from gkdbench.spec.method_source import MethodSource, read_method
from gkdbench.spec.plugins import (
    OURS,
    distribution_name,
    distribution_version,
    entries,
    find_module,
    normalised,
)
from gkdbench.spec.variants import NAME, Variant, variant_faults, variants

METHODS = "gkdbench.methods"
COMBINATORS = "gkdbench.combinators"
KINDS = {METHODS: "method", COMBINATORS: "combinator"}
MOST_COMBINATORS = 8
_AROUND = re.compile(r"([A-Za-z_][\w.@-]*)\s*\((.*)\)", flags=re.DOTALL)


@dataclass(frozen=True)
class Offer:
    """One distribution's entry point under a name."""

    entry: EntryPoint

    @property
    def distribution(self) -> str:
        """Name of the distribution it comes from."""
        return distribution_name(self.entry)

    @property
    def origin(self) -> str:
        """Distribution and version."""
        return f"{self.distribution} {distribution_version(self.entry)}"

    @property
    def module(self) -> str:
        """The module that the entry point names, as far as it names one."""
        return self.entry.value.partition(":")[0].strip()

    def read(self) -> MethodSource:
        """Read the file of the method, or combinator, without importing it; UsageError names what is wrong with it."""
        name, module = self.entry.name, self.module
        kind = KINDS.get(self.entry.group, "method")
        function = self.entry.value.partition(":")[2].partition("[")[0].strip()
        if not all(part.isidentifier() for part in module.split(".")) or not function.isidentifier():
            raise UsageError(
                f"{kind} {name!r} of {self.distribution}: its entry point is {self.entry.value!r}, not MODULE:FUNCTION"
            )
        spec = find_module(module)
        if spec is None or spec.origin is None:
            raise UsageError(f"{kind} {name!r}: its module {module} is not importable; reinstall {self.distribution}")
        found = read_method(name, Path(spec.origin), function, module, self.origin, 2 if kind == "combinator" else 1)
        if kind == "combinator" and found.options:
            raise UsageError(f"{found.file}: a combinator takes the pair and the stages, and no options")
        return found


@lru_cache
def offers(group: str = METHODS) -> dict[str, tuple[Offer, ...]]:
    """Return every entry point of a group by name: our own first, then by distribution."""
    found: dict[str, dict[str, Offer]] = {}
    for entry in entries(group):
        offer = Offer(entry)
        if NAME.fullmatch(entry.name):
            # one distribution may be found twice, in a build folder and installed: the first on the path counts
            found.setdefault(entry.name, {}).setdefault(normalised(offer.distribution), offer)
    return {
        name: tuple(sorted(by.values(), key=lambda o: (o.distribution != OURS, o.distribution)))
        for name, by in found.items()
    }


def variant_of(name: str) -> Variant | None:
    """Return the variant that a name stands for: ours stand above strangers' methods, strangers' below all methods."""
    variant = variants().get(name)
    offered = offers().get(name, ())
    if variant is not None and offered and (offered[0].distribution == OURS or not variant.ours):
        return None
    return variant


def clashes(group: str = METHODS) -> dict[str, str]:
    """Return what must be said of each name that stands for several things."""
    said = {}
    known = variants() if group == METHODS else {}
    for name in sorted({*offers(group), *known}):
        offered = offers(group).get(name, ())
        variant = known.get(name)
        files = (variant.file, *variant.others) if variant else ()
        claims = [*(f"{name}@{o.distribution}" for o in offered), *(f"the variant in {file}" for file in files)]
        if len(claims) < 2:
            continue
        if variant is not None and (group == METHODS and variant_of(name) is variant):
            chosen = f"{name!r} means the variant in {variant.file}"
        elif offered[0].distribution == OURS:
            chosen = f"{name!r} means gkdbench's own"
        elif len(offered) == 1:
            chosen = f"{name!r} means {name}@{offered[0].distribution}"
        else:
            chosen = "say which"
        said[name] = f"several packages offer {KINDS[group]} {name!r} ({', '.join(claims)}); {chosen}"
    return said


def method_names() -> list[str]:
    """Return the names of all installed methods and variants, sorted."""
    return sorted({*offers(), *variants()})


def find_method(name: str, origin: str = "--method") -> MethodSource:
    """Find a method by any of the forms above; `origin` is who named it."""
    around, inner = _taken_apart(name, origin)
    source = _plain(inner, origin)
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
    again = own
    if origin.endswith(".py"):
        again = f"{origin}:{own}"
    elif distribution and own in offers():
        offered = [normalised(offer.distribution) for offer in offers()[own]]
        from_offer = normalised(distribution) in offered
        # a bare name that today means another package's method would silently run that one
        if (from_offer and (len(offered) > 1 or variant_of(own))) or (not from_offer and not variant_of(own)):
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


def _plain(name: str, origin: str) -> MethodSource:
    if is_path(name):
        return _in_file(name, origin)
    variant = variant_of(name)
    if variant is None:
        if name in variant_faults() and name not in offers():
            raise UsageError(f"{origin}: {variant_faults()[name]}")
        return _chosen(name, METHODS, origin).read()
    where = f"{variant.file}: variant {name!r}"
    if is_path(variant.entry.method):
        raise UsageError(f"{where}: its method {variant.entry.method!r} is a file; name an installed method")
    if variant_of(innermost(variant.entry.method)) is not None:
        raise UsageError(f"{where}: its method {variant.entry.method!r} is a variant itself; name a method")
    method = find_method(variant.entry.method, where)
    given = {key: str(value) for key, value in variant.entry.options.items()}
    return method.with_defaults(name, variant.entry.summary, given, where)


def _chosen(name: str, group: str, origin: str) -> Offer:
    plain, at, distribution = name.partition("@")
    kind = KINDS[group]
    offered = offers(group).get(plain, ())
    if at and offered:
        among = ", ".join(f"{plain}@{offer.distribution}" for offer in offered)
        offered = tuple(offer for offer in offered if normalised(offer.distribution) == normalised(distribution))
        if not offered:
            raise UsageError(f"{origin}: no package {distribution!r} offers {kind} {plain!r} (known: {among})")
    if not offered:
        if group == METHODS and plain in offers(COMBINATORS):
            raise UsageError(f"{origin}: {plain!r} is a combinator; write it around a method: '{plain}(METHOD)'")
        known = method_names() if group == METHODS else sorted(offers(group))
        hint = "; a method of your own: PATH.py:NAME" if group == METHODS else ""
        raise UsageError(
            f"{origin}: unknown {kind} {name!r}{nearest(plain, known)} (known: {', '.join(known)}{hint})"
        )
    if len(offered) > 1 and offered[0].distribution != OURS:
        raise UsageError(f"{origin}: {clashes(group)[plain]}")
    return offered[0]


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
    plain = combinator.name
    # the distribution is part of the recorded name only where the bare name means another's
    shown = plain if offers(COMBINATORS)[plain][0] == offer else f"{plain}@{offer.distribution}"
    together = "\n".join([inner.code_digest, combinator.code_digest, combinator.function])
    return replace(
        inner,
        name=f"{shown}({inner.name})",
        summary=f"{inner.summary} [{combinator.summary}]",
        combinators=(*inner.combinators, combinator),
        code_digest=hashlib.sha256(together.encode()).hexdigest(),
    )
