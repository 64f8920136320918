"""The child process that computes plugins' metrics from stored logits: a crash costs one metric.

It answers two questions: to read a data set's labels, which it keeps, and for one metric's value of
one record.
"""

import hashlib
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as unpacked
from torch import Tensor

from kdbench.errors import DataError, PluginError
from kdbench.registry import Source, build, load
from kdbench.registry.child import answer_all, spec_of

_LABELS: dict[str, Tensor] = {}


def main() -> None:
    """Answer until the parent closes the line."""
    torch.set_num_threads(1)
    answer_all({"labels": _labels, "value": _value})


def _labels(question: dict[str, Any]) -> int:
    """How many labels the measured split has; they are kept under their key."""
    spec = spec_of(question["spec"])
    plugged: Any = load(Source(**question["source"]))["dataset", spec.name]
    held = question["validation_rows"]
    split = "train" if held else "test"
    labels = np.asarray(build(plugged, spec).load(question["root"], split).labels)
    if held:
        labels = labels[len(labels) - held :]
    _LABELS[question["key"]] = torch.from_numpy(labels.astype(np.int64))
    return len(labels)


def _value(question: dict[str, Any]) -> float:
    """One metric of one record.

    Raises:
        DataError: The logits are damaged or of other rows; PluginError: the metric is no number.
        Whatever the metric raises.
    """
    metric: Any = load(Source(**question["source"]))["metric", question["name"]]
    labels, logits = _LABELS[question["key"]], _logits(question["logits"])
    if logits.ndim != 2 or len(logits) != len(labels):
        raise DataError(
            f"logits of shape {tuple(logits.shape)}, {len(labels)} labels",
            "they are not of the split that the record names",
            "see that the data set is the one that was measured",
        )
    teacher = _logits(question["teacher"]).clone() if question["teacher"] else None
    value = metric(logits.clone(), teacher, labels.clone())
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        code = metric.__code__
        raise PluginError(
            f"{code.co_filename}:{code.co_firstlineno}: {question['name']} gave {value!r}",
            "a metric is one finite number",
            "correct the plugin",
        )
    return number


@lru_cache(maxsize=8)
def _logits(path: str) -> Tensor:
    """The logits in a file that is named by its content."""
    content = Path(path).read_bytes()
    if hashlib.sha256(content).hexdigest() != Path(path).stem:
        raise DataError(
            f"{path} is damaged", "its content is not what its name says", "restore the file"
        )
    return unpacked(content)["logits"]
