"""Parts of a board: what conditions, columns and sorts mean, and what they leave as it is."""

import csv
import io
import json
import re
from typing import Any

import pytest

from kdbench.errors import NothingSelected, UsageError
from kdbench.leaderboard import WHOLE, Board, BoardSpec, build, left_out, selected, view_of

ACCURACY = {
    "scratch": (0.80, 0.82, 0.81), "kd": (0.84, 0.85, 0.86), "dkd": (0.83, 0.86, 0.85),
    "at": (0.70, 0.72, 0.71),
}  # fmt: skip
OPTIONS = "kd[alpha=0.9]"
SPEC = BoardSpec(suite="toy", title="Toy", baselines=("scratch", OPTIONS))


@pytest.fixture(scope="module")
def kdbench_board(kdbench_record: Any) -> Board:
    """Four methods on three seeds of one data set and two of another; kd alone has an NLL."""
    known = []
    for dataset, count in (("digits", 3), ("other", 2)):
        for name, values in ACCURACY.items():
            for seed, value in enumerate(values[:count]):
                changes = {"dataset": dataset, "method": name, "seed": seed}
                ask = kdbench_record().question.model_copy(update=changes)
                quality = {"accuracy": value} | ({"nll": 0.4} if name == "kd" else {})
                known.append(kdbench_record(question=ask, quality=quality))
    return build(known, SPEC)


def lines(board: Board) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(board.csv())))


def seen(board: Board, **options: Any) -> Board:
    return selected(board, view_of(board, **options))


def shown(board: Board, **options: Any) -> list[tuple[str, str]]:
    """Data set and row of what is left, in order."""
    return [(line["dataset"], line["row"]) for line in lines(seen(board, **options))]


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        (["accuracy>=0.83"], "kd dkd dkd kd"),
        (["accuracy > 0.85"], ""),
        (["accuracy < 0.72"], "at at"),
        (["accuracy<=0.81"], "scratch at scratch at"),
        (["accuracy = 0.85"], "kd"),
        (["accuracy == 0.85"], "kd"),
        (["accuracy!=0.85", "dataset=digits"], "dkd scratch at"),
        (["method = kd"], "kd kd"),
        (["method ~ KD"], "kd dkd dkd kd"),
        (["method!=kd", "dataset = other"], "dkd scratch at"),
        ([f"gain_over_{OPTIONS} < -0.1"], "at at"),
        (["nll<9"], "kd kd"),
        (["nll!=9"], "kd kd"),
        (["  n  >=  3 ", "contender=0"], "scratch at"),
    ],
)
def test_a_condition_keeps_the_rows_that_meet_it(
    kdbench_board: Board, conditions: list[str], left: str
) -> None:
    if not left:
        with pytest.raises(NothingSelected, match="no row is left"):
            seen(kdbench_board, where=conditions)
        return
    assert " ".join(row for _, row in shown(kdbench_board, where=conditions)) == left


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("acuracy>0.9", "no column is named 'acuracy'; did you mean accuracy,"),
        ("gap>0.9", "no column is named 'gap'; did you mean gap_closed?"),
        ("zzz=1", "no column is named 'zzz'; it is none of the CSV's columns"),
        ("accuracy", "'accuracy' is no condition; a condition is COLUMN OP VALUE"),
        ("accuracy>high", "'accuracy>high' cannot be told; accuracy holds numbers"),
        ("accuracy>nan", "'accuracy>nan' cannot be told; accuracy holds numbers"),
        ("accuracy~0.9", "'accuracy~0.9' cannot be told; accuracy holds numbers"),
        ("method<kd", "'method<kd' cannot be told; method holds words"),
        (">0.9", "no column is named ''; it is none of the CSV's columns"),
        ("__import__('os').getcwd()=1", "no column is named \"__import__('os').getcwd()\""),
    ],
)
def test_a_condition_that_is_none_says_why_and_what_would_be_one(
    kdbench_board: Board, text: str, words: str
) -> None:
    with pytest.raises(UsageError) as raised:
        view_of(kdbench_board, where=[text])
    assert f"{raised.value.what}; {raised.value.why}".startswith(words)
    assert raised.value.next


@pytest.mark.parametrize("options", [{"columns": "row,accurcy"}, {"sort": "-accurcy"}])
def test_an_unknown_column_lists_near_matches(kdbench_board: Board, options: Any) -> None:
    with pytest.raises(UsageError, match="no column is named 'accurcy'") as raised:
        view_of(kdbench_board, **options)
    assert "accuracy, accuracy_low" in raised.value.why


