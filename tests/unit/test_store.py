"""The store: whole files or none, nothing skipped, nothing overwritten, one claim a question."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.errors import StoreError
from kdbench.record import Record, Store, write_atomically

Made = Callable[..., Record]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_record_lies_where_the_design_says_as_sorted_json(
    store: Store, kdbench_record: Made
) -> None:
    record = kdbench_record()
    path = store.add(record)
    folder = store.root / "records" / "digits" / "resnet8--resnet8_width=0.5_"
    question = record.fingerprints.question[:12]
    assert path.parent == folder
    assert path.name.startswith(f"kd-s3-{question}-")
    assert len(path.name) == len(f"kd-s3-{question}-12345678.json")
    text = path.read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert [*folder.iterdir()] == [path]
    assert store.records() == [record]


def test_a_second_attempt_lies_beside_the_first(store: Store, kdbench_record: Made) -> None:
    first, second = kdbench_record(status="crashed"), kdbench_record(attempt=2)
    assert store.add(first) != store.add(second)
    assert store.add(first) == store.path(first)  # the same again is the same file
    assert sorted(record.attempt for record in store.records()) == [1, 2]


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "..", ".", "a/../../b", "\\..\\x", "", "x" * 300, "a\0b"]
)
def test_no_name_leads_out_of_the_store(name: str, store: Store, kdbench_record: Made) -> None:
    base = kdbench_record().question
    asked = {"dataset": name, "teacher": name, "student": name, "method": name}
    record = kdbench_record(question=base.model_copy(update=asked))
    path = store.add(record)
    assert path.resolve().is_relative_to(store.root.resolve() / "records")
    parts = path.relative_to(store.root).parts
    assert len(parts) == 4
    assert all(not part.startswith(".") and len(part) < 255 for part in parts)
    assert store.records() == [record]


def test_what_is_cut_off_in_the_middle_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    for broken in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, refuse)
            patch.setattr(Path, "replace", refuse if broken == "replace" else Path.replace)
            with pytest.raises(StoreError, match=str(path)) as error:
                write_atomically(path, b"new")
        assert "No space left" in str(error.value)
        assert path.read_bytes() == b"old"
        assert [*path.parent.iterdir()] == [path]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_record_that_was_never_finished_is_no_record(store: Store, kdbench_record: Made) -> None:
    path = store.add(kdbench_record())
    (path.parent / ".abc.part").write_text("{")
    assert len(store.records()) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": 2}'])
def test_an_unreadable_record_is_named_and_never_skipped(
    content: bytes, store: Store, kdbench_record: Made
) -> None:
    path = store.add(kdbench_record())
    path.with_name("z.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"z\.json is not a readable record"):
        store.records()


def test_a_record_that_was_changed_after_it_was_written_is_refused(
    store: Store, kdbench_record: Made
) -> None:
    path = store.add(kdbench_record())
    path.write_text(path.read_text().replace('"suite": "', '"suite": "another-'))
    with pytest.raises(StoreError, match="changed after it was written"):
        store.records()


def test_a_newer_record_is_refused_rather_than_misread(store: Store, kdbench_record: Made) -> None:
    path = store.add(kdbench_record())
    newer = {**json.loads(path.read_text()), "schema_version": 2}
    path.write_text(json.dumps(newer))
    with pytest.raises(StoreError, match=path.name):
        store.records()


def test_answered_means_ok_or_tried_since_by_the_same_code(
    store: Store, kdbench_record: Made
) -> None:
    record = kdbench_record()
    question, code = record.fingerprints.question, record.fingerprints.code
    assert not store.answered(question, code, 0)
    store.add(kdbench_record(status="failed"))
    assert not store.answered(question, code, 1)
    assert store.answered(question, code, 0)  # by another run, since nothing was known
    store.add(record)
    assert store.answered(question, code, 1)
    assert not store.answered(question, "d" * 64, 0)
    assert not store.answered(question[:12] + "0" * 52, code, 0)


def test_what_killed_runs_left_is_removed_and_what_is_in_use_is_not(
    store: Store, kdbench_record: Made
) -> None:
    done, open_ = kdbench_record(), kdbench_record(status="timeout", attempt=2)
    again = kdbench_record(question=done.question.model_copy(update={"seed": 4}), status="timeout")
    record = store.add(done)
    away = [
        store.checkpoint(one.fingerprints.question, code)
        for one, code in ((done, "c" * 64), (done, "d" * 64), (again, "c" * 64))
    ]
    parts = [record.parent / ".old.part", away[0].parent / ".old.part", record.parent / ".new.part"]
    for path in (*away, *parts):
        write_atomically(path, b"")
    for path in parts[:2]:
        os.utime(path, (0, 0))
    store.tidy([done, open_, again])
    assert [path.exists() for path in away] == [False, True, True]
    assert [path.exists() for path in parts] == [False, False, True]
    assert store.records() == [done]


def test_an_artifact_lies_by_its_content(store: Store) -> None:
    digest = store.put(b"weights", ".safetensors")
    assert store.put(b"weights", ".safetensors") == digest
    assert store.artifact(digest).read_bytes() == b"weights"
    assert [path.name for path in (store.root / "artifacts").iterdir()] == [f"{digest}.safetensors"]


def test_a_place_that_cannot_be_written_is_said_so(tmp_path: Path, kdbench_record: Made) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot write"):
        store.add(kdbench_record())
    with pytest.raises(StoreError, match="cannot claim"), store.claim("q"):
        raise AssertionError("claimed")


HOLD = """
import sys
from pathlib import Path
from kdbench.record import Store
with Store(Path(sys.argv[1])).claim("q") as ours:
    print(ours, flush=True)
    sys.stdin.read()
"""


def test_a_claim_is_one_process_s_alone_and_ends_with_it_however_it_ends(store: Store) -> None:
    def hold() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(store.root)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    with hold() as other:
        assert other.stdout
        assert other.stdout.readline() == "True\n"
        with store.claim("q") as ours, store.claim("another") as free:
            assert (ours, free) == (False, True)
        other.kill()
        other.wait()
        with store.claim("q") as ours, store.claim("q") as again:
            assert (ours, again) == (True, False)
    with store.claim("q") as ours:
        assert ours


def test_an_artifact_s_hash_cannot_lead_out_of_the_store(tmp_path: Path) -> None:
    path = Store(tmp_path).artifact("../../secret", ".txt")
    assert path.parent == tmp_path / "artifacts"
