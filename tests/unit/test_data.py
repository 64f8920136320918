import hashlib
import json
import logging
import threading
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as vision

from kdbench.api import DataSet, Rows
from kdbench.data import (
    Split,
    Views,
    decoded,
    derive_seed,
    open_split,
    open_splits,
    transfer_rows,
)
from kdbench.errors import ContractError, DataError, StoreError, UsageError

SHAPE = (3, 6, 5)

# Of this code when it was written: a change would silently change every result.
GOLDEN_SEED = 7238820226073121488
GOLDEN_IDS = [42, 26, 29, 12, 35, 19, 25, 9]
GOLDEN_ORDER = [14, 22, 52, 40, 8, 30, 36, 48]


class CountedRows(Rows):
    def __init__(self, data, split):
        self.data, self.digest = data, f"{data.version}-{split}"
        self.labels = np.arange(data.sizes[split]) % data.num_classes

    def images(self, rows):
        self.data.decoded.extend(rows)
        if self.data.explodes_at in rows:
            raise self.data.error
        channels, height, width = SHAPE
        return np.stack(
            [
                np.random.default_rng(row).integers(0, 256, (height, width, channels), np.uint8)
                for row in rows
            ]
        )


@dataclass(frozen=True)
class Counted(DataSet):
    num_classes = 4
    image_shape = SHAPE
    flips = False

    def __post_init__(self):
        object.__setattr__(self, "decoded", [])
        object.__setattr__(self, "sizes", MappingProxyType({"train": 700, "test": 20}))
        object.__setattr__(self, "version", "a")
        object.__setattr__(self, "explodes_at", None)
        object.__setattr__(self, "error", None)

    def set(self, **changes):
        for name, value in changes.items():
            object.__setattr__(self, name, value)

    def load(self, root, split):
        return CountedRows(self, split)


@pytest.fixture
def data():
    return Counted()


@pytest.fixture
def train(data, tmp_path):
    def opened(rows=None):
        return open_split(data, "counted", "", tmp_path, "train", rows)

    return opened


def pixels_of(rows):
    return torch.from_numpy(CountedRows(Counted(), "train").images(list(rows))).permute(0, 3, 1, 2)


def entry(tmp_path, name):
    (found,) = (tmp_path / "pixels").glob(f"*/{name}")
    return found


# --- decoding once --------------------------------------------------------------------------------


def test_a_split_has_the_pixels_and_labels_of_its_rows_in_order(train):
    split = train(range(10, 30))
    assert torch.equal(split.images, pixels_of(range(10, 30)))
    assert split.labels.tolist() == [row % 4 for row in range(10, 30)]
    assert (split.images.dtype, split.labels.dtype, len(split)) == (torch.uint8, torch.int64, 20)
    assert split.images.is_contiguous(memory_format=torch.channels_last)


def test_rows_are_decoded_once_and_only_those_asked_for(train, data):
    train(range(5))
    train(range(5))
    assert data.decoded == [0, 1, 2, 3, 4]


def test_a_part_of_what_is_decoded_is_decoded_no_more(train, data):
    train()
    data.decoded.clear()
    assert torch.equal(train(slice(600, 650)).images, pixels_of(range(600, 650)))
    assert data.decoded == []


def test_a_larger_range_decodes_only_chunks_that_no_entry_holds(train, data):
    train(range(512))
    data.decoded.clear()
    assert torch.equal(train().images, pixels_of(range(700)))
    assert data.decoded == list(range(512, 700))


def test_the_digest_is_of_exactly_these_rows_however_they_are_stored(train, data, tmp_path):
    alone = open_split(data, "counted", "", tmp_path / "other", "train", range(100)).digest
    whole = train().digest
    assert train(range(100)).digest == alone
    assert len({alone, whole, train(range(1, 101)).digest, train(range(99)).digest}) == 4


def test_another_label_gives_another_digest(train, data):
    before = train(range(8)).digest
    data.set(num_classes=2)
    assert train(range(8)).digest != before


def test_changed_content_is_decoded_anew(train, data):
    train(range(3))
    data.set(version="b")
    train(range(3))
    assert data.decoded == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    "harm", ["truncated", "changed", "no sidecar", "empty sidecar", "other shape"]
)
def test_a_torn_or_changed_entry_is_decoded_again(train, data, tmp_path, harm, caplog):
    digest = train(range(4)).digest
    folder = entry(tmp_path, "0-4")
    file = folder / "pixels.npy"
    if harm == "truncated":
        file.write_bytes(file.read_bytes()[:-7])
    elif harm == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"\xaa")
    elif harm == "no sidecar":
        (folder / "about.json").unlink()
    elif harm == "empty sidecar":
        (folder / "about.json").write_text("{}")
    else:
        np.save(file, np.zeros((4, 2, 2, 3), np.uint8))
    data.decoded.clear()
    with caplog.at_level(logging.WARNING):
        again = train(range(4))
    assert (again.digest, data.decoded) == (digest, [0, 1, 2, 3])
    assert torch.equal(again.images, pixels_of(range(4)))
    assert "decoded pixels in" in caplog.text


