"""Stores merge to the byte, twice is once, and what is not what it says is refused whole."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdbench.errors import DataError, KDBenchError, NothingSelected, StoreError, UsageError
from kdbench.leaderboard import BoardSpec, read_spec, record_id, write_spec
from kdbench.leaderboard.exchange import Merged, from_folder, merge
from kdbench.leaderboard.metrics import MetricValues, read_metrics, write_metric
from kdbench.leaderboard.parquet import read_parquet, write_parquet
from kdbench.record import Record, Store

Made = Callable[..., Record]
LOGITS = b"logits of a test"


@pytest.fixture
def folder(tmp_path: Path, kdbench_record: Made) -> Path:
    """A store of an ok and a failed record, with the logits of the former."""
    store = Store(tmp_path / "theirs")
    digest = store.put(LOGITS, ".safetensors")
    store.add(kdbench_record(quality={"accuracy": 0.1 + 0.2}, logits=digest, per_class=(0.5, 1.0)))
    failure = {"kind": "ValueError", "message": "a\nb", "where": "step 3"}
    store.add(kdbench_record(status="failed", failure=failure, attempt=2))
    write_spec(BoardSpec(suite="digits", seeds=(0, 1)), store.root)
    return store.root


@pytest.fixture
def parquet(folder: Path, tmp_path: Path) -> Path:
    file = tmp_path / "theirs.parquet"
    assert write_parquet(folder, file) == 2
    return file


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def changed(parquet: Path, change: Callable[[dict[str, list[Any]]], None]) -> Path:
    """The same file with other columns."""
    columns = pq.read_table(parquet, columns=["file", "record"]).to_pydict()
    change(columns)
    pq.write_table(pa.table(columns), parquet)
    return parquet


def test_a_parquet_gives_back_every_byte_and_twice_is_once(
    folder: Path, parquet: Path, tmp_path: Path
) -> None:
    mine = Store(tmp_path / "mine")
    assert merge(read_parquet(parquet), mine) == Merged(
        new=2, there=0, artifacts=0, kept_spec=False
    )
    want = {name: found for name, found in contents(folder).items() if "artifacts" not in name}
    assert contents(mine.root) == want
    assert merge(read_parquet(parquet), mine) == Merged(
        new=0, there=2, artifacts=0, kept_spec=False
    )
    assert contents(mine.root) == want


def test_a_folder_brings_its_artifacts_and_only_those_that_records_name(
    folder: Path, tmp_path: Path
) -> None:
    Store(folder).put(b"nobody's", ".safetensors")
    mine = Store(tmp_path / "mine")
    assert merge(from_folder(folder), mine).artifacts == 1
    (record,) = (record for record in mine.records() if record.logits)
    assert mine.artifact(record.logits).read_bytes() == LOGITS
    assert merge(from_folder(folder), mine) == Merged(new=0, there=2, artifacts=0, kept_spec=False)


def test_the_parquet_is_flat_for_pandas_and_survives_it(parquet: Path, tmp_path: Path) -> None:
    frame = pandas.read_parquet(parquet)
    assert list(frame.columns[[0, -1]]) == ["file", "record"]
    ok = frame[frame["status"] == "ok"].iloc[0]
    assert ok["quality.accuracy"] == 0.1 + 0.2
    assert ok["question.hyperparameters"] == '{"alpha":0.9}'
    assert frame["question.seed"].tolist() == [3, 3]
    frame[frame["status"] == "ok"].to_parquet(tmp_path / "ok.parquet")
    assert merge(read_parquet(tmp_path / "ok.parquet"), Store(tmp_path / "mine")).new == 1


def test_two_people_s_stores_merge_in_either_order(
    folder: Path, tmp_path: Path, kdbench_record: Made
) -> None:
    other = Store(tmp_path / "other")
    other.add(kdbench_record(quality={"accuracy": 0.9}))
    other.add(kdbench_record(status="failed", failure=None, attempt=2))
    a, b = Store(tmp_path / "a"), Store(tmp_path / "b")
    for store, order in ((a, (folder, other.root)), (b, (other.root, folder))):
        for place in order:
            merge(from_folder(place), store)
    assert contents(a.root) == contents(b.root)
    assert {record_id(r) for r in a.records()} == {
        record_id(r) for place in (folder, other.root) for r in Store(place).records()
    }


def test_the_seeds_of_two_boards_of_one_suite_are_joined_and_other_words_are_kept(
    folder: Path, tmp_path: Path
) -> None:
    mine = Store(tmp_path / "mine")
    write_spec(BoardSpec(suite="digits", seeds=(1, 5)), mine.root)
    assert not merge(from_folder(folder), mine).kept_spec
    assert read_spec(mine.root) == BoardSpec(suite="digits", seeds=(0, 1, 5))
    titled = BoardSpec(suite="digits", title="Mine", seeds=(7,))
    write_spec(titled, mine.root)
    assert merge(from_folder(folder), mine).kept_spec
    assert read_spec(mine.root) == titled


def test_another_suite_s_store_takes_nothing(folder: Path, tmp_path: Path) -> None:
    mine = Store(tmp_path / "mine")
    write_spec(BoardSpec(suite="other"), mine.root)
    before = contents(mine.root)
    with pytest.raises(UsageError, match="suite 'other'"):
        merge(from_folder(folder), mine)
    assert contents(mine.root) == before


def test_a_record_of_that_name_with_other_content_harms_nothing(
    folder: Path, parquet: Path, tmp_path: Path
) -> None:
    mine = Store(tmp_path / "mine")
    first = min(folder.glob("records/*/*/*.json"))
    path = mine.root / first.relative_to(folder)
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    for parcel in (read_parquet(parquet), from_folder(folder)):
        with pytest.raises(StoreError, match="has another content"):
            merge(parcel, mine)
    assert contents(mine.root) == {path.relative_to(mine.root).as_posix(): b"mine"}


def test_a_damaged_artifact_stops_the_merge_before_anything_is_written(
    folder: Path, tmp_path: Path
) -> None:
    Store(folder).artifact(hashlib.sha256(LOGITS).hexdigest()).write_bytes(b"other")
    with pytest.raises(DataError, match="is damaged"):
        merge(from_folder(folder), Store(tmp_path / "mine"))
    assert not (tmp_path / "mine").exists()


def edited(text: str, **changes: Any) -> str:
    whole = json.loads(text) | changes
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


HOSTILE: dict[str, Callable[[dict[str, list[Any]]], None]] = {
    "no record": lambda c: c["record"].__setitem__(0, "{}"),
    "no JSON": lambda c: c["record"].__setitem__(0, "\x1b[31m"),
    "a surrogate": lambda c: c["record"].__setitem__(
        0, c["record"][0].replace('"digits"', r'"\ud800"', 1)
    ),
    "another content": lambda c: c["record"].__setitem__(0, edited(c["record"][0], rows=7)),
    "other bytes": lambda c: c["record"].__setitem__(0, c["record"][0].replace("\n", "")),
    "an unknown key": lambda c: c["record"].__setitem__(0, edited(c["record"][0], evil=1)),
    "another's name": lambda c: c["file"].reverse(),
    "out of the store": lambda c: c["file"].__setitem__(0, "../../../evil.json"),
    "absolute": lambda c: c["file"].__setitem__(0, "/tmp/evil.json"),
    "escapes": lambda c: c["file"].__setitem__(0, "\x1b]0;evil\x07\u202e"),
    "a hole": lambda c: c["record"].__setitem__(0, None),
    "no such column": lambda c: c.__setitem__("recrod", c.pop("record")),
    "numbers": lambda c: c.__setitem__("file", [1, 2]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_not_what_it_says_is_refused_in_three_lines(
    kind: str, parquet: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        merge(read_parquet(changed(parquet, HOSTILE[kind])), Store(tmp_path / "mine"))
    assert all((caught.value.what, caught.value.why, caught.value.next))
    assert str(caught.value).replace("\n", "").isprintable()
    assert not (tmp_path / "mine").exists()


def test_a_record_that_claims_to_answer_another_question_is_refused(
    parquet: Path, tmp_path: Path, kdbench_record: Made
) -> None:
    record = kdbench_record()
    prints = record.fingerprints.model_copy(update={"question": "0" * 64})
    store = Store(tmp_path / "liar")
    store.add(record.model_copy(update={"fingerprints": prints}))
    with pytest.raises(DataError, match="is no record of that name"):
        from_folder(store.root)


def test_what_is_no_parquet_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("PAR1 not at all PAR1")
    for name in ("text.parquet", "gone.parquet"):
        with pytest.raises(KDBenchError) as caught:
            read_parquet(tmp_path / name)
        assert caught.value.exit_code == 4
    with pytest.raises(NothingSelected):
        write_parquet(tmp_path, tmp_path / "out.parquet")


def test_metrics_come_along_and_one_s_own_values_stay(folder: Path, tmp_path: Path) -> None:
    code, origin = "c" * 64, {"distribution": "d", "version": "1"}
    here, there = "a" * 64, "b" * 64

    def values(**by_record: float) -> MetricValues:
        return MetricValues.model_validate({
            "metric": "mine", "code": code, "origins": {code: origin}, "values": {code: by_record},
        })  # fmt: skip

    mine = Store(tmp_path / "mine")
    write_metric(values(**{here: 1.0}), mine.root)
    write_metric(values(**{here: 2.0, there: 3.0}), folder)
    merge(from_folder(folder), mine)
    assert read_metrics(mine.root)["mine"].shown == {here: 1.0, there: 3.0}


@pytest.mark.parametrize("board", ["digits", "digits-self"])
def test_a_committed_board_goes_through_parquet_to_the_byte(
    board: str, kdbench_root: Path, tmp_path: Path
) -> None:
    place = kdbench_root / "leaderboards" / board
    write_parquet(place, tmp_path / "board.parquet")
    merge(read_parquet(tmp_path / "board.parquet"), Store(tmp_path / "again"))
    assert contents(tmp_path / "again" / "records") == contents(place / "records")
