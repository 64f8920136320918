"""A picture of a board: inline SVG with what is written around it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One static picture.

    Attributes:
        key: Names it in links; lower case letters, digits and hyphens.
        title: A line.
        caption: What is seen, of how many trials, and what the intervals are.
        svg: Markup that stands in a page as it is: no script, every string in it escaped.
    """

    key: str
    title: str
    caption: str
    svg: str
