import io
import pickle
import shutil
from dataclasses import dataclass, replace
from types import MappingProxyType

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kdbench.api import DataSet
from kdbench.errors import DataError
from kdbench_datasets import digits, hub, parquet
from kdbench_datasets.digits import Digits
from kdbench_datasets.files import content
from kdbench_datasets.hub import CIFAR10, CIFAR100, MNIST, FashionMNIST, HubImages
from kdbench_datasets.parquet import Parquet

# Of this code when it was written: another order would silently change every result.
GOLDEN_TRAIN = "99e952554775338b"
GOLDEN_TEST = "d62028e404857ad4"


def pixels(row, channels=3, height=4, width=5):
    return np.random.default_rng(row).integers(0, 256, (height, width, channels), np.uint8)


def encoded(array, kind="PNG"):
    file = io.BytesIO()
    image = Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)
    image.save(file, kind, lossless=True)
    return file.getvalue()


def write(path, images, labels, *, image="image", label="label", names=None, group=4):
    """A Parquet file in the hub's schema, in row groups of `group`."""
    features = {
        image: datasets.Image(),
        label: datasets.ClassLabel(names=names) if names else datasets.Value("int64"),
    }
    cells = [{"bytes": data, "path": None} for data in images]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({image: pa.array(cells, kind), label: pa.array(labels, pa.int64())})
    table = table.replace_schema_metadata(datasets.Features(features).arrow_schema.metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)


@dataclass(frozen=True)
class Tiny(HubImages):
    name, hub, image, label = "tiny", "someone/tiny", "img", "fine_label"
    num_classes = 3
    image_shape = (3, 4, 5)
    sizes = MappingProxyType({"train": 9, "test": 3})


@pytest.fixture(autouse=True)
def hub_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    return tmp_path / "hub"


@pytest.fixture
def root(tmp_path):
    """Nine training rows in two shards and three test rows of `Tiny`."""
    folder, columns = tmp_path / "root" / "tiny", {"image": "img", "label": "fine_label"}
    for shard, part in enumerate((range(5), range(5, 9))):
        images, labels = [encoded(pixels(row)) for row in part], [row % 3 for row in part]
        write(folder / f"train-0000{shard}-of-00002.parquet", images, labels, **columns)
    images = [encoded(pixels(row)) for row in (20, 21, 22)]
    write(folder / "test.parquet", images, [0, 1, 2], **columns)
    return tmp_path / "root"


@pytest.fixture
def folder(tmp_path):
    """A user's own: six training and three test rows, labels without names."""
    made = tmp_path / "mine"
    write(made / "train.parquet", [encoded(pixels(row)) for row in range(6)], [0, 1, 2, 0, 1, 2])
    write(made / "test.parquet", [encoded(pixels(row)) for row in range(10, 13)], [0, 1, 2])
    return made


# --- facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [Digits(), CIFAR10(), CIFAR100(), MNIST(), FashionMNIST()],
    ids=lambda d: type(d).__name__,
)
def test_facts_agree_with_each_other(data):
    assert isinstance(data, DataSet)
    assert len(data.class_names) == len(set(data.class_names)) == data.num_classes
    assert len(data.mean) == len(data.std) == data.image_shape[0]
    assert set(data.sizes) == {"train", "test"}
    assert data.licence
    assert data.source
    assert pickle.loads(pickle.dumps(data)) == data


def test_cifar100_has_twenty_groups_of_five_classes():
    tree, names = CIFAR100().class_tree, CIFAR100().class_names
    assert np.bincount(tree).tolist() == [5] * 20
    shark = tree[names.index("shark")]
    fish = {name for name, group in zip(names, tree, strict=True) if group == shark}
    assert fish == {"aquarium_fish", "flatfish", "ray", "shark", "trout"}


def test_only_images_whose_mirror_keeps_its_class_are_mirrored():
    flips = {
        name: data.flips for module in (digits, hub) for name, data in module.kdbench_datasets()
    }
    assert flips == {
        "digits": False,
        "mnist": False,
        "cifar10": True,
        "cifar100": True,
        "fashion_mnist": True,
    }


# --- digits ---------------------------------------------------------------------------------------


def test_the_digits_are_all_of_scikit_learns_and_no_row_twice():
    from sklearn.datasets import load_digits

    train, test = (Digits().load("", split) for split in ("train", "test"))
    both = np.concatenate([train.images(range(900)), test.images(range(897))]).reshape(-1, 64)
    scaled = np.floor(load_digits().data * 255 / 16 + 0.5).astype(np.uint8)
    assert sorted(map(bytes, both)) == sorted(map(bytes, scaled))
    assert len(set(map(bytes, both))) == len(both) == 1797


