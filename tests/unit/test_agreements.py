import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

from kdbench.errors import StoreError
from kdbench.leaderboard import BoardSpec, build
from kdbench.leaderboard.agreements import FILE, agreements, keep
from kdbench.record import Store

METHODS = ("scratch", "kd", "at")


@pytest.fixture
def kdbench_said(kdbench_record, tmp_path):
    """`kdbench_said(methods, seeds)`: a board in `tmp_path`, and what its students say by name."""
    store, said = Store(tmp_path), {}

    def made(methods=METHODS, seeds=(0, 1), rows=40):
        records, base = [], kdbench_record().question
        for place, method in enumerate(methods):
            for seed in seeds:
                noise = np.random.default_rng([place, seed, rows])
                logits = noise.normal(size=(rows, 3)).astype(np.float32)
                digest = store.put(save({"logits": logits}), ".safetensors")
                said[method, seed] = logits.argmax(axis=1)
                question = base.model_copy(update={"method": method, "seed": seed})
                quality = {"accuracy": 0.5 + 0.1 * place + 0.01 * seed}
                records.append(kdbench_record(question=question, quality=quality, logits=digest))
        return build(records, BoardSpec(baselines=("scratch",)))

    return made, said


def test_agreement_is_the_mean_over_seeds_of_how_often_two_say_the_same(kdbench_said, tmp_path):
    made, said = kdbench_said
    found = agreements(made(), tmp_path)
    (one,) = found.tables
    assert one.names == ("at", "kd", "scratch") and not found.missing
    for a, first in enumerate(one.names):
        for b, second in enumerate(one.names):
            shares = [(said[first, seed] == said[second, seed]).mean() for seed in (0, 1)]
            assert one.values[a][b] == pytest.approx(np.mean(shares), abs=1e-6)


def test_what_was_kept_stands_in_for_logits_that_are_not_there(kdbench_said, tmp_path):
    made, _ = kdbench_said
    board = made()
    found = agreements(board, tmp_path)
    away = tmp_path / "away"
    path = keep(board, found, away)
    assert path == away / FILE and agreements(board, away) == found
    again = keep(board, agreements(board, away), tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()
    some = build([r for row in board.tables[0].rows[:2] for r in row.records])
    (part,) = agreements(some, away).tables
    assert part.names == ("at", "kd") and part.values[0][1] == found.tables[0].values[0][1]


def test_a_file_of_other_students_is_never_used_and_the_reason_is_told(kdbench_said, tmp_path):
    made, _ = kdbench_said
    board, away = made(), tmp_path / "away"
    keep(board, agreements(board, tmp_path), away)
    for other in (made(methods=(*METHODS, "dkd")), made(rows=41), made(seeds=(0, 2))):
        found = agreements(other, away)
        assert found.tables == (None,)
        assert "logits are not here" in found.missing[0]
        assert "of other students" in found.missing[0]


def test_without_logits_and_without_a_file_nothing_is_known(kdbench_said, tmp_path):
    made, _ = kdbench_said
    assert agreements(made(), tmp_path / "nowhere") is None


@pytest.mark.parametrize("content", [b"other bytes", b"", save({"weights": np.zeros(3)})])
def test_logits_that_are_not_the_records_are_refused(kdbench_said, tmp_path, content):
    made, _ = kdbench_said
    board = made()
    Store(tmp_path).artifact(board.tables[0].rows[1].records[1].logits).write_bytes(content)
    found = agreements(board, tmp_path)
    assert found.tables == (None,)
    assert "kd, seed 1: its logits are not those of the record" in found.missing[0]


def test_a_store_of_records_whose_logits_hold_none_says_so(kdbench_record, tmp_path):
    content = save({"weights": np.zeros(3, np.float32)})
    digest = Store(tmp_path).put(content, ".safetensors")
    assert digest == hashlib.sha256(content).hexdigest()
    base = kdbench_record().question
    records = [
        kdbench_record(
            question=base.model_copy(update={"method": name}), quality={"accuracy": 0.5},
            logits=digest,
        )
        for name in ("a", "b")
    ]  # fmt: skip
    found = agreements(build(records), tmp_path)
    assert "its logits cannot be read, and there is no agreements.json" in found.missing[0]


def test_students_measured_on_different_rows_are_not_compared(kdbench_said, tmp_path):
    made, _ = kdbench_said
    long, short = made(), made(rows=30)
    mixed = [*long.tables[0].rows[0].records, *short.tables[0].rows[1].records]
    found = agreements(build(mixed), tmp_path)
    assert "measured on different rows" in found.missing[0]


@pytest.mark.parametrize("text", ["{", '{"tables": [{"rows": 3}]}', '{"schema_version": 2}', "[]"])
def test_a_file_that_says_something_else_is_an_error_with_a_remedy(kdbench_said, tmp_path, text):
    made, _ = kdbench_said
    board = made()
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StoreError, match="remove it"):
        agreements(board, tmp_path)


def test_a_damaged_triangle_is_an_error_and_no_crash(kdbench_said, tmp_path):
    made, _ = kdbench_said
    board, away = made(), tmp_path / "away"
    path = keep(board, agreements(board, tmp_path), away)
    data = json.loads(path.read_text())
    data["tables"][0]["values"][2] = [0.5]
    path.write_text(json.dumps(data))
    with pytest.raises(StoreError, match="remove it"):
        agreements(board, away)
