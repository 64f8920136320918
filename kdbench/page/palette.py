"""The colours of plots: CSS custom properties that a page gives values in light and in dark."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Colour:
    """A role with its value on light and on dark paper; light values are unique."""

    name: str
    light: str
    dark: str

    @property
    def variable(self) -> str:
        """As CSS writes it, with the light value where no page defines it."""
        return f"var(--kd-{self.name},{self.light})"


INK: Final = Colour("ink", "#16191d", "#e6e8ea")
QUIET: Final = Colour("quiet", "#59616b", "#a2aab3")
GREY: Final = Colour("grey", "#848d97", "#8b949e")
LINE: Final = Colour("line", "#d9dde2", "#363c43")
PAPER: Final = Colour("paper", "#ffffff", "#14171a")

# Okabe and Ito's, told apart by colour-blind readers; on dark paper the dark ones are lightened.
BLUE: Final = Colour("blue", "#0072b2", "#4aa3df")
VERMILLION: Final = Colour("vermillion", "#d55e00", "#f0803c")
GREEN: Final = Colour("green", "#009e73", "#2bc49a")
PURPLE: Final = Colour("purple", "#cc79a7", "#e39ac0")
ORANGE: Final = Colour("orange", "#e69f00", "#f0b429")
SKY: Final = Colour("sky", "#56b4e9", "#8fd0f5")

COLOURS: Final = (
    INK, QUIET, GREY, LINE, PAPER, BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY,
)  # fmt: skip

CATEGORIES: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Of things that have no order, in order of use."""


def style() -> str:
    """CSS that gives the properties their values in light and in dark, for a page with plots.

    Example:
        >>> style().splitlines()[0][:22]
        ':root{--kd-ink:#16191d'
    """
    light = ";".join(f"--kd-{one.name}:{one.light}" for one in COLOURS)
    dark = ";".join(f"--kd-{one.name}:{one.dark}" for one in COLOURS)
    return f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"
