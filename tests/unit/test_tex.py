"""LaTeX: whatever is in a name is printed, nothing of it is run, and what is written compiles."""

import re
from pathlib import Path
from typing import Any

import pytest

from kdbench.leaderboard import Board, BoardSpec, build, read
from kdbench.leaderboard.tex import tex

HOSTILE = (
    r"\input{/etc/passwd}", "50%_&#$^~", "{", "}}", "[x]", "*", "a\nb", "--", "''``", "é ñ Ł 教",
    "\x1b[31m", "<|>", r"\end{tabular}", "a\\\\b", "²³", "ß\u0301", "\u202e", "\u00ad",
    "under_score",
)  # fmt: skip


@pytest.fixture(scope="module")
def kdbench_hostile(kdbench_record: Any) -> Board:
    """A board whose suite, methods, settings and baselines are named to break out."""
    known = []
    for name in HOSTILE:
        for seed in range(2):
            ask = kdbench_record().question.model_copy(update={"method": name, "seed": seed})
            quality = {"accuracy": 0.5 + seed / 10}
            known.append(kdbench_record(question=ask, quality=quality, settings=name))
    ask = kdbench_record().question.model_copy(update={"method": "holes % {", "seed": 0})
    known.append(kdbench_record(question=ask, quality={"accuracy": 0.5}))
    title = r"\write18{rm} % & é"
    return build(known, BoardSpec(suite=r"a_b\x}", title=title, baselines=("under_score",)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5 % #1 $x$ {y}", r"a\_b \& 5 \% \#1 \$x\$ \{y\}"),
        ("\\~^", r"\textbackslash{}\textasciitilde{}\textasciicircum{}"),
        ("[-0.5, -1] x-1 - 2", r"{[}$-$0.5, $-$1{]} x-1 - 2"),
        ("+1.0 ± 2", r"+1.0 $\pm$ 2"),
        ("a--b,,c", r"a-{}-b,{},c"),
        ("KL(teacher‖student) ×", r"KL(teacher$\|$student) $\times$"),
        ('say "so"', r"say \textquotedblleft{}so\textquotedblright{}"),
        ("e\u0301 ü ß 教", "\\'{e} " + r"\"{u} \ss{} {[}U+6559{]}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
    ],
)
def test_text_is_escaped_for_tex(text: str, expected: str) -> None:
    assert tex(text) == expected


def test_environments_braces_and_columns_balance(
    kdbench_hostile: Board, kdbench_root: Path
) -> None:
    committed = read(kdbench_root / "leaderboards/digits")
    for text in (kdbench_hostile.tex(), committed.tex()):
        assert text.isascii()
        open_ones = []
        for kind, name in re.findall(r"(?m)^\\(begin|end)\{([a-z*]+)\}", text):
            if kind == "begin":
                open_ones.append(name)
            else:
                assert open_ones.pop() == name
        assert not open_ones
        bare = re.sub(r"\\[\\{}%&$#_]", "", re.sub(r"(?m)^%.*$", "", text))
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        assert "%" not in bare
        for table in text.split("\\begin{tabular}")[1:]:
            columns = re.match(r"\{([lr]+)\}", table)
            assert columns
            rows = [line for line in table.split("\\end{tabular}")[0].splitlines() if " & " in line]
            counts = {len(re.split(r"(?<!\\)&", row)) for row in rows}
            assert counts == {len(columns[1])}


def test_there_is_a_table_for_each_board_of_each_pair_under_a_label_of_its_own(
    kdbench_root: Path,
) -> None:
    board = read(kdbench_root / "leaderboards/digits")
    text = board.tex()
    assert text.count("\\begin{table*}") == 1 + 3 * len(board.tables)
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len(set(labels)) == len(labels) == 1 + 3 * len(board.tables)
    assert all(re.fullmatch(r"tab:[a-z0-9-]+", label) for label in labels)
    assert text.count("\\toprule") == text.count("\\midrule") == text.count("\\bottomrule")
    for row in board.tables[0].rows:
        assert row.name in text


def test_a_row_with_holes_is_named_under_the_table(kdbench_hostile: Board) -> None:
    told = r"not ranked: holes \% \{ has 1 of 2 seeds; seed 1 no record"
    assert told in kdbench_hostile.tex()