def test_every_prefix_of_the_digits_is_class_mixed():
    labels = Digits().load("", "train").labels
    shares = np.bincount(labels, minlength=10) / 900
    for size in (50, 200, 500):
        assert np.abs(np.bincount(labels[:size], minlength=10) - shares * size).max() <= 1
    assert np.abs(np.bincount(labels[:200], minlength=10) - 20).max() <= 1


def test_the_digits_mean_and_std_are_those_of_train():
    images = Digits().load("", "train").images(range(900)) / 255
    assert (round(images.mean(), 4), round(images.std(), 4)) == (*Digits.mean, *Digits.std)


def test_the_digits_order_never_changes():
    assert Digits().load("", "train").digest[:16] == GOLDEN_TRAIN
    assert Digits().load("", "test").digest[:16] == GOLDEN_TEST


# --- hub ------------------------------------------------------------------------------------------


def test_rows_come_from_all_shards_in_order(root):
    train = Tiny().load(str(root), "train")
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert train.labels.dtype == np.int64
    for chosen in (range(9), [8, 0, 4, 5], [6]):
        assert np.array_equal(train.images(chosen), np.stack([pixels(row) for row in chosen]))


def test_only_row_groups_with_asked_for_rows_are_read(root, monkeypatch):
    train, read = Tiny().load(str(root), "train"), []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, g, columns: read.append(g) or real(self, g, columns),
    )
    train.images([1, 2])
    train.images([3, 0])
    assert read == [0]
    train.images([4])
    assert read == [0, 1]


def test_gray_images_stored_as_color_come_back_gray(tmp_path):
    class Gray(Tiny):
        image_shape = (1, 4, 5)

    gray = [pixels(row, channels=1) for row in range(9)]
    stored = [encoded(np.repeat(image, 3, -1), "WEBP") for image in gray]
    write(tmp_path / "tiny/train.parquet", stored, [0, 1, 2] * 3, image="img", label="fine_label")
    assert np.array_equal(Gray().load(str(tmp_path), "train").images(range(9)), np.stack(gray))


def test_the_digest_follows_the_content_not_the_place(root, tmp_path):
    digest = Tiny().load(str(root), "train").digest
    shutil.copytree(root, tmp_path / "copy")
    assert Tiny().load(str(tmp_path / "copy"), "train").digest == digest
    file = tmp_path / "copy/tiny/train-00000-of-00002.parquet"
    images = [encoded(pixels(row)) for row in range(1, 6)]
    write(file, images, [0, 1, 2, 0, 1], image="img", label="fine_label")
    assert Tiny().load(str(tmp_path / "copy"), "train").digest != digest


def cache_on_hub(root, hub_cache, tmp_path, splits=("train", "test")):
    """What `load_dataset("someone/tiny")` leaves in the cache of `datasets`."""
    files = {
        split: [str(file) for file in sorted((root / "tiny").glob(f"{split}*"))] for split in splits
    }
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "made"))
    (made,) = [path for path in (tmp_path / "made/parquet").glob("*/0.0.0/*") if path.is_dir()]
    shutil.copytree(made, hub_cache / "someone___tiny/default/0.0.0/0123456789abcdef")
    for path in hub_cache.rglob("parquet-*"):
        path.rename(path.with_name(path.name.replace("parquet-", "tiny-")))


@pytest.fixture
def quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.usefixtures("quiet")
def test_without_a_folder_rows_come_from_the_hub_cache(root, hub_cache, tmp_path):
    cache_on_hub(root, hub_cache, tmp_path)
    for place in ("", str(tmp_path / "elsewhere")):
        train = Tiny().load(place, "train")
        assert train.labels.tolist() == [0, 1, 2] * 3
        assert np.array_equal(train.images([7, 2]), np.stack([pixels(7), pixels(2)]))
        assert train.digest != Tiny().load(place, "test").digest


@pytest.mark.parametrize("online", [False, True])
def test_absent_data_are_an_offline_error_that_says_what_to_fetch(tmp_path, monkeypatch, online):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", not online)
    with pytest.raises(DataError) as caught:
        Tiny().load(str(tmp_path), "train")
    assert "tiny is not on this machine" in caught.value.what
    assert "someone/tiny" in caught.value.why
    assert "kdbench prepare tiny" in caught.value.next
    assert "$KDBENCH_DATA/tiny/" in caught.value.next
    assert datasets.config.HF_HUB_OFFLINE is not online


def test_load_writes_nothing(root, hub_cache):
    before = sorted(root.rglob("*"))
    Tiny().load(str(root), "train").images(range(9))
    assert sorted(root.rglob("*")) == before
    assert not hub_cache.exists()


