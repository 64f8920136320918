"""Canonical JSON, its fingerprint, and the base of everything that is asked."""

import hashlib
import json
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Number: TypeAlias = Annotated[float, Field(ge=-1e100, le=1e100)]
"""Far beyond what float32 computes, and near enough that a board's sums and squares are finite."""

Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
"""Of things, or a seed."""


def canonical(value: Any) -> str:  # noqa: ANN401 - any JSON
    """The one JSON text of `value`: keys sorted, no spaces, shortest floats, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(value: Any) -> str:  # noqa: ANN401 - any JSON
    """SHA-256 of the canonical JSON, hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class Frozen(BaseModel):
    """Base of everything that is asked: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
