"""The board as Markdown, for a README."""

from tabulate import tabulate

from kdbench.leaderboard import pictured, words
from kdbench.leaderboard.alone import section
from kdbench.leaderboard.aspects import Aspect, Entry, aspects, letter, over
from kdbench.leaderboard.board import Board, Table
from kdbench.leaderboard.text import markdown

_PICTURES = {"Accuracy": "gains", "Cost": "costs"}
"""What stands under which of a pair's boards."""

_SIGNS = {f"&#{ord(sign)};": sign for sign in "×±–"}
"""Ours, and of a width that nobody doubts."""


def render(board: Board) -> str:
    """The whole page; ends in one newline."""
    spec = board.spec
    blocks = [f"# {markdown(spec.title or spec.suite or 'Leaderboard')}"]
    if spec.about.strip():
        blocks.append(markdown(spec.about, 2000))
    if shown := str(board.view):
        blocks.append(markdown(words.viewed(shown), 2000))
    if board.tables and not board.view.columns:
        blocks.append("\n".join(f"- **{name}.** {how}" for name, how in words.how(board).items()))
    blocks += _across(board)
    for number, table in enumerate(board.tables, 1):
        blocks += _table(table, board, "##", number)
    if not (board.tables or board.view.filtered):
        blocks.append("No trial of the full protocol yet.")
    if board.absent:
        blocks.append("## Not yet tried")
        blocks.append(
            "\n".join(f"- {markdown(dataset)}: {markdown(pair)}" for dataset, pair in board.absent)
        )
    if board.partial:
        blocks += ["## Not the full protocol", words.partial(board)]
        for table in board.partial:
            blocks += _table(table, board, "###", 0)
    blocks += section(board.speeds)
    return "\n\n".join(blocks) + "\n"


def _across(board: Board) -> list[str]:
    """Methods over all tables, and why there are no ranks over them."""
    if board.view.filtered or not (board.tables and board.spec.baselines):
        return []
    ranks = markdown(words.critical(board), 5000)
    if not board.across:
        return [ranks]
    parts = [table for table in board.tables if table.part == "defaults"]
    blocks = [f"## Over {len(parts)} pairs", words.across(len(parts)), ranks]
    if whole := over(board.across, board.spec, board.critical):
        blocks.append(_grid(whole))
    if holes := [one for one in board.across if not one.standing]:
        blocks.append("Not in every table, and so not ranked:")
        lines = ((one.name, "; ".join(map(markdown, one.missing))) for one in holes)
        blocks.append("\n".join(f"- {markdown(name)}: not in {where}." for name, where in lines))
    return blocks


def _table(table: Table, board: Board, level: str, number: int) -> list[str]:
    blocks = [f"{level} {markdown(table.heading)}"]
    several = len(table.hardware) > 1
    lines = [
        *words.facts(table, board.spec),
        *(
            f"Hardware{f' {letter(index)}' if several else ''}: {name}."
            for index, name in enumerate(table.hardware)
        ),
    ]
    if disturbed := words.disturbed(table):
        lines.append(disturbed)
    blocks.append("\n".join(f"- {markdown(line, 1000)}" for line in lines))
    told = words.undecided(table, board.spec)
    shown = {} if str(board.view) else pictured.names(board)
    for aspect in aspects(table, board):
        blocks += [f"{level}# {aspect.name}"] if aspect.name else []
        blocks.append(_grid(aspect))
        if name := shown.get(f"{_PICTURES.get(aspect.name)}-{number}"):
            blocks.append(f"![{name}]({_PICTURES[aspect.name]}-{number}.svg)")
        if told and aspect.name == "Accuracy":
            blocks.append("\n".join(f"- {markdown(line, 1000)}" for line in told))
    notes = [
        f"- {markdown(row.name)}: {markdown(row.note, 2000)}" for row in table.rows if row.note
    ]
    notes += [
        f"- {markdown(row.name)}: {markdown(remark)}."
        for row in table.rows
        for remark in row.remarks
    ]
    notes += [f"- {markdown(remark)}." for remark in table.remarks]
    if notes:
        blocks += [f"{level}# Notes", "\n".join(notes)]
    if table.gaps:
        blocks.append("Incomplete, and so not ranked:")
        blocks.append("\n".join(_gaps(table)))
    return blocks


def _gaps(table: Table) -> list[str]:
    lines = []
    for one in table.gaps:
        reasons = "; ".join(f"{seeds} {markdown(reason)}" for seeds, reason in words.gap(one))
        lines.append(
            f"- {markdown(one.name)}: {len(one.done)} of {len(table.seeds)} seeds; {reasons}."
        )
    return lines


def _grid(aspect: Aspect) -> str:
    header = [_signed(markdown(name)) for name in aspect.header]
    grid = [[_text(entry) for entry in entries] for entries in aspect.lines]
    return tabulate(
        grid, header, tablefmt="pipe", disable_numparse=True, colalign=list(aspect.align)
    )


def _text(entry: Entry) -> str:
    text = entry.text if entry.figure else markdown(entry.text)
    return f"**{text}**" if entry.strong else text


def _signed(text: str) -> str:
    for entity, sign in _SIGNS.items():
        text = text.replace(entity, sign)
    return text
