"""What a student is worth: accuracy, calibration, fidelity, deployed speed, cost of a step.

`network` runs networks, `metric` holds pure functions of what they gave, `cost` sums up timed
rounds.
"""

from kdbench.measure.cost import Timing, summarise_rounds
from kdbench.measure.metric import BINS, fidelity, linear_cka, per_class, quality
from kdbench.measure.network import Speed, Sweep, deployed_speed, sweep
from kdbench.measure.size import peak_memory_mb, size

__all__ = [
    "BINS", "Speed", "Sweep", "Timing", "deployed_speed", "fidelity", "linear_cka",
    "peak_memory_mb", "per_class", "quality", "size", "summarise_rounds", "sweep",
]  # fmt: skip
