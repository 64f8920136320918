"""Metrics that were invented after the records: a file a metric beside them, and how boards see it.

Records are immutable, so the values lie apart, in `metrics/NAME.json`, by the record's identity
(`record_id`, which covers its logits) and by the metric's code: other code adds values and replaces
none. The same records and code give the same bytes.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from kdbench.errors import StoreError
from kdbench.record import Frozen, Number, Origin, inside, parsed, write_atomically

FOLDER: Final = "metrics"
"""Beside the records."""

_MOST = 8 << 20
"""Bytes of a file: some 90,000 values."""

Later: TypeAlias = Mapping[str, Mapping[str, float]]
"""Values by record (`record_id`) and metric."""

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MetricValues(Frozen):
    """One metric's values.

    Attributes:
        metric: Its name.
        code: Fingerprint of the code whose values boards show: the last that was asked.
        origins: Where each code came from.
        values: By code and record.
    """

    schema_version: Literal[1] = 1
    metric: str = Field(pattern=r"^[a-z][a-z0-9_]{0,79}$")
    code: Hash
    origins: dict[Hash, Origin]
    values: dict[Hash, dict[Hash, Number]]

    @property
    def shown(self) -> Mapping[str, float]:
        """What boards show, by record."""
        return self.values.get(self.code, {})

    def joined(self, other: "MetricValues") -> "MetricValues":
        """These values and those that only the other has; of two for one record, these."""
        codes = self.values | other.values
        return self.model_copy(
            update={
                "origins": other.origins | self.origins,
                "values": {c: other.values.get(c, {}) | self.values.get(c, {}) for c in codes},
            }
        )

    def content(self) -> bytes:
        """The file's bytes."""
        plain = self.model_dump(mode="json")
        return json.dumps(plain, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def read_metrics(folder: Path) -> dict[str, MetricValues]:
    """The metrics beside the records in `folder`, by name; none without any.

    Raises:
        StoreError: A file is none.
    """
    found = {}
    for path in sorted(inside(folder, FOLDER).glob("*.json")):
        what = f"{path} holds no values of a metric"
        then = "move it away, and compute it again: kdbench metrics backfill"
        one = parsed(MetricValues, path, what, then, _MOST)
        if path.stem != one.metric:
            raise StoreError(
                f"{path} was renamed", f"it holds the metric {one.metric!r}", "restore its name"
            )
        found[one.metric] = one
    return found


def write_metric(values: MetricValues, folder: Path) -> Path:
    """Put a metric's values beside the records in `folder`; the file's path."""
    path = inside(folder, FOLDER) / f"{values.metric}.json"
    write_atomically(path, values.content())
    return path


def by_record(metrics: Iterable[MetricValues]) -> Later:
    """The values that boards show, by record and metric."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for one in metrics:
        for identity, value in one.shown.items():
            found[identity][one.metric] = value
    return found
