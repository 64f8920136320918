"""What a student is worth: accuracy, calibration, fidelity, size, deployed speed.

`network` runs networks, `metric` holds pure functions of what they gave.
"""

from kdbench.measure.geometry import class_cosine, kinship
from kdbench.measure.metric import BINS, fidelity, linear_cka, per_class, quality
from kdbench.measure.network import Speed, Sweep, deployed_speed, depths, sweep, swept
from kdbench.measure.rescaling import rescaling
from kdbench.measure.size import peak_memory_mb, size

__all__ = [
    "BINS", "Speed", "Sweep", "class_cosine", "deployed_speed", "depths", "fidelity", "kinship",
    "linear_cka", "peak_memory_mb", "per_class", "quality", "rescaling", "size", "sweep", "swept",
]  # fmt: skip
