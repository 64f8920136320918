"""A picture of a board, ready for a page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A static picture with what a reader needs to know.

    Attributes:
        key: Unique on its page; letters, digits and hyphens.
        title: A line of plain text.
        caption: What is seen, of how many, and what the intervals are; plain text.
        svg: Inline SVG without script, whose colours are CSS custom properties (`palette`) with
            those of a light page to fall back on.
    """

    key: str
    title: str
    caption: str
    svg: str