def test_rows_are_sorted_within_their_table_with_those_without_a_value_last(
    kdbench_board: Board,
) -> None:
    def rows(sort: str) -> list[str]:
        found = shown(kdbench_board, sort=sort, where=["dataset=digits"])
        return [row for _, row in found]

    assert rows("accuracy") == ["at", "scratch", "dkd", "kd"]
    assert rows("-accuracy") == ["kd", "dkd", "scratch", "at"]
    assert rows("row") == ["at", "dkd", "kd", "scratch"]
    assert rows("-row") == ["scratch", "kd", "dkd", "at"]
    assert rows("nll")[0] == rows("-nll")[0] == "kd"
    assert [place for place, _ in shown(kdbench_board, sort="accuracy")] == [
        *["digits"] * 4, *["other"] * 4,
    ]  # fmt: skip


def test_columns_are_printed_in_the_order_asked_for_by_every_format(kdbench_board: Board) -> None:
    board = seen(kdbench_board, columns=f"row, accuracy,gain_over_{OPTIONS},row", sort="row")
    names = ["row", "accuracy", f"gain_over_{OPTIONS}"]
    assert list(lines(board)[0]) == names
    assert lines(board)[0] == {"row": "at", "accuracy": "0.71", names[2]: "-0.14"}
    first = json.loads(board.json())["tables"][0]["rows"][0]
    assert first == {"row": "at", "accuracy": 0.71, names[2]: -0.14}
    assert board.console().splitlines()[3].split() == names
    assert board.console().splitlines()[5].split() == ["at", "0.71", "-0.14"]
    assert re.search(r"\| at +\| +0.71 +\| +-0.14 +\|", board.markdown())
    assert "at & 0.71 & $-$0.14 \\\\" in board.tex()
    assert "### " not in board.markdown() and "± half-width" not in board.console()


def test_rows_of_too_few_seeds_are_named_apart_and_nothing_else_changes(
    kdbench_board: Board,
) -> None:
    view = view_of(kdbench_board, seeds=3)
    board = selected(kdbench_board, view)
    assert {line["dataset"] for line in lines(board)} == {"digits"}
    digits, other = board.tables
    assert digits.rows == kdbench_board.tables[0].rows
    assert not other.rows
    told = "left out, with 2 seeds, of the 3 asked for: at, dkd, kd, scratch"
    assert other.remarks == (told,)
    assert left_out(kdbench_board, view) == [f"{other.heading}: {told}"]
    for text in (board.markdown(), board.console(), board.tex(), board.json()):
        assert told in text
    assert kdbench_board.across
    assert "## Over 2 pairs" in kdbench_board.markdown()
    assert not board.across
    assert "## Over" not in board.markdown()


def test_means_tests_and_ranks_are_those_of_the_whole_board(kdbench_board: Board) -> None:
    by_name = {row.name: row for row in kdbench_board.tables[0].rows}
    (table,) = seen(kdbench_board, where=["dataset=digits", "method~kd"], sort="accuracy").tables
    assert [row.name for row in table.rows] == ["dkd", "kd"]
    assert all(row == by_name[row.name] for row in table.rows)
    whole = {(line["dataset"], line["row"]): line for line in lines(kdbench_board)}
    for line in lines(seen(kdbench_board, where=["contender=1"])):
        assert whole[line["dataset"], line["row"]] == line


def test_what_is_no_view_changes_no_byte_and_a_view_says_what_it_shows(
    kdbench_board: Board,
) -> None:
    assert view_of(kdbench_board) == WHOLE
    assert selected(kdbench_board, WHOLE) == kdbench_board
    assert "view" not in json.loads(kdbench_board.json())
    board = seen(kdbench_board, where=["accuracy>=.8", "method~d"], sort="-n", seeds=2)
    told = "rows with accuracy >= 0.8 and method ~ d; rows of at least 2 seeds; by n, descending"
    assert json.loads(board.json())["view"] == told
    assert f"Shown: {told}." in " ".join(board.console().split())
    assert "Shown: rows with accuracy &gt;= 0.8 and method \\~ d;" in board.markdown()
    assert "% Shown: rows with accuracy \\textgreater{}= 0.8" in board.tex()
