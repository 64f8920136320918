"""Weights and checkpoints from strangers: pickles that act, hostile heads, bent trees."""

import json
import pickle
import struct
from functools import cache
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from hostile_trees import CHANGES, DAMAGE, bent, torn
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from kdbench.errors import DataError
from kdbench.models.weights import load
from kdbench.record import Standing, standing
from kdbench.train.snapshot import packed, restore, snapshot, unpacked


def network() -> nn.Module:
    """A small network with weights and buffers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.1))


def runner() -> Any:
    """As much of a runner as a checkpoint holds, after one step."""
    student = network()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    student(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    state = {"head": nn.Linear(2, 2), "bank": [torch.zeros(3), torch.ones(2)]}
    return SimpleNamespace(
        student=student, state=state, private=None, optimizer=optimizer, sums={"x": torch.ones(())},
        heard=None, notes=[], seconds=0.0,
        device=torch.device("cpu"), done=1, quizzed=0, updates=1, restarts=0,
    )  # fmt: skip


class Acts:
    """A payload that a pickle runs where it is trusted."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.canary)!r}, 'w').close()",)


@cache
def files() -> dict[str, bytes]:
    """Sound files of the small network."""
    weights = network().state_dict()
    zipped, legacy = BytesIO(), BytesIO()
    torch.save(weights, zipped)
    torch.save(weights, legacy, _use_new_zipfile_serialization=False)
    return {
        "x.safetensors": save(weights), "x.pth": zipped.getvalue(), "y.pth": legacy.getvalue(),
    }  # fmt: skip


def pickled(value: Any, folder: Path) -> None:
    """Weights beside an object that acts when it is unpickled."""
    name, kind, damage = value
    canary = folder / "canary"
    acts = Acts(canary)
    tree: Any = {**network().state_dict(), "0.weight": acts} if kind == "in" else acts
    if kind == "bare":
        content = pickle.dumps(tree)
    else:
        buffer = BytesIO()
        torch.save(tree, buffer, _use_new_zipfile_serialization=kind != "legacy")
        content = buffer.getvalue()
    (folder / name).write_bytes(torn(content, damage) if damage else content)
    try:
        load(network(), folder / name)
    finally:
        assert not canary.exists()


def damaged(value: Any, folder: Path) -> None:
    """Torn weights."""
    name, damage = value
    (folder / name).write_bytes(torn(files()[name], damage))
    load(network(), folder / name)


def headed(value: Any, folder: Path) -> None:
    """A safetensors file whose head lies."""
    changes, claimed = value
    content = files()["x.safetensors"]
    size = struct.unpack("<Q", content[:8])[0]
    head = json.dumps(bent(json.loads(content[8 : 8 + size]), changes)).encode()
    length = len(head) if claimed is None else claimed
    path = folder / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + head + content[8 + size :])
    standing(path)
    load(network(), path)


_WHERE = Standing(1, 8, "group", "teacher")


@cache
def checkpoint() -> bytes:
    """A checkpoint of the small runner."""
    return packed(snapshot(runner()), _WHERE, curve=[], seconds={}, losses=None)


def taken_up(content: bytes, path: Path) -> None:
    """Read a checkpoint as a run does: an unreadable one is a `ValueError`, told as DataError."""
    path.write_bytes(content)
    where = standing(path)
    if where is None:
        raise DataError("no checkpoint", "the training starts anew", "nothing is to be done")
    assert 0 <= where.share <= 1
    try:
        taken, _ = unpacked(path.read_bytes())
        restore(runner(), taken)
    except (ValueError, KeyError) as error:  # what the callers catch
        raise DataError("a checkpoint cannot be read", str(error) or "?", "starts anew") from error


def put_away(value: Any, folder: Path) -> None:
    """A torn checkpoint."""
    taken_up(torn(checkpoint(), value), folder / "x.safetensors")


def put_away_bent(value: Any, folder: Path) -> None:
    """A checkpoint whose plain part is bent."""
    taken = snapshot(runner())
    whole = {"runner": taken.plain, "standing": {**vars_of(_WHERE)}, "curve": []}
    tree = bent(whole, value)
    content = save(
        taken.tensors,
        {str(n).encode(errors="replace").decode(): json.dumps(one) for n, one in tree.items()},
    )
    taken_up(content, folder / "x.safetensors")


def vars_of(where: Standing) -> dict[str, Any]:
    """Its fields."""
    return {name: getattr(where, name) for name in where.__slots__}


def carded(value: Any, folder: Path) -> None:
    """The card of a teacher in the cache."""
    from kdbench.teacher.opening import _hashes

    changes, damage = value
    text = json.dumps(bent({"anchors": {"1.000000": "0" * 64}}, changes)).encode()
    (folder / "card.json").write_bytes(torn(text, damage) if damage else text)
    _hashes(folder / "card.json")


_NAMES = st.sampled_from(("x.safetensors", "x.pth", "y.pth"))
_LENGTHS = st.none() | st.sampled_from((0, 1, 2**20, 2**32, 10**10, 2**63, 2**64 - 1))
TARGETS = {
    "pickles that act": (
        st.tuples(
            st.sampled_from(("x.pth", "x.safetensors", "x.bin", "x.npz", "x")),
            st.sampled_from(("in", "alone", "bare", "legacy")), st.none() | DAMAGE,
        ),
        pickled,
    ),
    "weights, torn": (st.tuples(_NAMES, DAMAGE), damaged),
    "heads of safetensors": (st.tuples(CHANGES, _LENGTHS), headed),
    "checkpoints, torn": (DAMAGE, put_away),
    "checkpoints, bent": (CHANGES, put_away_bent),
    "cards of teachers": (st.tuples(CHANGES, st.none() | DAMAGE), carded),
}  # fmt: skip
