"""Methods by name: of any installed distribution, in a file, as a variant, or inside a combinator.

    gkd                      a method of an entry point
    gkd@other-package        the same name from a given distribution, where several offer it
    ./my_kd.py:my_kd         a function of a file
    gkd-single-mse           a variant: a method with options set, by variants.yaml
    decoupled(cwd)           a combinator around any of these
"""

import hashlib
import importlib.machinery
import importlib.util
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from gkdbench.errors import GkdbenchError, UsageError
from gkdbench.spec.documents import nearest
from gkdbench.spec.method_source import MethodSource, read_method
from gkdbench.spec.variants import variants

METHODS = "gkdbench.methods"
COMBINATORS = "gkdbench.combinators"
OURS = "gkdbench"


@dataclass(frozen=True)
class Offer:
    """One distribution's entry point under a name."""

    entry: EntryPoint

    @property
    def distribution(self) -> str:
        """Name of the distribution it comes from."""
        return self.entry.dist.name if self.entry.dist else "unknown"

    @property
    def origin(self) -> str:
        """Distribution and version."""
        return f"{self.entry.dist.name} {self.entry.dist.version}" if self.entry.dist else self.entry.module

    def read(self, name: str, positional: int = 1) -> MethodSource:
        """Read the method's file without importing it."""
        return read_method(
            name, _file_of(self.entry.module, name), self.entry.attr, self.entry.module, self.origin, positional
        )


@lru_cache
def offers(group: str = METHODS) -> dict[str, tuple[Offer, ...]]:
    """Return every entry point of a group by name: our own first, then by distribution."""
    found: dict[str, dict[str, Offer]] = {}
    for entry in entry_points(group=group):
        offer = Offer(entry)
        # one distribution may be found twice, in a build folder and installed: the first on the path counts
        found.setdefault(entry.name, {}).setdefault(offer.distribution, offer)
    return {
        name: tuple(sorted(by.values(), key=lambda o: (o.distribution != OURS, o.distribution)))
        for name, by in found.items()
    }


def clashes(group: str = METHODS) -> dict[str, str]:
    """Return what must be said of each name that several distributions offer."""
    said = {}
    for name, offered in offers(group).items():
        if len(offered) > 1:
            others = ", ".join(f"{name}@{o.distribution}" for o in offered)
            chosen = f"{name!r} means gkdbench's own" if offered[0].distribution == OURS else "say which"
            said[name] = f"several packages offer {name!r} ({others}); {chosen}"
    return said


def method_names() -> list[str]:
    """Return the names of all installed methods and variants, sorted."""
    return sorted({*offers(), *variants()})


def find_method(name: str, origin: str = "--method") -> MethodSource:
    """Find a method by any of the forms above; `origin` is who named it."""
    combined = re.fullmatch(r"\s*([A-Za-z_][\w-]*)\s*\((.*)\)\s*", name, flags=re.DOTALL)
    if combined:
        return _combined(combined[1], find_method(combined[2].strip(), origin), origin)
    if ".py" in name:
        return _in_file(name, origin)
    if name in variants() and name not in offers():
        variant = variants()[name]
        where = f"{variant.file}: variant {name!r}"
        if innermost(variant.entry.method) in variants():
            raise UsageError(f"{where}: its method {variant.entry.method!r} is a variant itself; name a method")
        method = find_method(variant.entry.method, where)
        given = {key: str(value) for key, value in variant.entry.options.items()}
        return method.with_defaults(name, variant.entry.summary, given, where)
    return _chosen(name, METHODS, "method", origin).read(name.partition("@")[0])


def innermost(name: str) -> str:
    """Return the method's own name in an expression of combinators: of `decoupled(cwd)` it is `cwd`."""
    return name.rpartition("(")[2].rstrip(") ").strip()


def _chosen(name: str, group: str, kind: str, origin: str) -> Offer:
    plain, _, distribution = name.partition("@")
    offered = offers(group).get(plain, ())
    if distribution:
        offered = tuple(offer for offer in offered if offer.distribution == distribution)
    if not offered:
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
    combinator = _chosen(outer, COMBINATORS, "combinator", origin).read(outer, positional=2)
    if combinator.options:
        raise UsageError(f"{combinator.file}: a combinator takes the pair and the stages, and no options")
    together = "\n".join([inner.code_digest, combinator.code_digest, combinator.function])
    return replace(
        inner,
        name=f"{outer}({inner.name})",
        summary=f"{inner.summary} [{combinator.summary}]",
        combinators=(*inner.combinators, combinator),
        code_digest=hashlib.sha256(together.encode()).hexdigest(),
    )


def _file_of(module: str, name: str) -> Path:
    """Return the file of a module without importing it or a package above it."""
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)  # of a top-level name: nothing is imported
        for depth in range(len(inner)):
            if spec is None or spec.submodule_search_locations is None:
                break
            full = ".".join([top, *inner[: depth + 1]])
            spec = importlib.machinery.PathFinder.find_spec(full, list(spec.submodule_search_locations))
    except (ImportError, ValueError) as error:
        raise UsageError(f"method {name!r}: its module {module} is not importable ({error})") from error
    if spec is None or spec.origin is None or (inner and spec.name != module):
        raise UsageError(f"method {name!r}: its module {module} is not importable; reinstall its package")
    return Path(spec.origin)


def readable(name: str) -> MethodSource | GkdbenchError:
    """Return a method, or what is wrong with it: a broken plugin is named and hides nobody else."""
    try:
        return find_method(name, name)
    except GkdbenchError as error:
        return error
