"""Parquet files of images from strangers: torn, of other columns, labels and images."""

import io
import json
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile_trees import DAMAGE, torn
from hypothesis import strategies as st
from PIL import Image

from kdbench.data import open_splits
from kdbench.errors import DataError
from kdbench.record import Spec
from kdbench.registry.child import _answer
from kdbench.registry.facts import data_facts
from kdbench_datasets.parquet import Parquet


def encoded(
    mode: str = "L", size: tuple[int, int] = (8, 8), kind: str = "PNG", **how: Any
) -> bytes:
    """An image file of noise."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(noise).convert("RGB" if mode in ("I;16", "F", "I") else mode)
    if mode in ("I;16", "F", "I"):
        image = image.convert("L").convert("I").convert(mode)
    target = io.BytesIO()
    image.save(target, kind, **how)
    return target.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def bomb(side: int) -> bytes:
    """A PNG of so many pixels a side in a few bytes."""
    head = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    body = zlib.compress(bytes(1 << 20), 9)
    start = b"\x89PNG\r\n\x1a\n"
    return start + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def animated() -> bytes:
    """A GIF of three frames."""
    frames = [Image.new("P", (8, 8), color) for color in range(3)]
    target = io.BytesIO()
    frames[0].save(target, "GIF", save_all=True, append_images=frames[1:])
    return target.getvalue()


@cache
def image(kind: str) -> bytes | None:
    """An image of this kind."""
    return IMAGES[kind]()


IMAGES: dict[str, Callable[[], bytes | None]] = {
    "gray": encoded,
    "color": lambda: encoded("RGB"),
    "transparent": lambda: encoded("RGBA"),
    "palette": lambda: encoded("P"),
    "bits": lambda: encoded("1"),
    "16 bits": lambda: encoded("I;16"),
    "floats": lambda: encoded("F", kind="TIFF"),
    "CMYK": lambda: encoded("CMYK", kind="JPEG"),
    "of another size": lambda: encoded(size=(9, 8)),
    "one pixel": lambda: encoded(size=(1, 1)),
    "large": lambda: encoded(size=(3000, 1)),
    "animated": animated,
    "bomb": lambda: bomb(60_000),
    "half a bomb": lambda: bomb(11_000),
    "no pixels": lambda: bomb(0),
    "none": lambda: None,
    "empty": lambda: b"",
    "junk": lambda: b"not an image",
    "a script": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(x) run\n",
    "vectors": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    "truncated": lambda: encoded("RGB", (64, 64))[:200],
}

LABELS: dict[str, Any] = {
    "right": [0, 1, 2, 0, 1, 2, 0, 1],
    "one class": [0] * 8,
    "negative": [0, 1, -1, 0, 1, 2, 0, 1],
    "with a gap": [0, 1, 9, 0, 1, 2, 0, 1],
    "huge": [0, 1, 2**62, 0, 1, 2, 0, 1],
    "beyond 64 bits": pa.array([0, 1, 2**64 - 1, 0, 1, 2, 0, 1], pa.uint64()),
    "null": [0, 1, None, 0, 1, 2, 0, 1],
    "all null": pa.nulls(8),
    "fractions": [0.5] * 8,
    "texts": ["cat"] * 8,
    "truths": [True, False] * 4,
    "lists": [[0]] * 8,
    "bytes": pa.array([0, 1, 2, 0, 1, 2, 0, 1], pa.uint8()),
}


def _head(names: Any) -> bytes:
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    return json.dumps({"info": {"features": features}}).encode()


HEADS: dict[str, bytes] = {
    "none": b"",
    "sound": _head(["a", "b", "c"]),
    "no JSON": b"{",
    "a list": b"[]",
    "a number for features": b'{"info": {"features": 3}}',
    "a number for info": b'{"info": 3}',
    "names that are none": _head(3),
    "no names": _head([]),
    "deep": b'{"info":' + b"[" * 100_000,
    "no text": b"\xff\xfe",
}


def read(folder: Path) -> None:
    """All that a run reads of the data: its facts in a child process, then its rows."""
    data, spec = (
        Parquet(path=str(folder / "data")),
        Spec.of("parquet", {"path": str(folder / "data")}),
    )
    told = _answer({"do": "facts"}, {"facts": lambda question: data_facts(Parquet(), spec)})
    if "error" in told:
        what, why, then = told["parts"]  # the host names the plugin where it says no more itself
        raise DataError(what, why or "its plugin says no more", then or "mend the data")
    splits = open_splits(data, data.name, root="", cache=folder / "cache", validation_rows=0)
    for split in (splits.train, splits.test):
        assert split.images.dtype.is_floating_point is False
        assert 0 <= int(split.labels.min()) <= int(split.labels.max()) < data.num_classes


def made(value: Any, folder: Path) -> None:
    """A folder of two splits, one of them as somebody bent it."""
    images, labels, head, rows, split, columns, damage = value
    (folder / "data").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of making the hostile images, not of reading them
        bad = [image(kind) for kind in (images * 8)[:8]][:rows]
    good = [encoded()] * 8
    known = LABELS[labels]
    known = known if isinstance(known, pa.Array) else pa.array(known)
    for name in ("train", "test"):
        mine = name == split
        files = pa.array(bad if mine else good, pa.binary())
        marks = known[:rows] if mine else pa.array(LABELS["right"])
        table = pa.table(
            dict(zip(columns if mine else ("image", "label"), (files, marks), strict=True))
        )
        if HEADS[head]:
            table = table.replace_schema_metadata({b"huggingface": HEADS[head]})
        target = io.BytesIO()
        pq.write_table(table, target)
        content = target.getvalue()
        if mine and damage:
            content = torn(content, damage)
        (folder / "data" / f"{name}.parquet").write_bytes(content)
    with warnings.catch_warnings():
        # between the two bounds of Pillow an image is said to be large, and read
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        read(folder)


_COLUMNS = st.sampled_from(
    (("image", "label"),) * 4 + (("label", "image"), ("a", "b"), ("", " "), ("x\0", "../y"))
)
TARGETS = {
    "Parquet of images": (
        st.tuples(
            st.lists(st.sampled_from(sorted(IMAGES)), min_size=1, max_size=2)
            | st.just(["gray"]),
            st.just("right") | st.sampled_from(sorted(LABELS)),
            st.just("none") | st.sampled_from(sorted(HEADS)),
            st.just(8) | st.sampled_from((0, 1, 3)),
            st.sampled_from(("train", "test")), _COLUMNS, st.none() | st.none() | DAMAGE,
        ),
        made, 0.2,
    ),
}  # fmt: skip
