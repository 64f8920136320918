"""A training that is put away and taken up again is the same training, to the bit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdbench.api import Batch, Losses, Method, Outputs, Setup
from kdbench.functional import cross_entropy
from kdbench.record import Standing, standing
from kdbench.testing import Bench
from kdbench.testing.support import installed
from kdbench.train.snapshot import Snapshot, packed, restore, snapshot, unpacked

HERE = Standing(3, 8, "e", "t")


def away(bench: Bench) -> Snapshot:
    """Through a file, as a run does it."""
    return unpacked(packed(snapshot(bench.runner), HERE))[0]


def same(one: Snapshot, two: Snapshot) -> bool:
    equal = all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    plain, other = ({k: v for k, v in s.plain.items() if k != "seconds"} for s in (one, two))
    return equal and one.tensors.keys() == two.tensors.keys() and plain == other


def taken_up(method: Method, cut: int) -> tuple[Snapshot, dict[str, float]]:
    first = Bench(method)
    first.train(cut)
    second = Bench(method)
    restore(second.runner, away(first))
    assert same(away(second), away(first))
    losses = second.train()
    return snapshot(second.runner), losses


@pytest.mark.parametrize("name", ["ft", "crd", "dot", "metadistil", "rco", "tfkd_self"])
def test_wherever_it_is_put_away_everything_ends_in_the_same_bits(name: str) -> None:
    method = installed()[name]
    whole = Bench(method)
    losses = whole.train()
    for cut in range(1, whole.rig.total):
        found, last = taken_up(method, cut)
        assert same(found, snapshot(whole.runner)), cut
        assert last == losses, cut


class Memory(nn.Module):
    """Counts, and has a buffer that comes with the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("last", None)


@dataclass(frozen=True)
class Odd(Method):
    """Its state grows, is replaced, counts in Python and has an optimizer of its own."""

    def init(self, setup: Setup) -> Any:
        aside = nn.Parameter(torch.ones(2))
        return {
            "memory": Memory(), "queue": [], "mean": torch.zeros(()), "aside": aside,
            "adam": torch.optim.Adam([aside], 0.1),
        }  # fmt: skip

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        memory, mean = state["memory"], student.logits.detach().mean()
        memory.calls += 1
        old = mean if memory.last is None else memory.last
        memory.last = mean
        state["queue"].append(mean * torch.rand(()))
        state["mean"] = 0.9 * state["mean"] + mean
        state["aside"].grad = state["aside"].detach() * mean
        state["adam"].step()
        known = old + state["mean"] + torch.stack(state["queue"]).sum() + memory.calls
        return {"hard": hard, "odd": hard * known * state["aside"].detach().sum()}


def test_state_that_grows_is_replaced_or_counts_goes_on_too() -> None:
    whole = Bench(Odd())
    losses = whole.train()
    assert whole.runner.state["memory"].calls == 8
    for cut in (1, 4, 7):
        found, last = taken_up(Odd(), cut)
        assert same(found, snapshot(whole.runner)), cut
        assert last == losses


def test_layouts_are_kept_because_sums_in_another_order_have_other_bits() -> None:
    bench = Bench(installed()["scratch"])
    bench.train(2)
    other = Bench(installed()["scratch"])
    weight = bench.runner.student_weights[0]
    momentum = bench.runner.optimizer.state[weight]
    turned = momentum["momentum_buffer"].to(memory_format=torch.channels_last)
    momentum["momentum_buffer"] = turned.clone()
    restore(other.runner, away(bench))
    found = other.runner.optimizer.state[other.runner.student_weights[0]]["momentum_buffer"]
    assert found.stride() == turned.stride() != weight.stride()
    assert torch.equal(found, turned)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Bench(installed()["fitnet"]),
        lambda: Bench(installed()["scratch"], student="resnet8[width=0.5]"),
        lambda: Bench(installed()["scratch"], student="resnet14[width=0.25]"),
        lambda: Bench(installed()["metadistil"]),
    ],
)
def test_another_kind_of_training_is_refused(wrong: Callable[[], Bench]) -> None:
    with pytest.raises(ValueError):
        restore(wrong().runner, away(Bench(installed()["scratch"])))


def test_what_no_file_can_hold_is_refused_when_it_is_put_away() -> None:
    bench = Bench(installed()["scratch"])
    bench.runner.optimizer.param_groups[0]["hook"] = print
    with pytest.raises(TypeError, match="builtin_function_or_method cannot be put away"):
        snapshot(bench.runner)


def test_a_checkpoint_says_where_it_stands_before_its_tensors_are_read(tmp_path: Path) -> None:
    content = packed(snapshot(Bench(installed()["scratch"]).runner), HERE, curve=[[0.5, {}]])
    path = tmp_path / "one.safetensors"
    path.write_bytes(content)
    assert standing(path) == HERE
    assert HERE.share == 3 / 8
    assert unpacked(content)[1]["curve"] == [[0.5, {}]]
    tensors: dict[str, Tensor] = unpacked(content)[0].tensors
    assert tensors


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"\2" + bytes(7) + b"{}"])
def test_what_is_no_checkpoint_stands_nowhere(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.safetensors"
    assert standing(path) is None
    path.write_bytes(content)
    assert standing(path) is None
    with pytest.raises(ValueError):
        unpacked(content)


def test_a_torn_checkpoint_is_refused() -> None:
    content = packed(snapshot(Bench(installed()["scratch"]).runner), HERE)
    with pytest.raises(ValueError):
        unpacked(content[:-100])
