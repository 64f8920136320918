"""Numbers and names as text: the same everywhere, harmless in Markdown, HTML and sheets."""

import html
import math
import re

from kdbench.statistics import Estimate

MISSING = "–"
IDENTICAL = " (identical)"


def fixed(value: float, digits: int, *, sign: bool = False) -> str:
    """`value` with so many digits after the point; never a negative zero.

    Example:
        >>> fixed(-0.001, 2), fixed(1.005, 1, sign=True)
        ('0.00', '+1.0')
    """
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    if not re.search("[1-9]", text):
        text = text.replace("-", "+" if sign else "")
    return text


def figures(value: float, count: int = 3) -> str:
    """`value` with `count` significant figures, without exponent.

    Example:
        >>> figures(0.012345), figures(12.345), figures(123456.7), figures(9.9996)
        ('0.0123', '12.3', '123,457', '10.0')
    """
    if not value:
        return "0"
    rounded = float(f"{value:.{count - 1}e}")  # 9.9996 has two digits before the point
    size = math.floor(math.log10(abs(rounded)))
    return fixed(value, max(0, count - 1 - size))


def spread(
    estimate: Estimate | None,
    digits: int,
    *,
    scale: float = 1.0,
    sign: bool = False,
    identical: str = IDENTICAL,
) -> str:
    """Mean ± half-width of its interval; says where all values are identical; alone at n = 1."""
    if estimate is None:
        return MISSING
    text = fixed(estimate.mean * scale, digits, sign=sign)
    if estimate.identical:
        return text + identical
    return text if estimate.half is None else f"{text} ± {fixed(estimate.half * scale, digits)}"


def span(estimate: Estimate | None, digits: int) -> str:
    """Mean [low, high]."""
    if estimate is None:
        return MISSING
    text = fixed(estimate.mean, digits)
    if estimate.identical:
        return text + IDENTICAL
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{fixed(estimate.low, digits)}, {fixed(estimate.high, digits)}]"


def stored(value: float) -> float:
    """`value` to ten significant figures, so that another libm's last bit changes no file."""
    return float(f"{value:.10g}") + 0.0


def plain(text: str, limit: int = 300) -> str:
    """`text` on one line without control characters, cut at `limit`.

    Example:
        >>> plain("two" + chr(10) + "lines" + chr(27))
        'two lines'
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def markdown(text: str, limit: int = 300) -> str:
    """`text` so that Markdown shows it as it is, in a table or a paragraph; ASCII.

    Example:
        >>> markdown("a|b <i> kd[t=2]")
        'a\\\\|b &lt;i&gt; kd\\\\[t=2\\\\]'
    """
    safe = html.escape(re.sub(r"([\\`*\[\]|~#])", r"\\\1", plain(text, limit)), quote=False)
    safe = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", safe)
    # Entities: how wide a table's column gets must not depend on what is installed to measure wide
    # letters.
    return "".join(char if char.isascii() else f"&#{ord(char)};" for char in safe)


def spreadsheet(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    line = plain(text, 10_000)
    return "'" + line if line.startswith(("=", "+", "-", "@")) else line
