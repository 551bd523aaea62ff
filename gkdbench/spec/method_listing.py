"""All that is installed, one line each: methods, variants, combinators, and what is broken."""

from dataclasses import dataclass
from typing import Literal

from gkdbench.errors import GkdbenchError
from gkdbench.spec.method_names import METHODS, Offer, clashes, find_method, offers, variant_of
from gkdbench.spec.method_source import MethodSource
from gkdbench.spec.plugins import OURS, entries, unreadable
from gkdbench.spec.variants import NAME, variant_faults, variants


@dataclass(frozen=True)
class Listed:
    """One line of a listing: what a name stands for, or what is wrong with it."""

    name: str
    """As `find_method` takes it; with `@distribution` where the bare name means another's or is refused."""
    kind: Literal["method", "variant", "combinator", "broken"]
    origin: str
    source: MethodSource | None = None
    reason: str = ""
    clash: str = ""


def listed(group: str = METHODS) -> list[Listed]:
    """Return all that is installed, each broken plugin with its reason: it hides nobody else, and is not imported."""
    lines: list[Listed] = []
    said = clashes(group)
    kind: Literal["method", "combinator"] = "method" if group == METHODS else "combinator"
    for plain, offered in offers(group).items():
        for number, offer in enumerate(offered):
            alone = len(offered) == 1 or (number == 0 and offer.distribution == OURS)
            bare = alone and (group != METHODS or variant_of(plain) is None)
            name = plain if bare else f"{plain}@{offer.distribution}"
            try:
                lines.append(Listed(name, kind, offer.origin, offer.read(), "", said.get(plain, "")))
            except GkdbenchError as error:
                lines.append(Listed(name, "broken", offer.origin, None, str(error), said.get(plain, "")))
    for entry in entries(group):
        if not NAME.fullmatch(entry.name):
            reason = f"{entry.name!r} cannot be a name: letters, digits, '_', '-' and '.', not ending in .py"
            lines.append(Listed(_printable(entry.name), "broken", Offer(entry).origin, None, reason))
    lines += [Listed(_printable(name), "broken", name, None, reason) for name, reason in unreadable().items()]
    if group == METHODS:
        for name in variants():
            if variant_of(name) is not None:
                lines.append(_listed_variant(name, said.get(name, "")))
        for name, reason in variant_faults().items():
            lines.append(Listed(_printable(name), "broken", "variant", None, reason))
    return sorted(lines, key=lambda line: line.name)


def _listed_variant(name: str, clash: str) -> Listed:
    origin = f"variant of {variants()[name].entry.method}"
    try:
        return Listed(name, "variant", origin, find_method(name), "", clash)
    except GkdbenchError as error:
        return Listed(name, "broken", origin, None, str(error), clash)


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)
