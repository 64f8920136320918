"""Specifications of altair -> SVG and PNG, without network and always the same bytes."""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from xml.etree import ElementTree

import altair
import vl_convert
from PIL import Image
from pydantic import JsonValue

from kdbench.leaderboard.text import plain
from kdbench.page.lettering import fitted
from kdbench.page.palette import COLOURS, INK, LINE, PAPER, QUIET
from kdbench.page.plot import Plot

FONT = "Liberation Sans"
"""What text is measured with: vl-convert brings it, and Arial and Helvetica are as wide."""

_SHOWN_FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
_SVG = "http://www.w3.org/2000/svg"
_VARIABLES = {one.light: one.variable for one in COLOURS}
_PLAIN = {one.variable: one.light for one in COLOURS}
_DROPPED = ("class", "role", "aria-roledescription", "aria-hidden", "pointer-events", "font-family")
_PAINT = ("fill", "stroke")
_MARGIN, _HEAD = 16, 34
_PALETTE = 128

_AXIS = {
    "domain": False, "ticks": False, "labelPadding": 6, "titlePadding": 8,
    "gridColor": LINE.light, "labelColor": QUIET.light, "titleColor": INK.light,
    "labelFont": FONT, "titleFont": FONT, "labelFontSize": 11, "titleFontSize": 12,
    "titleFontWeight": "normal",
}  # fmt: skip
_CONFIG = {
    "aria": False, "background": None, "font": FONT, "axis": _AXIS,
    "view": {"stroke": None},
    "text": {"font": FONT, "fontSize": 11, "baseline": "middle", "limit": 0},
    "legend": {
        "orient": "top", "title": None, "labelColor": INK.light, "labelFont": FONT,
        "labelFontSize": 11, "labelLimit": 0, "symbolOpacity": 1, "columnPadding": 18, "columns": 6,
        "gradientStrokeColor": LINE.light,
    },
}  # fmt: skip

ElementTree.register_namespace("", _SVG)


def over(rows: Sequence[Mapping[str, object]]) -> altair.Chart:
    """A chart of these rows, whose marks are still to be said."""
    return altair.Chart(altair.Data(values=[*rows]))  # type: ignore[no-untyped-call]  # altair's


def layered(*layers: altair.Chart | altair.LayerChart) -> altair.LayerChart:
    """The layers over each other, the first one lowest."""
    return altair.LayerChart(layer=[*layers])


def plotted(chart: altair.TopLevelMixin, *, key: str, title: str, caption: str, about: str) -> Plot:
    """The chart as a plot, every text of it without control characters.

    Args:
        about: What board or table it is of; with the title what those hear who do not see it.
    """
    line = plain(title)
    svg = drawn(chart, key, f"{line} \u2013 {plain(about)}")
    return Plot(key=key, title=line, caption=plain(caption, 2000), svg=svg)


def drawn(chart: altair.TopLevelMixin, key: str, label: str) -> str:
    """The chart as inline SVG whose colours are custom properties.

    Args:
        key: Ids of the SVG begin with it, so that two plots of a page cannot clash.
        label: Of the whole picture.
    """
    with altair.data_transformers.disable_max_rows():
        spec: dict[str, object] = {name: _clean(part) for name, part in chart.to_dict().items()}
    spec["config"] = _CONFIG
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(spec))
    for element in root.iter():
        for child in list(element):
            if _empty(child):
                element.remove(child)
        _lighten(element, key)
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("font-family", _SHOWN_FONT)
    return ElementTree.tostring(root, encoding="unicode")


def still(svg: str) -> str:
    """The SVG of a plot on a white panel of its own, under its label: a file for any background."""
    root = ElementTree.fromstring(svg)
    title = root.get("aria-label", "")
    for element in root.iter():
        for name in _PAINT:
            if (value := element.get(name)) in _PLAIN:
                element.set(name, _PLAIN[value])
    width = float(root.get("width", "0")) + 2 * _MARGIN
    height = float(root.get("height", "0")) + 2 * _MARGIN + _HEAD
    whole = ElementTree.Element(f"{{{_SVG}}}svg", {
        "width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img", "aria-label": title, "font-family": _SHOWN_FONT,
    })  # fmt: skip
    panel = {"width": f"{width:g}", "height": f"{height:g}", "rx": "6", "fill": PAPER.light}
    ElementTree.SubElement(whole, f"{{{_SVG}}}rect", panel)
    head = {"x": str(_MARGIN), "y": "32", "font-size": "16", "font-weight": "bold"}
    text = ElementTree.SubElement(whole, f"{{{_SVG}}}text", {**head, "fill": INK.light})
    text.text = fitted(title, width - 2 * _MARGIN, 16)
    moved = {"transform": f"translate({_MARGIN},{_MARGIN + _HEAD})"}
    ElementTree.SubElement(whole, f"{{{_SVG}}}g", moved).extend(list(root))
    return ElementTree.tostring(whole, encoding="unicode")


def png(svg: str, scale: float = 2.0) -> bytes:
    """A `still` as PNG, two pixels to one of the SVG, in a palette that keeps it small."""
    root = ElementTree.fromstring(svg)
    root.set("font-family", FONT)
    whole = vl_convert.svg_to_png(ElementTree.tostring(root, encoding="unicode"), scale=scale)
    with Image.open(BytesIO(whole)) as image:
        panel = Image.new("RGBA", image.size, PAPER.light)
        panel.alpha_composite(image.convert("RGBA"))
        content = BytesIO()
        panel.convert("RGB").quantize(_PALETTE).save(content, "PNG", optimize=True)
    return content.getvalue()


def _clean(part: JsonValue) -> JsonValue:
    """A specification whose strings have no control characters: those would end the process."""
    if isinstance(part, str):
        return plain(part, 10_000)
    if isinstance(part, dict):
        return {key: _clean(value) for key, value in part.items()}
    return [_clean(value) for value in part] if isinstance(part, list) else part


def _empty(element: ElementTree.Element) -> bool:
    """Paths without extent or paint, which Vega leaves in every group."""
    if not element.tag.endswith("path"):
        return False
    hidden = element.get("display") == "none" or "d" not in element.attrib
    return hidden or not (set(_PAINT) & element.attrib.keys())


def _lighten(element: ElementTree.Element, key: str) -> None:
    """Say nothing that is the default, round what nobody sees, and name colours by role."""
    for name in _DROPPED:
        element.attrib.pop(name, None)
    if element.get("opacity") == "1":
        del element.attrib["opacity"]
    for name in ("transform", "d"):
        if value := element.get(name):
            element.set(name, re.sub(r"-?\d+\.\d{2,}", _rounded, value))
    for name in _PAINT:
        if (value := element.get(name)) in _VARIABLES:
            element.set(name, _VARIABLES[value])
        elif value and value.startswith("url(#"):
            element.set(name, value.replace("url(#", f"url(#{key}-"))
    if "id" in element.attrib:
        element.set("id", f"{key}-{element.get('id')}")
    if (clip := element.get("clip-path", "")).startswith("url(#"):
        element.set("clip-path", clip.replace("url(#", f"url(#{key}-"))


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