@pytest.mark.usefixtures("quiet")
def test_prepare_fetches_each_missing_split_once(tmp_path, monkeypatch, root):
    fetched = []

    def load_dataset(name, split):
        if datasets.config.HF_HUB_OFFLINE:
            raise FileNotFoundError(name)
        fetched.append((name, split))
        files = sorted((root / "tiny").glob(f"{split}*"))
        return datasets.Dataset(pa.concat_tables(map(pq.read_table, files)))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    for _ in range(2):
        Tiny().prepare(str(tmp_path / "new"))
    assert fetched == [("someone/tiny", "train"), ("someone/tiny", "test")]
    train = Tiny().load(str(tmp_path / "new"), "train")
    assert np.array_equal(train.images(range(9)), np.stack([pixels(row) for row in range(9)]))
    names = sorted(path.name for path in (tmp_path / "new/tiny").iterdir())
    assert names == ["test.parquet", "train.parquet"]


def test_prepare_without_a_network_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="tiny cannot be fetched") as caught:
        Tiny().prepare(str(tmp_path))
    assert "$KDBENCH_DATA/tiny/" in caught.value.next


def refused(root, match, split="train"):
    with pytest.raises(DataError, match=match) as caught:
        Tiny().load(str(root), split).images(range(9))
    assert caught.value.why
    assert caught.value.next


def test_a_missing_split_or_shard_is_named(root):
    (root / "tiny/test.parquet").unlink()
    refused(root, "tiny has no test split", "test")
    (root / "tiny/train-00000-of-00002.parquet").unlink()
    refused(root, "has 1 of its 2 Parquet files")


def test_a_truncated_file_is_named(root):
    file = root / "tiny/train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:-50])
    refused(root, "tiny/train-00001-of-00002.parquet cannot be read")


def test_a_broken_image_is_named_by_its_row(root):
    images = [encoded(pixels(row)) for row in range(5)]
    file = root / "tiny/train-00000-of-00002.parquet"
    torn = [*images[:3], images[3][:60], images[4]]
    write(file, torn, [0, 1, 2, 0, 1], image="img", label="fine_label")
    refused(root, "tiny: row 3 cannot be decoded")
    write(file, [*images[:4], None], [0, 1, 2, 0, 1], image="img", label="fine_label")
    refused(root, "tiny: row 4 has no image")
    deep = encoded(np.zeros((4, 5), np.uint16)[..., None])
    write(file, [deep, *images[1:]], [0, 1, 2, 0, 1], image="img", label="fine_label")
    refused(root, "tiny: row 0 has Pillow mode I;16")


@pytest.mark.parametrize(
    ("labels", "column", "match"),
    [
        ([0, 1, 2], "fine_label", "train split has 7 rows instead of 9"),
        ([0, 1, 2, 0, 5], "fine_label", "row 4 of the train split has label 5"),
        ([0, 1, 2, 0, -1], "fine_label", "row 4 of the train split has label -1"),
        ([0, 1, 2, 0, None], "fine_label", "1 rows have no label"),
        ([0, 1, 2, 0, 1], "other", "has no column fine_label"),
    ],
)
def test_rows_that_are_not_what_the_facts_say_are_refused(root, labels, column, match):
    images = [encoded(pixels(row)) for row in range(len(labels))]
    write(root / "tiny/train-00000-of-00002.parquet", images, labels, image="img", label=column)
    refused(root, match)


def test_a_class_without_a_training_row_is_refused(tmp_path):
    images = [encoded(pixels(row)) for row in range(9)]
    write(tmp_path / "tiny/train.parquet", images, [0, 2, 2] * 3, image="img", label="fine_label")
    refused(tmp_path, "class 1 has no row in the train split")


# --- a user's own folder --------------------------------------------------------------------------


def test_the_facts_of_a_folder_are_read_from_it(folder):
    data = replace(dict(parquet.kdbench_datasets())["parquet"], path=str(folder))
    stacked = np.stack([pixels(row) for row in range(6)]) / 255
    assert (data.num_classes, data.class_names) == (3, ("0", "1", "2"))
    assert dict(data.sizes) == {"train": 6, "test": 3}
    assert (data.image_shape, data.flips, data.class_tree) == ((3, 4, 5), False, None)
    assert data.mean == pytest.approx(stacked.mean((0, 1, 2)), abs=1e-12)
    assert data.std == pytest.approx(stacked.std((0, 1, 2)), abs=1e-12)
    assert np.array_equal(data.load("", "test").images([2]), pixels(12)[None])


def test_class_names_come_from_the_class_label(folder):
    for split, labels in (("train", [0, 1, 2, 0, 1, 2]), ("test", [0, 1, 2])):
        images = [encoded(pixels(row)) for row in range(len(labels))]
        write(folder / f"{split}.parquet", images, labels, names=["ant", "bee", "cat"])
    assert Parquet(path=str(folder)).class_names == ("ant", "bee", "cat")


