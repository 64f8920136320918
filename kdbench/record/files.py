"""Files that may come from anyone: read where they seem to lie, and only up to a size."""

import json
import stat
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from kdbench.errors import StoreError

__all__ = ["MOST", "inside", "mistake", "parsed", "read_plain"]

MOST: Final = 1 << 20
"""Bytes of a record or of what a suite says: twice what 21,841 classes take. What is wrong with a
file is told from all of its mistakes, so a larger one could take seconds and much memory."""

_LONGEST = 200
_Model = TypeVar("_Model", bound=BaseModel)


def inside(root: Path, *parts: str) -> Path:
    """`root/parts`, of which none is a symbolic link: what is read or written there is in `root`.

    Raises:
        StoreError: One is.
    """
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise StoreError(
                f"{path} is a symbolic link",
                "nothing in a store may lead out of it",
                "put there what it leads to; the store as a whole may be a link",
            )
    return path


def read_plain(path: Path, most: int = MOST) -> bytes:
    """The bytes of a plain file of at most so many.

    Raises:
        OSError: It cannot be read, is larger, or is a link, a pipe or a device.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError("it is no plain file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(f"it has more than {most:,} bytes")
    return content


def parsed(model: type[_Model], path: Path, what: str, then: str, most: int = MOST) -> _Model:
    """What a file of JSON says, as this model.

    Args:
        what, then: Of the error: what happened, and what to do.

    Raises:
        StoreError: The file cannot be read, says something else, or says a thing twice.
    """
    try:
        content = read_plain(path, most)
        found = model.model_validate_json(content)
        json.loads(content, object_pairs_hook=_unique)
    except (OSError, ValueError) as error:
        raise StoreError(what, mistake(error), then) from error
    return found


def _unique(pairs: list[tuple[str, object]]) -> None:
    """Nothing: of a key that is there twice, one reader would believe the first, one the last."""
    seen = set[str]()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"the key {name!r} is there twice")
        seen.add(name)


def mistake(error: Exception) -> str:
    """The first of the mistakes, a short line: where and what."""
    text = str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        text = " ".join([".".join(map(str, first["loc"])), first["msg"]]).strip()
    return text.partition("\n")[0][:_LONGEST]
