"""Text of records as people may see it: what would turn the text around it is spelt out."""

import math
import re

# Marks, embeddings, overrides and isolates of the Unicode bidirectional algorithm.
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_HYPHEN = re.compile(r"(?<![\w.-])-(?=\.?\d)")


def visible(text: str) -> str:
    """Return a text with each character that turns the direction of its neighbours as [U+202E].

    Unseen, such a character in a name mirrors whatever follows it in the same cell or sentence.
    """
    return _TURNING.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def shown_p(value: float) -> str:
    """Return a p value as all tables and captions print it."""
    return "not known" if math.isnan(value) else f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def with_minus(text: str) -> str:
    """Return a text in which numbers below zero bear a minus sign: for people to read, not for CSV."""
    return _HYPHEN.sub("−", text)
