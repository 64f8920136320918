"""Records, what lies beside them and their exports, from strangers: read, shown, merged, asked."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hostile_trees import CHANGES, DAMAGE, bent, torn
from hypothesis import strategies as st
from pydantic import ValidationError

from kdbench.errors import KDBenchError
from kdbench.leaderboard import BoardSpec, read
from kdbench.leaderboard.claims import answered
from kdbench.leaderboard.exchange import from_folder, merge
from kdbench.leaderboard.metrics import MetricValues
from kdbench.leaderboard.parquet import read_parquet
from kdbench.record import Record, Store, content, write_atomically

BOARD = Path(__file__).resolve().parents[2] / "leaderboards" / "digits"
HASH = "0" * 64


@cache
def known() -> tuple[bytes, ...]:
    """Four real records: two methods in two seeds, one of them failed."""
    names = ("scratch-s0-*", "scratch-s1-*", "kd-s0-*", "kd-s1-*")
    paths = [sorted(BOARD.glob(f"records/*/*/{name}.json"))[0] for name in names]
    found = [path.read_bytes() for path in paths]
    failed = {"kind": "ValueError", "message": "x", "where": "step 3"}
    last = json.loads(found[3]) | {"status": "failed", "failure": failed, "quality": {}}
    found.append(content(Record.model_validate_json(json.dumps(last))))
    return tuple(found)


def put(store: Store, found: bytes) -> Path:
    """A record's file where a store would have it; what is no record, at some name."""
    try:
        path = store.path(Record.model_validate_json(found))
    except ValueError:
        path = store.root / "records" / "a" / "b" / "c-s0-0-0.json"
    write_atomically(path, found)
    return path


def sealed(tree: Any) -> bytes:
    """The tree as a file; where it is a record, as a store would have written it."""
    text = json.dumps(tree, indent=1, sort_keys=True).encode()
    try:
        record = Record.model_validate_json(text)
        prints = record.fingerprints.model_copy(update={"question": record.question.fingerprint})
        return content(record.model_copy(update={"fingerprints": prints}))
    except ValueError:
        return text


def damaged(value: Any, folder: Path) -> None:
    """A torn file: whatever is accepted has the content that was written."""
    which, damage = value
    whole = known()[which]
    found = torn(whole, damage)
    store = Store(folder)
    try:
        path = store.path(Record.model_validate_json(whole))
    except ValidationError:
        raise AssertionError("the example is no record") from None
    write_atomically(path, found)
    (record,) = store.records()
    assert content(record) == whole


def shown(value: Any, folder: Path) -> None:
    """A board of bent records, as everything that a board is written as."""
    which, changes = value
    store = Store(folder)
    for place, found in enumerate(known()):
        put(store, sealed(bent(json.loads(found), changes)) if place in which else found)
    out(folder)


def out(folder: Path) -> None:
    """All text that a folder gives."""
    board = read(folder)
    for text in (board.markdown(), board.csv(), board.json(), board.tex(), board.console(110)):
        assert "\x1b" not in text and "\x00" not in text
    json.loads(board.json(), parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} in JSON")


def paged(value: Any, folder: Path) -> None:
    """The page of a board of bent records, and its report."""
    from kdbench import page

    shown(value, folder)
    board = read(folder)
    page.write(board, folder / "out", folder)
    text = (folder / "out" / "index.html").read_text("utf-8")
    assert "<script>alert" not in text and "<img src=x" not in text
    assert "\x1b" not in text and "\x00" not in text


def beside(value: Any, folder: Path) -> None:
    """Bent or torn files beside sound records."""
    name, changes, damage = value
    for found in known():
        put(Store(folder), found)
    files = around()
    for other, tree in files.items():
        write_atomically(folder / other, json.dumps(tree).encode())
    text = json.dumps(bent(files[name], changes)).encode()
    write_atomically(folder / name, torn(text, damage) if damage else text)
    out(folder)
    from kdbench.leaderboard.agreements import agreements

    board = read(folder)
    agreements(board, folder)
    answered(board).markdown()


