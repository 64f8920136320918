"""What every installed transfer policy keeps; no policy is named here."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import pytest
import torch

from kdbench.api import Seen, Transfer
from kdbench.data import Split, Views
from kdbench.registry.facts import describe

ROWS, EPOCH = 24, 3


def installed() -> Iterator[tuple[str, Transfer]]:
    """Every policy that an entry point yields."""
    for entry in entry_points(group="kdbench"):
        hook = getattr(entry.load(), "kdbench_transfers", None)
        yield from hook() if hook else ()


POLICIES = dict(sorted(installed()))
every = pytest.mark.parametrize("name", POLICIES)
shapes = pytest.mark.parametrize("shape", [(3, 9, 7), (1, 8, 8)], ids=str)


def views(name: str, shape: tuple[int, int, int], seed: int = 5) -> Views:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (ROWS, *shape), generator=draw, dtype=torch.uint8)
    rows = Split(pixels.contiguous(memory_format=torch.channels_last), torch.arange(ROWS) % 10, "")
    policy = {name: POLICIES[name]}
    return Views(
        rows, range(ROWS), shift=1, flip=True, device="cpu", seed=seed, policy=policy
    )  # fmt: skip


def equal(first: Seen, second: Seen) -> bool:
    parts = ("images", "labelled", "index")
    return all(torch.equal(getattr(first, part), getattr(second, part)) for part in parts)


def part(seen: Seen, rows: Any) -> Seen:
    return Seen(images=seen.images[rows], labelled=seen.labelled[rows], index=seen.index[rows])


def test_there_are_policies() -> None:
    assert len(POLICIES) >= 9


@every
def test_a_policy_is_a_documented_constant(name: str) -> None:
    policy: Any = POLICIES[name]
    assert replace(policy) == policy
    assert hash(replace(policy)) == hash(policy)
    facts = describe("transfer", name, policy)
    assert facts["summary"].endswith(".")
    assert [key for key, field in facts["fields"].items() if not field["doc"]] == []
    assert "*Differs from the reference:*" in facts["doc"]


@every
@shapes
def test_images_stay_images(name: str, shape: tuple[int, int, int]) -> None:
    seen = views(name, shape).seen(torch.arange(ROWS), EPOCH)
    assert (seen.images.shape, seen.images.dtype) == ((ROWS, *shape), torch.float32)
    assert 0 <= seen.images.min() <= seen.images.max() <= 1


@every
@shapes
def test_what_is_seen_follows_from_seed_epoch_and_rows(
    name: str, shape: tuple[int, int, int]
) -> None:
    rows = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))[:16]
    drawn = views(name, shape)
    first = drawn.seen(rows, EPOCH)
    drawn.seen(rows, EPOCH + 1)
    assert equal(drawn.seen(rows, EPOCH), first)
    torch.rand(7)
    assert equal(views(name, shape).seen(rows, EPOCH), first)


@every
@shapes
def test_a_row_looks_the_same_beside_whatever_others_unless_it_is_mixed_with_them(
    name: str, shape: tuple[int, int, int]
) -> None:
    drawn = views(name, shape)
    whole = drawn.seen(torch.arange(ROWS), EPOCH)
    alone = [drawn.seen(torch.tensor([row]), EPOCH) for row in range(ROWS)]
    pairs = drawn.seen(torch.tensor([7, 3]), EPOCH)
    if POLICIES[name].mixes:
        assert not torch.equal(pairs.images, whole.images[[7, 3]])
    else:
        assert equal(pairs, part(whole, [7, 3]))
        assert all(equal(one, part(whole, [row])) for row, one in enumerate(alone))


@every
def test_rows_have_labels_where_they_are_themselves(name: str) -> None:
    policy, shape = POLICIES[name], (3, 9, 7)
    seen = views(name, shape).seen(torch.arange(ROWS), EPOCH)
    own = seen.index >= 0
    assert torch.equal(seen.index[own], torch.arange(ROWS)[own])
    assert own.any() != policy.mixes
    assert seen.labelled.any() != (policy.mixes or policy.hides)
    assert not (seen.labelled & ~own).any()
