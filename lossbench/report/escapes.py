"""Text as LaTeX sets it."""

from __future__ import annotations

import unicodedata

from lossbench.report.notation import printable

GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"),
    *("nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
)
ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    # Without fontenc T1 these four come out as other characters.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # After the \\ of the row above, these would belong to it.
    "[": "{[}",
    "*": "{*}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "−": "$-$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "²": "$^2$",
    "†": r"\dag{}",
}
# What every font of pdfLaTeX has: a letter with one of these accents, and a few letters of their own.
ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
LETTERS = "ßæœøłÆŒØŁ"


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    result = ""
    for character in printable(text):
        piece = ESCAPES.get(character, _greek(character))
        # Two hyphens in a name are no dash, two commas or apostrophes no quotation mark.
        result += "{}" + piece if piece[0] in "-,'" and result.endswith(piece[0]) else piece
    return result


def width_of(text: str) -> float:
    """About how wide a text is in ten-point Computer Modern, in points."""
    return sum(
        5.0 if c.isdigit() else 2.8 if c in ".,ijlt[]()' " else 7.8 if c in "±≈−+" or c.isupper() else 5.1 for c in text
    )


def _greek(character: str) -> str:
    name = unicodedata.name(character, "").removeprefix("GREEK SMALL LETTER ").lower().replace("lamda", "lambda")
    return rf"$\{'var' * (name == 'epsilon')}{name}$" if name in GREEK else character


def known(character: str) -> bool:
    """Whether pdfLaTeX sets a character without more packages."""
    parts = unicodedata.normalize("NFD", character)
    return character in LETTERS or (parts[0].isascii() and parts[1:] in ACCENTS)
