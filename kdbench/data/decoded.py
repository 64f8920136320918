"""Rows of a data set -> their pixels in a memory-mapped file, decoded once for all processes.

One folder a source, named by the hash of its content, shape and decoder; in it one entry a range of
rows, `<start>-<stop>/` with `pixels.npy` (uint8, rows x height x width x channels) and
`about.json`. An entry appears whole, by a rename under a lock. A range inside a larger one is
served from it; an overlap is copied instead of decoded.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from filelock import FileLock
from jaxtyping import UInt8

from kdbench.api import Rows
from kdbench.errors import ContractError, DataError, StoreError

DECODER = 1
"""Moves whenever the same rows would give other pixels or another layout of the files."""

CHUNK = 256
"""Rows decoded at a time."""

WHOLE = 8 << 20
"""Bytes up to which all pixels of an entry are verified on opening; of a larger one, 64 rows."""

MEMORY_SHARE = 0.5
"""Share of the machine's memory that the pixels of one split may take."""

Pixels: TypeAlias = UInt8[np.ndarray, "rows height width channels"]

log = logging.getLogger(__name__)


def require_memory(nbytes: int, what: str) -> None:
    """Nothing, if `nbytes` fit into this machine's memory.

    Raises:
        DataError: They exceed `MEMORY_SHARE` of it.
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # a platform that does not say
        return
    if nbytes > MEMORY_SHARE * memory:
        raise DataError(
            f"{what} takes {nbytes / 2**30:.1f} GiB as pixels",
            f"at most {MEMORY_SHARE:.0%} of this machine's {memory / 2**30:.1f} GiB may be used",
            "set rows in the training protocol, or use a larger machine",
        )


def pixels(
    rows: Rows, span: range, shape: tuple[int, int, int], cache: Path, what: str
) -> tuple[Pixels, str]:
    """Pixels of the rows in `span`, memory-mapped copy-on-write, and their SHA-256, hex.

    Args:
        rows: The split.
        span: Which of its rows, with step 1.
        shape: Channels, height, width.
        cache: Folder that holds the entries of all data sets.
        what: Name of data set and split, for messages.

    Raises:
        DataError: The pixels do not fit into memory, or a row cannot be decoded.
        ContractError: The data set gives pixels of another shape or type.
        StoreError: The cache cannot be written.
    """
    require_memory(len(span) * int(np.prod(shape)), what)
    key = hashlib.sha256(json.dumps([rows.digest, shape, DECODER]).encode()).hexdigest()[:32]
    folder = cache / "pixels" / key  # `data` there is the user's, where KDBENCH_DATA is not set
    if found := _serve(folder, span, shape):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if found := _serve(folder, span, shape):  # another process decoded it meanwhile
                return found
            _write(rows, span, shape, folder, what)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"the decoded {what} cannot be kept in {folder}",
            reason,
            "free space there, or choose another place with KDBENCH_CACHE",
        ) from error
    if found := _serve(folder, span, shape):
        return found
    raise StoreError(
        f"the decoded {what} in {folder} does not stay", "it changed at once", "set KDBENCH_CACHE"
    )


def _entries(folder: Path) -> Iterator[tuple[range, Path]]:
    """All whole entries of a folder, in order of their names."""
    for path in sorted(folder.glob("[0-9]*-[0-9]*")):
        start, stop = path.name.split("-")
        yield range(int(start), int(stop)), path


def _serve(folder: Path, span: range, shape: tuple[int, int, int]) -> tuple[Pixels, str] | None:
    """The span out of the smallest sound entry that holds it, or None."""
    holding = [
        entry
        for entry in _entries(folder)
        if entry[0].start <= span.start and span.stop <= entry[0].stop
    ]
    for held, path in sorted(holding, key=lambda entry: len(entry[0])):
        if (opened := _open(path, held, shape)) is not None:
            array, digest = opened
            part = array[span.start - held.start : span.stop - held.start]
            return part, digest if held == span else hashlib.sha256(part.data).hexdigest()
    return None


def _open(path: Path, held: range, shape: tuple[int, int, int]) -> tuple[Pixels, str] | None:
    """All pixels of an entry and their SHA-256, or None if it is torn or was changed."""
    channels, height, width = shape
    try:
        about: dict[str, Any] = json.loads((path / "about.json").read_bytes())
        array = np.load(path / "pixels.npy", mmap_mode="c", allow_pickle=False)
        sound = array.shape == (len(held), height, width, channels) and array.dtype == np.uint8
        if sound and about["sample"] == _sample(array):
            return array, str(about["sha256"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        log.warning("decoded pixels in %s cannot be read (%s)", path, error)
        return None
    log.warning("decoded pixels in %s are not what was written", path)
    return None


def _sample(array: Pixels) -> str:
    """SHA-256 over all rows of a small array, or over 64 evenly spaced rows of a large one."""
    chosen = np.linspace(0, len(array) - 1, 64).astype(np.int64)
    return hashlib.sha256(array.data if array.nbytes <= WHOLE else array[chosen].data).hexdigest()


def _write(rows: Rows, span: range, shape: tuple[int, int, int], folder: Path, what: str) -> None:
    """Decode the span into an entry of its own; the caller holds the lock."""
    # left by a process that was killed: whoever holds the lock is alone
    for left in folder.glob(".part-*"):
        shutil.rmtree(left)
    channels, height, width = shape
    known = [
        (held, opened[0])
        for held, path in _entries(folder)
        if (opened := _open(path, held, shape)) is not None
    ]
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
    try:
        head = {
            "descr": "|u1", "fortran_order": False, "shape": (len(span), height, width, channels),
        }  # fmt: skip
        digest = hashlib.sha256()
        # written, not mapped: a full disk is an error here, and there the process's end
        with (part / "pixels.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, head)
            for start in range(span.start, span.stop, CHUNK):
                chunk = range(start, min(start + CHUNK, span.stop))
                block = _copied(known, chunk)
                if block is None:
                    block = _decode(rows, chunk, (len(chunk), height, width, channels), what)
                content = np.ascontiguousarray(block).data
                file.write(content)
                digest.update(content)
        array = np.load(part / "pixels.npy", mmap_mode="r", allow_pickle=False)
        about = {"sample": _sample(array), "sha256": digest.hexdigest()}
        del array
        (part / "about.json").write_text(json.dumps(about))
        final = folder / f"{span.start}-{span.stop}"
        if final.exists():  # torn or changed, else it would have been served
            shutil.rmtree(final)
        part.rename(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # gone already where all went well


def _decode(rows: Rows, chunk: range, shape: tuple[int, ...], what: str) -> Pixels:
    """What the data set gives for the chunk, its shape and type checked."""
    try:
        block = rows.images(chunk)
    except OSError as error:  # else it would pass for an error of the cache
        raise DataError(
            f"{what} cannot be read at row {chunk.start}", str(error), "fetch it again"
        ) from error
    if block.shape != shape or block.dtype != np.uint8:
        raise ContractError(
            f"{what}: images() gave {block.dtype} {block.shape}",
            f"expected uint8 {shape} (rows, height, width, channels)",
            "correct image_shape or images() of the data set",
        )
    return block


def _copied(known: list[tuple[range, Pixels]], chunk: range) -> Pixels | None:
    """The chunk out of an entry that holds all of it, or None."""
    for held, array in known:
        if held.start <= chunk.start and chunk.stop <= held.stop:
            return array[chunk.start - held.start : chunk.stop - held.start]
    return None
