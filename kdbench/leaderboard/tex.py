"""The board as LaTeX: tables of booktabs, to be put into a document with \\input."""

import re
import unicodedata
from collections.abc import Iterable

from kdbench.leaderboard import words
from kdbench.leaderboard.aspects import Aspect, Entry, aspects, letter, over
from kdbench.leaderboard.board import Board, Table
from kdbench.leaderboard.text import plain

_HEAD = "% Written by kdbench leaderboard; the document needs \\usepackage{booktabs}."

_CAPTIONS = {
    "Accuracy": (
        "Mean ± half-width of the 95 % t interval over n seeds; gains in points, paired by seed, "
        "bold where told from 0 (Holm, 5 % level); ranks in 95 % of resamples; with 95 % "
        "confidence the best method is a contender."
    ),
    "Fidelity": "Mean ± half-width of the 95 % t interval over n seeds; KL(teacher‖student).",
    "Cost": (
        "Overhead of a step relative to the first baseline with its 95 % interval; latency, "
        "throughput and parameters are of the deployed student."
    ),
}
_WIDE = 10
"""Longer headers are broken."""

_ROWS, _COLUMNS = 40, 9
"""Larger tables are set smaller, to fit a page."""

_ESCAPES = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "`": "\\textasciigrave{}",
    "±": "$\\pm$", "×": "$\\times$", "‖": "$\\|$", "–": "--", "—": "---", "…": "\\dots{}",
    "→": "$\\to$", "≥": "$\\geq$", "≤": "$\\leq$",
    "[": "{[}", "]": "{]}", "*": "{*}",  # no option, no starred command
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip
_LIGATURES = "-',"
"""Two of them in a row would be one sign."""

_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
    "\u0328": "k",
}  # fmt: skip
_LETTERS = {"ß": "\\ss{}", "ø": "\\o{}", "Ø": "\\O{}", "æ": "\\ae{}", "Æ": "\\AE{}", "ł": "\\l{}"}


def render(board: Board) -> str:
    """A `table*` for each board of each table, with its caption and label; ASCII.

    Every engine takes it: what has no command is written as its code point, as [U+6559].
    """
    spec = board.spec
    head = [spec.title or spec.suite or "Leaderboard"]
    head += [words.viewed(str(board.view))] if str(board.view) else []
    if not board.view.columns:
        head += [f"{name}: {told}" for name, told in words.how(board).items()]
    blocks = ["\n".join([_HEAD, *(f"% {tex(line)}" for line in head)])]
    if whole := over(board.across, spec, board.critical) if board.across else None:
        pairs = sum(table.part == "defaults" for table in board.tables)
        holes = [f"{one.name} is not in every table" for one in board.across if not one.standing]
        told = [f"Over {pairs} pairs.", words.across(pairs), words.critical(board)]
        blocks.append(_float(whole, " ".join(told), f"tab:{_key(spec.suite)}over", holes))
    for table in (*board.tables, *board.partial):
        blocks += _tables(table, board)
    return "\n\n".join(blocks) + "\n"


def tex(text: str, limit: int = 5000) -> str:
    """`text` so that TeX prints it as it is, in a cell or a caption, whatever is in it; ASCII.

    Example:
        >>> tex("50 % of a_b & -0.5 ± 1 é")
        "50 \\\\% of a\\\\_b \\\\& $-$0.5 $\\\\pm$ 1 \\\\'{e}"
    """
    whole = unicodedata.normalize("NFC", plain(text, limit))  # letters and their accents as one
    return "".join(map(_sign, whole, " " + whole, whole[1:] + " "))


def _sign(char: str, before: str, after: str) -> str:
    if char == "-" and before in " ([" and after.isdigit():
        return "$-$"
    if char in _LIGATURES:
        return "{}" + char if char == before else char
    if char == '"':
        return f"\\textquotedbl{'left' if before in ' (' else 'right'}{{}}"
    if found := _ESCAPES.get(char) or _LETTERS.get(char):
        return found
    if char.isascii():
        return char
    parts = unicodedata.normalize("NFD", char)
    bare, accent = parts[:1], _ACCENTS.get(parts[1:])
    if accent and bare.isascii() and bare.isalpha():
        return f"\\{accent}{{{bare}}}"
    return f"{{[}}U+{ord(char):04X}{{]}}"


def _tables(table: Table, board: Board) -> list[str]:
    short = words.share(table.question)
    several = len(table.hardware) > 1
    hardware = [
        f"hardware {letter(index)}: {name}" if several else f"hardware: {name}"
        for index, name in enumerate(table.hardware)
    ]
    remarks = [f"{row.name}: {remark}" for row in table.rows for remark in row.remarks]
    gaps = [
        f"not ranked: {gap.name} has {len(gap.done)} of {len(table.seeds)} seeds; {seeds} {reason}"
        for gap in table.gaps
        for seeds, reason in words.gap(gap)
    ]
    key = f"{_key(board.spec.suite)}{table.key[:12]}-{_key(table.part)}"
    told = "; ".join([*table.remarks, *gaps])
    blocks = [] if table.rows else [f"% {tex(f'{table.heading}: no row; {told}')}"]
    for aspect in aspects(table, board):
        title = f"{table.heading}{', ' if aspect.name else ''}{aspect.name.lower()}"
        title += f" (not the full protocol: {short})." if short else "."
        below = [] if aspect.name == "Fidelity" else [*table.remarks, *gaps]
        below = [*hardware, *remarks] if aspect.name == "Cost" else below
        label = f"tab:{key}{aspect.name.lower() or 'columns'}"
        caption = f"{title} {_CAPTIONS.get(aspect.name, '')}".rstrip()
        blocks.append(_float(aspect, caption, label, below))
    return blocks


def _float(aspect: Aspect, caption: str, label: str, below: list[str]) -> str:
    columns = "".join(side[0] for side in aspect.align)
    small = len(aspect.lines) > _ROWS or len(columns) > _COLUMNS
    lines = [
        "\\begin{table*}",
        "\\centering",
        f"\\caption{{{tex(caption)}}}",
        f"\\label{{{label}}}",
        "\\scriptsize" if small else "\\footnotesize",
        f"\\setlength{{\\tabcolsep}}{{{2 if small else 3}pt}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        " & ".join(map(_stacked, aspect.header, columns)) + " \\\\",
        "\\midrule",
        *map(_line, aspect.lines),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    lines += [f"\\par\\smallskip {tex('; '.join(below))}."] if below else []
    return "\n".join([*lines, "\\end{table*}"])


def _line(entries: Iterable[Entry]) -> str:
    texts = ((tex(entry.text), entry.strong) for entry in entries)
    return " & ".join(f"\\textbf{{{t}}}" if strong else t for t, strong in texts) + " \\\\"


def _stacked(name: str, side: str) -> str:
    """A header on two lines of like length, as figures are narrower than words."""
    breaks = [place for place, char in enumerate(name) if char == " "]
    if not breaks or len(name) <= _WIDE:
        return tex(name)
    middle = min(breaks, key=lambda place: abs(len(name) - 1 - 2 * place))
    return f"\\shortstack[{side}]{{{tex(name[:middle])}\\\\{tex(name[middle:])}}}"


def _key(text: str) -> str:
    """Of letters that a label takes, with a dash behind; nothing of nothing."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return f"{found}-" if found else ""
