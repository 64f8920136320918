"""The board as Markdown, for a README."""

from tabulate import tabulate

from kdbench.leaderboard import words
from kdbench.leaderboard.alone import section
from kdbench.leaderboard.board import Board, Row, Table
from kdbench.leaderboard.spec import BoardSpec
from kdbench.leaderboard.text import IDENTICAL, MISSING, figures, fixed, markdown, span, spread
from kdbench.statistics import Contrast, Standing

_HOW = (
    'Mean ± half-width of the 95 % t interval over n seeds; "identical" where all seeds gave the '
    "same value. Gains are differences of accuracy in points, paired by seed; a gain in bold is "
    "told from 0 by a paired t test at the 5 % level of its whole column (Holm). Rank: by "
    "accuracy, in 95 % of resamples of the seeds; methods of the same group (letter) are not told "
    "apart. Agreement, KL(teacher‖student) and ECE are measured on the same split as accuracy. "
    "Step and images/s are of training, latency (batch 1) and throughput (batch 256) of the "
    "deployed student; overhead is relative to the first baseline, with its 95 % interval. "
    "Baselines are bold. A method that holds out a quiz split trains on fewer rows and is "
    "compared with baselines on those rows."
)

_CPU = "CPU overhead is the same ratio in processor time, which others hardly move."

_SHARED = (
    "Step ms and overhead charge every method a whole pass of the live teacher. Warm ms is a step "
    "that reads the teacher's kept answer, amortised ms one in which the methods of a cohort pay "
    "in equal parts what its teacher took, first answers included."
)

_TUNED = (
    "Settings: of each method those that the suite has for this pair; the baselines are those of "
    "the defaults."
)


def render(board: Board) -> str:
    """The whole page; ends in one newline."""
    spec = board.spec
    blocks = [f"# {markdown(spec.title or spec.suite or 'Leaderboard')}"]
    if spec.about.strip():
        blocks.append(markdown(spec.about, 2000))
    if board.tables:
        rows = [row for table in board.tables for row in table.rows]
        told = [_CPU] if any(map(_computed, rows)) else []
        told += [_SHARED] if any(map(_read, rows)) else []
        blocks.append(" ".join([_HOW, *told]))
    blocks += _across(board)
    for table in board.tables:
        blocks += _table(table, spec, "##")
    if not board.tables:
        blocks.append("No trial of the full protocol yet.")
    if board.absent:
        blocks.append("## Not yet tried")
        blocks.append(
            "\n".join(f"- {markdown(dataset)}: {markdown(pair)}" for dataset, pair in board.absent)
        )
    if board.partial:
        blocks += ["## Not the full protocol", words.partial(board)]
        for table in board.partial:
            blocks += _table(table, spec, "###")
    blocks += section(board.speeds)
    return "\n\n".join(blocks) + "\n"


def _across(board: Board) -> list[str]:
    """Methods over all tables."""
    if not board.across:
        return []
    first, parts = board.spec.baselines[0], [t for t in board.tables if t.part == "defaults"]
    over = f"Mean gain over {markdown(first)}"
    whole = [(one, one.standing) for one in board.across if one.standing]
    lettered = any(standing.letters for _, standing in whole)
    rows = [
        {
            "Method": f"**{markdown(one.name)}**" if one.baseline else markdown(one.name),
            over: _interval(standing),
            **_place(standing, lettered=lettered),
        }
        for one, standing in whole
    ]
    blocks = [f"## Over {len(parts)} pairs", words.across(len(parts))]
    if rows:
        align = ["left", *["right"] * (len(rows[0]) - 1)]
        grid = [[*row.values()] for row in rows]
        blocks.append(
            tabulate(grid, [*rows[0]], tablefmt="pipe", disable_numparse=True, colalign=align)
        )
    if holes := [one for one in board.across if not one.standing]:
        blocks.append("Not in every table, and so not ranked:")
        blocks.append(
            "\n".join(f"- {markdown(one.name)}: not in {_those(one.missing)}." for one in holes)
        )
    return blocks


def _those(headings: tuple[str, ...]) -> str:
    return "; ".join(map(markdown, headings))


def _interval(standing: Standing) -> str:
    text = fixed(100 * standing.mean, 2, sign=True)
    if standing.low is None or standing.high is None:
        return text
    if standing.low == standing.high:
        return text + IDENTICAL
    low, high = (fixed(100 * end, 2, sign=True) for end in (standing.low, standing.high))
    return f"{text} [{low}, {high}]"


