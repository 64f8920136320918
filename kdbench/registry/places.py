"""Where caches and data lie: `KDBENCH_CACHE`, `KDBENCH_DATA`, or the platform's own places."""

import os
import sys
from pathlib import Path

__all__ = ["cache_dir", "data_dir"]


def cache_dir() -> Path:
    """Folder of index and trained teachers: `KDBENCH_CACHE`, or in the platform's cache folder."""
    if chosen := os.environ.get("KDBENCH_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kdbench"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local) / "kdbench" / "cache"
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not shared.is_absolute():  # the standard says: a relative one is to be ignored
        shared = Path.home() / ".cache"
    return shared / "kdbench"


def data_dir() -> Path:
    """Folder of the data sets: `KDBENCH_DATA`, or `data` in the cache."""
    chosen = os.environ.get("KDBENCH_DATA")
    return Path(chosen).expanduser().absolute() if chosen else cache_dir() / "data"
