"""One thing a reader should know before comparing: what was looked at, and whether it is fine."""

from dataclasses import dataclass

from gkdbench.report.layout import Table


@dataclass(frozen=True)
class Finding:
    """The answer to one question about comparability."""

    slug: str
    question: str
    beware: bool
    """Something here limits what may be compared; otherwise it is fine."""
    sentences: tuple[str, ...]
    tables: tuple[Table, ...] = ()

    @property
    def verdict(self) -> str:
        """Return the verdict as one word."""
        return "beware" if self.beware else "fine"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 run`, `2 runs`; `plural` where an s does not do."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def joined(names: list[str], most: int = 4) -> str:
    """Return `a, b and 3 others`; all of them where that is not longer."""
    if len(names) <= most + 1:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{', '.join(names[:most])} and {len(names) - most} others"
