"""One integer a trial -> the seeds of its parts, by name."""

import hashlib
import json
from functools import lru_cache


@lru_cache(maxsize=256, typed=True)  # all of a cohort ask for the same one
def derive_seed(seed: int, *names: str | int) -> int:
    """Seed in [0, 2**63) of what `names` name within `seed`; unlike names, independent seeds.

    Args:
        seed: Of the trial, or itself derived.
        names: What is drawn ("order", "views", "init" ...), and counters such as the epoch.

    Example:
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3) != derive_seed(0, "order", 4)
        True
    """
    text = json.dumps([seed, *names], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