@pytest.mark.usefixtures("quiet")
def test_a_folder_that_datasets_wrote_is_read(tmp_path):
    features = datasets.Features(
        {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["a", "b"])}
    )
    for split in ("train", "test"):
        pictures = [Image.fromarray(pixels(row)) for row in range(4)]
        cells = {"picture": pictures, "kind": [0, 1, 0, 1]}
        (tmp_path / "own").mkdir(exist_ok=True)
        table = datasets.Dataset.from_dict(cells, features=features)
        table.to_parquet(tmp_path / f"own/{split}.parquet")
    data = Parquet(path=str(tmp_path / "own"))
    assert data.class_names == ("a", "b")
    expected = np.stack([pixels(row) for row in range(4)])
    assert np.array_equal(data.load("", "train").images(range(4)), expected)


def test_the_identity_is_name_and_content_never_the_path(folder, tmp_path):
    data = Parquet(path=str(folder))
    moved = shutil.copytree(folder, tmp_path / "there" / "mine")
    assert Parquet(path=str(moved)).identity == data.identity == data.source
    assert data.identity.startswith("mine@")
    assert str(tmp_path) not in data.identity
    write(moved / "test.parquet", [encoded(pixels(9))] * 3, [0, 1, 2])
    assert Parquet(path=str(moved)).identity != data.identity


def test_statistics_use_at_most_a_fixed_number_of_rows(folder, monkeypatch):
    monkeypatch.setattr(parquet, "SAMPLE", 2)
    ends = np.stack([pixels(0), pixels(5)]) / 255
    assert Parquet(path=str(folder)).mean == pytest.approx(ends.mean((0, 1, 2)), abs=1e-12)


def test_a_second_integer_column_must_be_chosen_or_be_the_only_class_label(folder):
    for split in ("train", "test"):
        table = pq.read_table(folder / f"{split}.parquet")
        ids = pa.array(range(len(table)), pa.int64())
        pq.write_table(table.append_column("id", ids), folder / f"{split}.parquet")
    with pytest.raises(DataError, match="2 columns could be the label"):
        Parquet(path=str(folder)).load("", "train")
    assert Parquet(path=str(folder), label="label").num_classes == 3
    with pytest.raises(DataError, match="has no column 'klass'"):
        Parquet(path=str(folder), label="klass").load("", "train")


def broken(folder, match, split="train"):
    with pytest.raises(DataError, match=match) as caught:
        data = Parquet(path=str(folder))
        data.load("", split).images(range(data.sizes[split]))
    assert caught.value.why
    assert caught.value.next


def test_a_missing_folder_split_or_column_is_named(folder, tmp_path):
    broken("", "parquet has no folder")
    broken(tmp_path / "nowhere", "nowhere is no folder")
    (folder / "test.parquet").unlink()
    broken(folder, "mine has no test split")
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), folder / "train.parquet")
    broken(folder, "0 columns could be the image")


def test_an_image_of_another_size_or_kind_is_named_by_its_row(folder):
    images = [encoded(pixels(row)) for row in range(5)]
    write(folder / "train.parquet", [*images, encoded(pixels(5, height=6))], [0, 1, 2, 0, 1, 2])
    broken(folder, r"row 5 has shape \(3, 6, 5\) instead of \(3, 4, 5\)")
    write(folder / "train.parquet", [*images, encoded(pixels(5, channels=1))], [0, 1, 2, 0, 1, 2])
    broken(folder, r"row 5 has shape \(1, 4, 5\)")


def test_bad_labels_and_files_of_a_folder_are_named(folder):
    write(folder / "test.parquet", [encoded(pixels(0))] * 2, [0, 7])
    broken(folder, "row 1 of the test split has label 7", "test")
    write(folder / "train.parquet", [encoded(pixels(row)) for row in range(3)], [0, 3, 3])
    broken(folder, "class 1 has no row")
    (folder / "train.parquet").write_bytes(b"PAR1 not really")
    broken(folder, "mine/train.parquet cannot be read")


def test_a_constant_channel_is_refused(folder):
    flat = pixels(0)
    flat[..., 1] = 7
    write(folder / "train.parquet", [encoded(flat)] * 3, [0, 1, 2])
    with pytest.raises(DataError, match="channel 1 is constant"):
        _ = Parquet(path=str(folder)).std


def test_a_rewritten_file_is_hashed_again(tmp_path):
    file = tmp_path / "a.parquet"
    file.write_bytes(b"one")
    first = content([file])
    file.write_bytes(b"three")
    assert content([file]) != first
