"""Any text as LaTeX in plain ASCII: what LaTeX interprets is escaped, what it may not know is spelt out."""

import unicodedata

LONGEST_WORD = 30
"""Letters after which running text may be broken: names of runs and paths know no hyphenation."""

_KNOWN = {
    "\\": r"\textbackslash{}",
    "~": r"$\sim$",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    # after the end of a row these would be read as its options
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    '"': "{''}",
    "`": "{`}",
    "'": "{'}",
    **{char: "\\" + char for char in "&%$#_{}"},
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "{`}",
    "’": "{'}",
    "“": "{``}",
    "”": "{''}",
    "„": ",,",
    "→": r"$\to$",
    "←": r"$\leftarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≠": r"$\ne$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "∈": r"$\in$",
    "√": r"$\surd$",
    "²": "$^2$",
    "³": "$^3$",
    "½": "1/2",
    "µ": r"$\mu$",
    "§": r"\S{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
# Those that look like Latin letters have no macro.
_GREEK_MACROS = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
    *("xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
    *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
}
_LATIN_LOOK = {
    **{"Alpha": "A", "Beta": "B", "Epsilon": "E", "Zeta": "Z", "Eta": "H", "Iota": "I", "Kappa": "K", "Mu": "M"},
    **{"Nu": "N", "Omicron": "O", "omicron": "o", "Rho": "P", "Tau": "T", "Chi": "X"},
}


def tex_text(text: str, breakable: bool = False) -> str:
    """Return text as one line of LaTeX; `breakable` lets long words break, for running text."""
    words = " ".join(text.split()).split(" ")
    return " ".join(_word(word, breakable) for word in words)


def _word(word: str, breakable: bool) -> str:
    if breakable and len(word) > LONGEST_WORD:
        pieces = [word[start : start + LONGEST_WORD] for start in range(0, len(word), LONGEST_WORD)]
        return r"\hspace{0pt}".join(_word(piece, False) for piece in pieces)
    parts = [_char(char) for char in word]
    # hyphens in a row would become a dash
    return "".join("{}-" if i and char == word[i - 1] == "-" else parts[i] for i, char in enumerate(word))


def _char(char: str) -> str:
    if char in _KNOWN:
        return _KNOWN[char]
    if " " <= char <= "~":
        return char
    composed = unicodedata.normalize("NFD", char)
    if len(composed) == 2 and composed[1] in _ACCENTS and composed[0].isascii() and composed[0].isalpha():
        return f"\\{_ACCENTS[composed[1]]}{{{composed[0]}}}"
    return _greek(char) or f"{{[}}U+{ord(char):04X}{{]}}"


def _greek(char: str) -> str:
    parts = unicodedata.name(char, "").split()
    if len(parts) != 4 or parts[0] != "GREEK" or parts[2] != "LETTER" or parts[1] not in ("SMALL", "CAPITAL"):
        return ""
    name = parts[3].lower().replace("lamda", "lambda")
    name = name if parts[1] == "SMALL" else name.capitalize()
    if name in _GREEK_MACROS:
        return f"$\\{name}$"
    return _LATIN_LOOK.get(name, "")