def _place(standing: Standing | None, *, lettered: bool) -> dict[str, str]:
    """Rank, and group where the table has any."""
    first, last = (standing and standing.rank) or (0, 0)
    rank = f"{first} to {last}" if last > first else str(first or MISSING)
    return {"Rank": rank} | ({"Group": standing.letters if standing else ""} if lettered else {})


def _table(table: Table, spec: BoardSpec, level: str) -> list[str]:
    blocks = [f"{level} {markdown(table.heading)}"]
    short = words.share(table.question)
    lines = [
        f"Teacher: {words.teacher(table)}",
        f"Student: {words.training(table.question.protocol)}; {words.rows(table)}; "
        f"{words.seeds(table)}; protocol {table.key[:12]}{f'; only {short}' if short else ''}.",
    ]
    if table.part != "defaults":
        lines.append(_TUNED)
    several = len(table.hardware) > 1
    for index, name in enumerate(table.hardware):
        lines.append(f"Hardware{f' {_letter(index)}' if several else ''}: {name}.")
    if disturbed := words.disturbed(table):
        lines.append(disturbed)
    blocks.append("\n".join(f"- {markdown(line, 1000)}" for line in lines))
    if table.rows:
        cells = [_cells(row, table, spec) for row in table.rows]
        align = ["left", *["right"] * (len(cells[0]) - 2), "left"]
        grid = [[*row.values()] for row in cells]
        blocks.append(
            tabulate(grid, [*cells[0]], tablefmt="pipe", disable_numparse=True, colalign=align)
        )
    if told := words.undecided(table, spec):
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
        blocks.append("\n".join(notes))
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


def _cells(row: Row, table: Table, spec: BoardSpec) -> dict[str, str]:
    """What a row shows, by column; columns that no row of the table has anything for are not."""
    metrics, cost = row.metrics, row.expense
    mark = f" {_letter(cost.hardware)}" if len(table.hardware) > 1 and cost else ""
    gains = {
        f"Gain over {markdown(text)}": _gain(row.contrasts.get(text)) for text in spec.baselines
    }
    cells = {
        "Method": f"**{markdown(row.name)}**" if row.baseline else markdown(row.name),
        "Accuracy %": spread(metrics.get("accuracy"), 2, scale=100),
        **_place(row.standing, lettered=any(map(_lettered, table.rows))),
        **gains,
        "Agreement %": spread(metrics.get("agreement"), 2, scale=100),
        "KL": spread(metrics.get("kl"), 4),
        "ECE": spread(metrics.get("ece"), 4),
        "Step ms": figures(cost.step_ms) + mark if cost else MISSING,
        "Overhead ×": span(cost.overhead, 2) if cost else MISSING,
    }
    if any(map(_computed, table.rows)):
        cells["CPU overhead ×"] = span(row.cpu_overhead, 2)
    if any(map(_read, table.rows)):
        warm, amortised = (cost and cost.shared) or (None, None)
        cells["Warm ms"] = MISSING if warm is None else figures(warm) + mark
        cells["Amortised ms"] = MISSING if amortised is None else figures(amortised) + mark
    return cells | {
        "Images/s": figures(cost.images_per_second) + mark if cost else MISSING,
        "Latency ms": MISSING if row.latency_ms is None else figures(row.latency_ms) + mark,
        "Throughput /s": MISSING if row.throughput is None else figures(row.throughput) + mark,
        "Parameters": f"{row.deployed.parameters:,}" if row.deployed else MISSING,
        "n": str(len(row.seeds)),
        "Settings": markdown(row.settings),
    }


def _gain(contrast: Contrast | None) -> str:
    text = spread(contrast.difference if contrast else None, 2, scale=100, sign=True)
    return f"**{text}**" if contrast and contrast.differs else text


def _lettered(row: Row) -> bool:
    return row.standing is not None and bool(row.standing.letters)


def _computed(row: Row) -> bool:
    return row.cpu_overhead is not None


def _read(row: Row) -> bool:
    return row.expense is not None and row.expense.shared is not None


def _letter(index: int) -> str:
    """A, B, ... Z, AA: names a class of hardware."""
    return (_letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)
