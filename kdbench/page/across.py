"""Methods over all pairs, as a table like those of the pairs."""

from statistics import fmean

from kdbench.leaderboard import Board, Overall
from kdbench.leaderboard.text import MISSING, fixed
from kdbench.page.columns import Cell, Column
from kdbench.page.grid import Grid, Line
from kdbench.page.papers import families
from kdbench.statistics import Standing, ratio


def across(board: Board) -> Grid | None:
    """Those that are in every table, best first; None where there is one table or no baseline."""
    whole = [(one, one.standing) for one in board.across if one.standing]
    if not whole:
        return None
    first, *others = board.spec.baselines
    tables = [table for table in board.tables if table.part == "defaults"]
    columns = [
        Column(key="gain", title=f"Mean gain over {first}", group="Accuracy", overview=True,
               hint="Points of accuracy, mean over the pairs, with its 95 % interval"),
        *(
            Column(key=f"gain-over-{text}", title=f"Mean gain over {text}", group="Accuracy",
                   overview=True, hint="The same, a plain mean without an interval")
            for text in others
        ),
        Column(key="rank", title="Rank", group="Accuracy", overview=True,
               hint="In 95 % of the resamples"),
        Column(key="group", title="Group", group="Accuracy", overview=True,
               hint="No difference is shown between rows that share a letter"),
        *(
            Column(key=f"gain-{index}", title=table.question.student, group="Accuracy",
                   hint=f"Gain over {first}: {table.heading}")
            for index, table in enumerate(tables)
        ),
        Column(key="agreement", title="Agreement %", group="Fidelity", overview=True,
               hint="Mean over the pairs"),
        Column(key="kl", title="KL", group="Fidelity", hint="Mean over the pairs"),
        Column(key="overhead", title="Cost ×", group="Cost", overview=True,
               hint="Geometric mean over the pairs"),
    ]  # fmt: skip
    keys = [table.key for table in tables]
    return Grid(columns=tuple(columns), lines=tuple(_line(*one, board, keys) for one in whole))


def _line(one: Overall, stand: Standing, board: Board, keys: list[str]) -> Line:
    method = next(iter(one.rows.values())).question.method
    cells = (
        _mean_gain(stand),
        *(_plain_gain(one, keys, text) for text in board.spec.baselines[1:]),
        *_standing(stand),
        *(_gain(one, key, board.spec.baselines[0]) for key in keys),
        _mean(one, keys, "agreement", 100, 2),
        _mean(one, keys, "kl", 1, 4),
        _overhead(one, keys),
    )
    return Line(
        name=one.name, key="", strong=bool(one.baseline), families=families(method, board.spec),
        told="none", cells=cells,
    )  # fmt: skip


def _mean_gain(stand: Standing) -> Cell:
    text = fixed(100 * stand.mean, 2, sign=True)
    if stand.low is not None and stand.high is not None:
        low, high = (fixed(100 * end, 2, sign=True) for end in (stand.low, stand.high))
        text += " (identical)" if stand.low == stand.high else f" [{low}, {high}]"
    return Cell(text=text, order=stand.mean)


def _plain_gain(one: Overall, keys: list[str], baseline: str) -> Cell:
    gains = [one.rows[key].gains.get(baseline) for key in keys]
    means = [gain.mean for gain in gains if gain]
    if len(means) < len(keys):
        return Cell(text=MISSING, order=None)
    return Cell(text=fixed(100 * fmean(means), 2, sign=True), order=fmean(means))


def _standing(stand: Standing) -> tuple[Cell, Cell]:
    """Rank and group."""
    first, last = stand.rank or (0, 0)
    rank = f"{first} to {last}" if last > first else str(first or MISSING)
    return (
        Cell(text=rank, order=first + last / 1e6 if stand.rank else None),
        Cell(text=stand.letters or MISSING, order=ord(stand.letters[0]) if stand.letters else None),
    )


def _gain(one: Overall, key: str, baseline: str) -> Cell:
    gain = one.rows[key].gains.get(baseline)
    if gain is None:
        return Cell(text=MISSING, order=None)
    return Cell(text=fixed(100 * gain.mean, 2, sign=True), order=gain.mean)


def _mean(one: Overall, keys: list[str], metric: str, scale: float, digits: int) -> Cell:
    """Over all pairs or over none: a mean over some would be of other trials."""
    found = [one.rows[key].metrics.get(metric) for key in keys]
    means = [estimate.mean for estimate in found if estimate]
    if len(means) < len(keys):
        return Cell(text=MISSING, order=None)
    return Cell(text=fixed(scale * fmean(means), digits), order=fmean(means))


def _overhead(one: Overall, keys: list[str]) -> Cell:
    expenses = [one.rows[key].expense for key in keys]
    known = [cost.overhead.mean for cost in expenses if cost and cost.overhead]
    if len(known) < len(keys):
        return Cell(text=MISSING, order=None)
    mean = ratio(known).mean
    return Cell(text=fixed(mean, 2), order=mean)
