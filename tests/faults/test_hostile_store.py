"""Nothing is read or written outside of a store, whatever lies in it; nothing hangs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.errors import StoreError
from kdbench.leaderboard import read, read_metrics, read_spec, read_speeds
from kdbench.leaderboard.agreements import agreements
from kdbench.leaderboard.exchange import from_folder, merge
from kdbench.leaderboard.metrics import MetricValues, write_metric
from kdbench.record import Record, Store, content, standing

Made = Callable[..., Record]
HASH = "0" * 64


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of somebody else's files."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("x.json", "m.json", "q.lock", f"q-{'c' * 12}.safetensors", f"{HASH}.safetensors"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def store(tmp_path: Path, kdbench_record: Made) -> Store:
    store = Store(tmp_path / "store")
    store.add(kdbench_record(quality={"accuracy": 0.5}))
    return store


def held(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def _record_folder(store: Store, level: int) -> Path:
    (path,) = store.paths()
    return path.parents[level]


ACTS: dict[str, tuple[str, Callable[[Store, Record], object]]] = {
    "reads records": ("records", lambda store, record: store.records()),
    "writes a record": ("records", lambda store, record: store.add(record)),
    "asks what is answered": (
        "records",
        lambda store, record: store.answered(record.fingerprints.question, "c" * 64, 0),
    ),
    "exports records": ("records", lambda store, record: from_folder(store.root)),
    "finds an artifact": ("artifacts", lambda store, record: store.artifact(HASH)),
    "writes an artifact": ("artifacts", lambda store, record: store.put(b"x", ".safetensors")),
    "finds a checkpoint": ("checkpoints", lambda store, record: store.checkpoint("q", "c" * 64)),
    "forgets a checkpoint": ("checkpoints", lambda store, record: store.forget("q")),
    "claims": ("claims", lambda store, record: store.claim("q").__enter__()),
    "reads metrics": ("metrics", lambda store, record: read_metrics(store.root)),
    "writes metrics": (
        "metrics",
        lambda store, record: write_metric(
            MetricValues(metric="m", code=HASH, origins={}, values={}), store.root
        ),
    ),
    "reads speeds": ("speed", lambda store, record: read_speeds(store.root)),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_folder_that_is_a_link_is_refused(
    act: str, store: Store, outside: Path, kdbench_record: Made
) -> None:
    name, do = ACTS[act]
    before = held(outside)
    if name == "records":
        (store.root / name).rename(outside / "records")
        before = held(outside)
        (store.root / name).symlink_to(outside / "records")
    else:
        (store.root / name).symlink_to(outside)
    with pytest.raises(StoreError, match="is a symbolic link"):
        do(store, kdbench_record(quality={"accuracy": 0.5}))
    assert held(outside) == before


@pytest.mark.parametrize("level", [0, 1])
def test_a_link_below_records_is_refused(level: int, store: Store, outside: Path) -> None:
    folder = _record_folder(store, level)
    folder.rename(outside / "moved")
    folder.symlink_to(outside / "moved")
    before = held(outside)
    with pytest.raises(StoreError, match="is a symbolic link"):
        store.records()
    assert held(outside) == before


FILES: dict[str, Callable[[Store], object]] = {
    "suite.json": lambda store: read_spec(store.root),
    "agreements.json": lambda store: agreements(read(store.root), store.root),
    "metrics/m.json": lambda store: read_metrics(store.root),
    "speed/s.json": lambda store: read_speeds(store.root),
    f"artifacts/{HASH}.safetensors": lambda store: store.artifact(HASH),
    f"checkpoints/q-{'c' * 12}.safetensors": lambda store: store.checkpoint("q", "c" * 64),
    "claims/q.lock": lambda store: store.claim("q").__enter__(),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_a_link_is_refused(name: str, store: Store, outside: Path) -> None:
    path, before = store.root / name, held(outside)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(outside / "x.json")
    with pytest.raises(StoreError, match=r"symbolic link|no plain file"):
        FILES[name](store)
    assert held(outside) == before


BESIDE = {
    "suite.json": '{"suite": "digits", "suite": "digits"}',
    "agreements.json": '{"tables": [], "tables": []}',
    "metrics/m.json": MetricValues(metric="m", code=HASH, origins={}, values={})
    .content()
    .decode()
    .replace("{", '{"metric": "other",', 1),
}


@pytest.mark.parametrize("name", BESIDE)
def test_a_file_that_says_a_thing_twice_is_refused(name: str, store: Store) -> None:
    path = store.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(BESIDE[name])
    with pytest.raises(StoreError, match="is there twice"):
        FILES[name](store)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link(path: Path) -> None:
    path.symlink_to(path.parents[4] / "outside" / "x.json")


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100_000_000)


ODD = {"pipe": _pipe, "device": _device, "folder": Path.mkdir, "link": _link, "100 MB": _large}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_plain_file_of_a_record_s_size_is_refused_unread(
    kind: str, store: Store, outside: Path
) -> None:
    ODD[kind](_record_folder(store, 0) / "z.json")
    for reader in (store.records, lambda: from_folder(store.root)):
        with pytest.raises(StoreError, match=r"z\.json"):
            reader()
    if kind != "folder":
        spec = store.root / "suite.json"
        if kind == "link":
            spec.symlink_to(outside / "x.json")
        else:
            ODD[kind](spec)
        with pytest.raises(StoreError, match=r"suite\.json"):
            read_spec(store.root)


def test_a_pipe_for_a_checkpoint_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    assert standing(tmp_path / "x.safetensors") is None


@pytest.mark.parametrize(
    "bent",
    [
        lambda text: text.replace('"attempt": 1', '"attempt": 1,\n "attempt": 1'),
        lambda text: text.replace('"attempt": 1', '"attempt": 2,\n "attempt": 1'),
        lambda text: text.replace('"seed": 3', '"seed": 3.0'),
        lambda text: text.replace('"alpha": 0.9', '"alpha": NaN'),
        lambda text: text.replace('"alpha": 0.9', '"alpha": 1e400'),
        lambda text: text.replace('"alpha": 0.9', '"alpha": 0.90'),
        lambda text: text.replace('"alpha": 0.9', '"alpha": ' + "[" * 190 + "]" * 190),
        lambda text: text.replace('"alpha": 0.9', '"alpha": ' + "[" * 10**5 + "]" * 10**5),
        lambda text: text.replace('"seed": 3', f'"seed": {"9" * 5000}'),
        lambda text: text.replace('"accuracy": 0.5', '"accuracy": 1e308'),
        lambda text: text + "{}",
        lambda text: "\ufeff" + text,
    ],
)  # fmt: skip
def test_a_record_has_one_content(bent: Callable[[str], str], store: Store) -> None:
    (path,) = store.paths()
    text = path.read_text()
    assert bent(text) != text
    path.write_text(bent(text))
    with pytest.raises(StoreError, match=r"is not a readable record|was changed"):
        store.records()


def test_what_is_merged_stays_in_the_store(
    store: Store, outside: Path, tmp_path: Path, kdbench_record: Made
) -> None:
    mine = Store(tmp_path / "mine")
    mine.root.mkdir()
    (mine.root / "records").symlink_to(outside)
    before = held(outside)
    with pytest.raises(StoreError, match="is a symbolic link"):
        merge(from_folder(store.root), mine)
    assert held(outside) == before


COMMANDS: dict[str, tuple[str, ...]] = {
    "leaderboard": ("leaderboard", "STORE"),
    "report": ("report", "STORE"),
    "compare": ("compare", "kd", "scratch", "STORE"),
    "export-results": ("export-results", "STORE", "out.parquet"),
    "import": ("import", "STORE", "--store", "mine"),
    "reproduce": ("reproduce", "RECORD", "--yes"),
    "export": ("export", "RECORD", "-o", "out"),
    "run": ("run", "digits", "--steps", "1", "-m", "kd", "--store", "STORE"),
}


def test_every_command_refuses_a_hostile_store_in_three_lines(
    store: Store, outside: Path, tmp_path: Path
) -> None:
    (path,) = store.paths()
    whole = path.read_bytes()
    kinds = {
        "torn": whole[: len(whole) // 2],
        "twice": whole.replace(b'"attempt": 1', b'"attempt": 1,\n "attempt": 1'),
        "deep": b'{"question":' * 10**5,
    }
    script = (
        "import sys, json\n"
        "from kdbench.cli import main\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps(main(json.loads(line))), file=sys.stderr, flush=True)\n"
    )
    lines = []
    for kind, found in kinds.items():
        root = tmp_path / kind
        target = root / path.relative_to(store.root)
        target.parent.mkdir(parents=True)
        target.write_bytes(found)
        places = {"STORE": str(root), "RECORD": str(target)}
        lines += [[places.get(word, word) for word in words] for words in COMMANDS.values()]
    before, there = held(outside), sorted(path.name for path in tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", script], input="\n".join(map(json.dumps, lines)), text=True,
        capture_output=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    said = done.stderr.splitlines()
    codes = [int(line) for line in said if line.isdigit()]
    assert codes == [4] * len(lines), done.stderr
    errors = [place for place, line in enumerate(said) if line.startswith("error: ")]
    assert len(errors) == len(lines)
    for place in errors:
        assert said[place + 3].isdigit(), said[place : place + 4]
    assert held(outside) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_a_stranger_s_record_cannot_have_a_network_fetched_or_a_file_read_by_export(
    tmp_path: Path, kdbench_record: Made
) -> None:
    from kdbench.cli import main

    store = Store(tmp_path / "store")
    weights = store.put(b"x", ".safetensors")
    ask: Any = kdbench_record().question
    deployed = {
        "network": "resnet8", "options": {"checkpoint_path": "/etc/passwd"}, "weights": weights,
        "parameters": 1, "multiply_adds": 1, "latency_ms": 1.0, "throughput": 1.0,
    }  # fmt: skip
    plain = store.add(kdbench_record(deployed=deployed))
    hub = store.add(
        kdbench_record(
            question=ask.model_copy(update={"student": "hf-hub:a/b"}),
            deployed=deployed | {"network": "hf-hub:a/b"},
        )
    )
    assert main(["export", str(plain), "-o", str(tmp_path / "out")]) == 4
    assert main(["export", str(hub), "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_content_is_told_by_its_content(
    store: Store, kdbench_record: Made
) -> None:
    (path,) = store.paths()
    other = kdbench_record(quality={"accuracy": 0.6})
    path.write_bytes(content(other))
    with pytest.raises(StoreError, match="was changed after it was written"):
        store.records()
    assert json.loads(path.read_bytes())["quality"] == {"accuracy": 0.6}


@pytest.mark.parametrize("name", ["../../outside/q", "", "A" * 64, "0" * 65, "0" * 63 + "\n"])
@pytest.mark.parametrize("key", ["question", "code"])
def test_fingerprints_that_would_be_other_paths_are_no_fingerprints(
    key: str, name: str, store: Store, kdbench_record: Made
) -> None:
    (path,) = store.paths()
    record = kdbench_record()
    prints = record.fingerprints.model_copy(update={key: name})
    path.write_bytes(content(record.model_copy(update={"fingerprints": prints})))
    with pytest.raises(StoreError, match=f"fingerprints.{key}"):
        store.records()
