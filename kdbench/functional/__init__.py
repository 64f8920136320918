"""Pure tensor functions that methods share: no state and no host-device synchronisation.

Precision: every function widens float16 and bfloat16 to float32 and keeps float32 and float64,
under autocast too. Gradients reach every floating-point argument; detach what is to stay fixed.
"""

from kdbench.functional.logits import (
    cross_entropy,
    divergence,
    labelled_mean,
    of_class,
    rest_log_softmax,
    softened_kl,
    warmed_up,
    widened,
)
from kdbench.functional.maps import attention, pooled_alike
from kdbench.functional.relations import cosines, squared_distances, unit_rows

__all__ = [
    "attention",
    "cosines",
    "cross_entropy",
    "divergence",
    "labelled_mean",
    "of_class",
    "pooled_alike",
    "rest_log_softmax",
    "softened_kl",
    "squared_distances",
    "unit_rows",
    "warmed_up",
    "widened",
]