@cache
def around() -> dict[str, Any]:
    """What may lie beside the records."""
    origin = {"distribution": "d", "version": "1"}
    study = BOARD.with_name("capacity-gap-mini")
    spec = json.loads((BOARD / "suite.json").read_bytes())
    claims = json.loads((study / "suite.json").read_bytes())
    spec |= {key: claims[key] for key in ("report", "claims") if key in claims}
    speed = next(iter(BOARD.parent.glob("*/speed/*.json")), None)
    step = {
        "method": "kd", "origin": origin, "step_ms": [1.0] * 6, "reference_ms": [1.0] * 6,
        "cpu_ms": [1.0] * 6, "reference_cpu_ms": [1.0] * 6, "parts_ms": {"data": 0.5},
        "unaccounted": 0.0, "discarded": 0, "quiet": True, "peak_memory_mb": 1.0,
        "teacher_passes": 1.0, "multiply_adds": 1, "utilisation": None, "warmup_seconds": 1.0,
    }  # fmt: skip
    made = {
        "pair": "resnet8:resnet8", "batch_size": 64, "image_shape": [1, 8, 8], "classes": 10,
        "rows": 64, "reference": "kd", "methods": [step], "pair_ms": {"teacher": 1.0},
        "environment": json.loads(known()[0])["environment"], "peaks_gflops": {"conv": 1.0},
    }  # fmt: skip
    values = MetricValues(metric="m", code=HASH, origins={}, values={HASH: {HASH: 0.5}})
    return {
        "suite.json": spec,
        "metrics/m.json": json.loads(values.content()) | {"origins": {HASH: origin}},
        "speed/x.json": json.loads(speed.read_bytes()) if speed else made,
        "agreements.json": {"tables": [{"rows": [HASH, "b"], "values": [[], [0.5]]}]},
    }


def merged(value: Any, folder: Path) -> None:
    """A stranger's folder or Parquet into a store of one's own, which stays sound."""
    kind, which, changes, damage = value
    mine, theirs = Store(folder / "mine"), Store(folder / "theirs")
    put(mine, known()[0])
    before = {path: path.read_bytes() for path in sorted(mine.root.rglob("*.json"))}
    files = [
        sealed(bent(json.loads(found), changes)) if place in which else found
        for place, found in enumerate(known())
    ]
    if kind == "folder":
        for found in files:
            put(theirs, found)
        write_atomically(
            theirs.root / "suite.json", BoardSpec(suite="digits").model_dump_json().encode()
        )
    else:
        paths = [put(theirs, found).relative_to(theirs.root).as_posix() for found in files]
        table = pa.table({"file": paths, "record": [f.decode(errors="replace") for f in files]})
        target = io.BytesIO()
        pq.write_table(table, target)
        (folder / "x.parquet").write_bytes(
            torn(target.getvalue(), damage) if damage else target.getvalue()
        )
    try:
        merge(
            from_folder(theirs.root) if kind == "folder" else read_parquet(folder / "x.parquet"),
            mine,
        )
    except KDBenchError:
        assert {path: path.read_bytes() for path in sorted(mine.root.rglob("*.json"))} == before
        raise
    mine.records()


@cache
def registry() -> Any:
    """What is installed."""
    from kdbench.registry import scan

    return scan()


def reproduced(value: Any, folder: Path) -> None:
    """A bent record up to the moment where its trial would run."""
    from kdbench.cli.picking import pick_file
    from kdbench.cli.reproduction import asked
    from kdbench.cli.trust import concerns, permit

    which, changes = value
    path = put(Store(folder), sealed(bent(json.loads(known()[which]), changes)))
    old = pick_file(path).record
    permit(concerns(old, registry(), None), path, yes=False)
    asked(old, registry(), None, None)


_WHICH = st.sets(st.integers(0, 4), min_size=1)
TARGETS = {
    "records, torn": (st.tuples(st.integers(0, 4), DAMAGE), damaged),
    "records, bent": (st.tuples(_WHICH, CHANGES), shown, 0.3),
    "pages of bent records": (st.tuples(_WHICH, CHANGES), paged, 0.01),
    "files beside records": (
        st.tuples(st.sampled_from(sorted(around())), CHANGES, st.none() | DAMAGE), beside, 0.1,
    ),
    "imports": (
        st.tuples(st.sampled_from(("folder", "parquet")), _WHICH, CHANGES, st.none() | DAMAGE),
        merged, 0.2,
    ),
    "records, reproduced": (st.tuples(st.integers(0, 4), CHANGES), reproduced, 0.05),
}  # fmt: skip
