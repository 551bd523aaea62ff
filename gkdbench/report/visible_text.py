"""Text of records as people and programs may see it: what would turn or end the text around it is spelt out."""

import math
import re

# Controls, which move the cursor of a terminal or end a line, but for tabs and line feeds; marks, embeddings, overrides
# and isolates of the Unicode bidirectional algorithm.
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FORMULA = re.compile("[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[-+]?(inf|nan|[\d.,]*\d(e[-+]?\d+)?( ± [\d.,]+)?\*{0,2})")
_HYPHEN = re.compile(r"(?<![\w.-])-(?=\.?\d)")


def visible(text: str) -> str:
    """Return a text with each character that acts on what is around it spelt out as [U+202E].

    Unseen, such a character in a name mirrors whatever follows it in the same cell or sentence, or rules a terminal.
    """
    return _ACTING.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def csv_cell(text: str) -> str:
    """Return a cell of a CSV file: one line, and no formula to a spreadsheet; numbers stay as they are."""
    shown = visible(" ".join(text.split()))
    return f"'{shown}" if _FORMULA.match(shown) and not _NUMBER.fullmatch(shown) else shown


def shown_p(value: float) -> str:
    """Return a p value as all tables and captions print it."""
    return "not known" if math.isnan(value) else f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def with_minus(text: str) -> str:
    """Return a text in which numbers below zero bear a minus sign: for people to read, not for CSV."""
    return _HYPHEN.sub("−", text)
