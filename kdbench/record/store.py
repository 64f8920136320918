"""A folder of records, written once and found by question; weights and logits by hash."""

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kdbench.errors import StoreError
from kdbench.record.canonical import fingerprint
from kdbench.record.files import inside, mistake, read_plain
from kdbench.record.schema import Record

ABANDONED = 3600.0
"""Seconds after which nobody is still writing a temporary file: who did was killed."""

_UNSAFE = re.compile(r"[^A-Za-z0-9.=+,-]+")
_INDENT = re.compile(rb"\n *")


def write_atomically(path: Path, content: bytes, place: str = "--store") -> None:
    """Put `content` at `path`, whole or not at all.

    Args:
        path, content: Of the file.
        place: By what the user chooses its folder.

    Raises:
        StoreError: The file system refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=".", suffix=".part", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o644)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StoreError(
            f"cannot write {path}",
            str(error),
            f"free space there, or choose another place with {place}",
        ) from error


def sweep(folder: Path) -> None:
    """Remove the temporary files anywhere below `folder` that killed processes left.

    Raises:
        StoreError: The file system refuses.
    """
    try:
        for path in folder.rglob(".*.part"):
            if path.stat().st_mtime < time.time() - ABANDONED:
                path.unlink()
    except FileNotFoundError:
        return  # another run sweeps here too: one of them comes to the end
    except OSError as error:
        raise StoreError(
            f"cannot remove an abandoned file in {folder}", str(error), "make it writable"
        ) from error


def safe_name(text: str) -> str:
    """`text` as one component of a path: no separators, no leading dot, bounded."""
    return _UNSAFE.sub("_", text).lstrip(".")[:80] or "_"


def content(record: Record) -> bytes:
    """The one content of a record's file."""
    plain = record.model_dump(mode="json")
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def is_content(found: bytes, record: Record) -> bool:
    """Whether these bytes, but for their indentation, are the record's.

    A line break is never inside of a text, and to indent takes longer than all else that is done.
    """
    plain = record.model_dump(mode="json")
    text = json.dumps(
        plain, separators=(",", ": "), sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return _INDENT.sub(b"", found) == text.encode()


class Store:
    """The records under one folder.

    Args:
        root: The folder; made when the first record is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def records(self) -> list[Record]:
        """All records, in the order of their file names.

        Raises:
            StoreError: A file is not a record of this schema, or was changed after it was written;
                nothing is skipped.
        """
        found = {path: self.read(path) for path in self.paths()}
        for path, record in found.items():
            if path != self.path(record):
                what = f"{path} was changed after it was written"
                raise StoreError(what, "its content is not what its name says", "restore it")
        return list(found.values())

    def read(self, path: Path) -> Record:
        """The record in one file.

        Raises:
            StoreError: It is none, or has other bytes than a store writes: a key twice, say.
        """
        try:
            found = read_plain(path)
            record = Record.model_validate_json(found)
            if not is_content(found, record):
                raise ValueError("its bytes are not those that a store writes")
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{path} is not a readable record",
                mistake(error),
                "move the file away, or restore it",
            ) from error
        return record

    def paths(self, pattern: str = "*.json") -> list[Path]:
        """Files of records by the pattern of their names, in order.

        Raises:
            StoreError: A folder on the way to them is a link.
        """
        found = sorted(self.root.glob(f"records/*/*/{pattern}"))
        for folder in {path.parent for path in found}:
            inside(self.root, *folder.relative_to(self.root).parts)
        return found

    def path(self, record: Record) -> Path:
        """Where this record lies, or would lie."""
        ask = record.question
        asked, whole = record.fingerprints.question, fingerprint(record.model_dump(mode="json"))
        folder = self.root / "records" / safe_name(ask.dataset)
        name = f"{safe_name(ask.method)}-s{ask.seed}-{asked[:12]}-{whole[:8]}.json"
        return folder / f"{safe_name(ask.teacher)}--{safe_name(ask.student)}" / name

    def add(self, record: Record) -> Path:
        """Write the record; its file's path. A record is never overwritten by another."""
        path = self.path(record)
        inside(self.root, *path.parent.relative_to(self.root).parts)
        write_atomically(path, content(record))
        return path

    def answered(self, question: str, code: str, attempts: int) -> bool:
        """Whether this code has answered this question; reads only files of its name.

        Args:
            attempts: So many were known; a later one is an answer, whatever came of it.
        """
        found = (self.read(path) for path in self.paths(f"*-{question[:12]}-*.json"))
        ours = (
            r for r in found if (r.fingerprints.question, r.fingerprints.code) == (question, code)
        )
        return any(record.status == "ok" or record.attempt > attempts for record in ours)

    def put(self, content: bytes, suffix: str) -> str:
        """Keep an artifact; its content hash."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.artifact(digest, suffix)
        if not path.exists():
            write_atomically(path, content)
        return digest

    def artifact(self, digest: str, suffix: str = ".safetensors") -> Path:
        """Where the artifact with this content hash lies, or would lie."""
        # a record may come from anyone
        return inside(self.root, "artifacts", f"{safe_name(digest)}{suffix}")

    def checkpoint(self, question: str, code: str) -> Path:
        """Where a trial lies that was put away in training, or would lie."""
        return inside(self.root, "checkpoints", f"{question}-{code[:12]}.safetensors")

    def forget(self, question: str) -> None:
        """Remove what was put away of this question, by whatever code."""
        for path in inside(self.root, "checkpoints").glob(f"{question}-*.safetensors"):
            path.unlink(missing_ok=True)

    def tidy(self, records: Sequence[Record]) -> None:
        """Remove what runs left that were killed: parts of files, checkpoints of what is done.

        Args:
            records: All that there are.

        Raises:
            StoreError: The file system refuses.
        """
        sweep(self.root)
        for record in records:
            if record.status == "ok":
                prints = record.fingerprints
                self.checkpoint(prints.question, prints.code).unlink(missing_ok=True)

    @contextmanager
    def claim(self, question: str) -> Iterator[bool]:
        """Whether this process alone may answer the question while the context is open.

        The claim is the operating system's lock on a file: it ends with the process, however that
        ends.
        """
        lock = FileLock(inside(self.root, "claims", f"{question}.lock"))
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise StoreError(
                f"cannot claim trials in {self.root}",
                str(error),
                "choose another place with --store",
            ) from error
        try:
            yield True
        finally:
            lock.release()
