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


INK: Final = Colour("ink", "#1f2328", "#e6edf3")
MUTED: Final = Colour("muted", "#57606a", "#9da7b3")
QUIET: Final = Colour("quiet", "#848d97", "#848d98")
FAINT: Final = Colour("faint", "#d8dee4", "#30363d")
PAPER: Final = Colour("paper", "#ffffff", "#0d1117")

# Okabe and Ito's, told apart by colour-blind readers; on dark paper the dark ones are lightened.
BLUE: Final = Colour("blue", "#0072b2", "#4aa3df")
VERMILLION: Final = Colour("vermillion", "#d55e00", "#f0803c")
GREEN: Final = Colour("green", "#009e73", "#2bc49a")
PURPLE: Final = Colour("purple", "#cc79a7", "#e39ac0")
ORANGE: Final = Colour("orange", "#e69f00", "#f0b429")
SKY: Final = Colour("sky", "#56b4e9", "#8fd0f5")

COLOURS: Final = (
    INK, MUTED, QUIET, FAINT, PAPER, BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY,
)  # fmt: skip

CATEGORIES: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Of things that have no order, in order of use."""


def properties(*, dark: bool) -> str:
    """The custom properties as CSS declarations, for `:root` of a light or a dark page.

    Example:
        >>> properties(dark=True).split(";")[0]
        '--kd-ink:#e6edf3'
    """
    return ";".join(f"--kd-{one.name}:{one.dark if dark else one.light}" for one in COLOURS)