def test_of_a_large_entry_spaced_rows_are_verified(train, data, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded, "WHOLE", 0)
    train()
    array = np.load(entry(tmp_path, "0-700") / "pixels.npy", mmap_mode="r+")
    array[-1] ^= 1
    array.flush()
    data.decoded.clear()
    assert torch.equal(train().images, pixels_of(range(700)))
    assert len(data.decoded) == 700


def test_a_decode_that_fails_leaves_nothing_behind(train, data, tmp_path):
    data.set(explodes_at=300, error=DataError("row 300 is broken"))
    with pytest.raises(DataError, match="row 300 is broken"):
        train()
    assert list((tmp_path / "pixels").glob("*/*")) == []
    data.set(explodes_at=None)
    assert len(train()) == 700


def test_the_leftovers_of_a_killed_process_are_removed(train, tmp_path):
    train(range(2))
    left = entry(tmp_path, "0-2").parent / ".part-killed"
    left.mkdir()
    train(range(3))
    assert not left.exists()


def test_concurrent_openers_decode_once(train, data):
    splits = []
    threads = [threading.Thread(target=lambda: splits.append(train())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(splits) == 4
    assert data.decoded == list(range(700))


def test_writing_to_a_split_does_not_change_the_cache(train):
    train(range(4)).images.zero_()
    assert torch.equal(train(range(4)).images, pixels_of(range(4)))


def test_an_error_while_reading_the_source_is_not_blamed_on_the_cache(train, data):
    data.set(explodes_at=0, error=FileNotFoundError("gone"))
    with pytest.raises(DataError, match="cannot be read at row 0"):
        train()


def test_an_unwritable_cache_is_named(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="another place with KDBENCH_CACHE"):
        open_split(data, "counted", "", tmp_path / "file", "train")


def test_a_split_too_big_for_memory_is_refused_before_decoding(train, data, monkeypatch):
    monkeypatch.setattr(
        decoded.os, "sysconf", {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}.__getitem__
    )
    with pytest.raises(DataError, match="GiB may be used"):
        train()
    assert data.decoded == []
    assert len(train(range(200))) == 200  # 18,000 of 20,480 bytes


# --- what a data set must keep --------------------------------------------------------------------


@pytest.mark.parametrize("rows", [range(701), slice(5, 5), range(0, 10, 2), range(-3, 4)])
def test_rows_that_are_not_there_are_a_usage_error(train, rows):
    with pytest.raises(UsageError, match="its train split has 700"):
        train(rows)


def test_other_rows_than_declared_break_the_contract(train, data, monkeypatch):
    data.set(num_classes=3)
    monkeypatch.setattr(Counted, "load", lambda self, root, split: CountedRows(Counted(), split))
    with pytest.raises(ContractError, match="labels run from 0 to 3"):
        train()
    data.set(num_classes=4, sizes={"train": 699})
    with pytest.raises(ContractError, match="expected 699 integers"):
        train()


def test_images_of_another_shape_break_the_contract(train, data):
    data.set(image_shape=(3, 5, 6))
    with pytest.raises(ContractError, match=r"gave uint8 \(2, 6, 5, 3\)"):
        train(range(2))


# --- splits ---------------------------------------------------------------------------------------


def test_validation_is_cut_from_the_end_of_train_and_everything_is_lazy(data, tmp_path):
    splits = open_splits(data, "counted", root="", cache=tmp_path, validation_rows=100, rows=50)
    assert (splits.num_train, data.decoded) == (50, [])
    assert torch.equal(splits.train.images, pixels_of(range(50)))
    assert torch.equal(splits.validation.images, pixels_of(range(600, 700)))
    assert len(splits.test) == 20
    assert splits.train is splits.train
    assert data.decoded == [*range(50), *range(600, 700), *range(20)]


def test_without_validation_rows_train_is_whole(data, tmp_path):
    splits = open_splits(data, "counted", root="", cache=tmp_path, validation_rows=0)
    assert splits.num_train == len(splits.train) == 700
    assert splits.validation is None


@pytest.mark.parametrize(("validation_rows", "rows"), [(700, None), (600, 101), (0, 701), (0, 0)])
def test_more_rows_than_declared_are_a_usage_error(data, tmp_path, validation_rows, rows):
    with pytest.raises(UsageError, match="has 700"):
        open_splits(
            data, "counted", root="", cache=tmp_path, validation_rows=validation_rows, rows=rows
        )


def test_the_quiz_split_is_the_end_of_the_transfer_set():
    assert transfer_rows(1000, 200, 0.1) == (range(180), range(180, 200))
    assert transfer_rows(50, None, 0.0) == (range(50), range(50, 50))


@pytest.mark.parametrize(
    ("n_train", "rows", "quiz"), [(100, 101, 0.0), (10, 4, 0.9), (10, 4, 0.01)]
)
def test_impossible_transfer_sets_are_usage_errors(n_train, rows, quiz):
    with pytest.raises(UsageError):
        transfer_rows(n_train, rows, quiz)


# --- seeds ----------------------------------------------------------------------------------------


def test_seeds_differ_by_seed_name_and_counter_and_never_change():
    seeds = [
        derive_seed(*key)
        for key in [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, "a,1")]
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    text = hashlib.sha256(json.dumps([7, "order", 3], separators=(",", ":")).encode()).hexdigest()
    assert derive_seed(7, "order", 3) == int(text[:16], 16) // 2 == GOLDEN_SEED


# --- views ----------------------------------------------------------------------------------------


def some_split(rows=60, channels=3, height=9, width=7):
    images = np.random.default_rng(0).integers(0, 256, (rows, height, width, channels), np.uint8)
    return Split(torch.from_numpy(images).permute(0, 3, 1, 2), torch.arange(rows), "")


def views(split=None, rows=slice(None), *, shift=2, flip=True, seed=0):
    return Views(split or some_split(), rows, shift=shift, flip=flip, device="cpu", seed=seed)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("shift", "flip"), [(2, True), (2, False), (0, True), (0, False)])
def test_views_equal_torchvision_bit_for_bit(channels, shift, flip):
    split = some_split(channels=channels)
    drawn = views(split, shift=shift, flip=flip)
    sides, checked = 2 * shift + 1, set()
    for epoch in range(3):
        rows = drawn.order(epoch)[:20]
        batch, ids = drawn.batch(rows, epoch), drawn.ids(epoch)
        for image, row in zip(batch, rows.tolist(), strict=True):
            place, mirrored = divmod(int(ids[row]), 2) if flip else (int(ids[row]), 0)
            expected = vision.pad(split.images[row], [shift])
            expected = vision.crop(expected, place // sides, place % sides, 9, 7)
            expected = vision.horizontal_flip(expected) if mirrored else expected
            assert torch.equal(image, expected.float() / 255)
            checked.add((row, int(ids[row])))
    assert len(checked) >= 20 + 30 * bool(shift)


def test_a_view_depends_on_seed_epoch_and_row_alone():
    all_rows, some_rows = views(), views(rows=[3, 40, 11])
    for epoch in (0, 5):
        whole = all_rows.batch(torch.arange(60), epoch)
        assert torch.equal(all_rows.batch(torch.tensor([40, 3]), epoch), whole[[40, 3]])
        assert torch.equal(some_rows.batch(torch.tensor([11, 40, 3]), epoch), whole[[11, 40, 3]])
        assert torch.equal(views().batch(torch.arange(60), epoch), whole)
    assert not torch.equal(all_rows.ids(0), all_rows.ids(1))
    assert not torch.equal(all_rows.ids(0), views(seed=1).ids(0))


def test_the_plan_of_an_epoch_never_changes():
    drawn = views()
    assert drawn.ids(3)[:8].tolist() == GOLDEN_IDS
    assert drawn.order(3)[:8].tolist() == GOLDEN_ORDER


def test_all_views_are_drawn_equally_often():
    drawn = views(some_split(rows=20_000, channels=1, height=2, width=2), shift=1)
    counts = torch.bincount(drawn.ids(0), minlength=drawn.per_row).double()
    expected = 20_000 / 18
    assert drawn.per_row == len(counts) == 18
    # chi-square, 17 degrees of freedom, p = 0.001
    assert ((counts - expected) ** 2 / expected).sum() < 40.8


def test_the_order_is_a_permutation_that_changes_with_the_epoch_and_the_seed():
    drawn = views()
    assert drawn.order(0).sort().values.tolist() == list(range(60))
    assert drawn.order(0).tolist() == drawn.order(0).tolist() != drawn.order(1).tolist()
    assert drawn.order(0).tolist() != views(seed=1).order(0).tolist()


def test_leaving_rows_out_keeps_the_order_of_the_others():
    assert views(rows=range(50)).order(2).tolist() == [
        row for row in views().order(2).tolist() if row < 50
    ]


def test_the_order_does_not_depend_on_the_views():
    assert (
        views(flip=False, shift=0).order(0).tolist() == views(flip=True, shift=2).order(0).tolist()
    )


def test_plain_rows_are_the_images_themselves_in_unit_range():
    split = some_split()
    plain = views(split, rows=slice(50, 60)).plain(torch.tensor([59, 50]))
    assert torch.equal(plain, split.images[[59, 50]].float() / 255)
    assert plain.is_contiguous(memory_format=torch.channels_last)
    drawn = views(split)
    assert 0 <= drawn.plain_id < drawn.per_row


@pytest.mark.parametrize("row", [-1, 0, 9, 60])
def test_rows_that_take_no_part_are_refused(row):
    drawn = views(rows=[20, 30, 10])
    with pytest.raises((IndexError, RuntimeError), match=r"(?i)index out of range|out of bounds"):
        drawn.batch(torch.tensor([20, row]), 0)


def test_padded_pixels_that_exceed_memory_are_refused(monkeypatch):
    monkeypatch.setattr(
        decoded.os, "sysconf", {"SC_PHYS_PAGES": 1, "SC_PAGE_SIZE": 4096}.__getitem__
    )
    with pytest.raises(DataError, match="the padded transfer set"):
        views()
