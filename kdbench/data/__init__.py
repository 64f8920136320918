"""A data set -> splits, decoded once -> augmented batches, each view a function of its counter."""

from kdbench.data.policy import joined, transfers
from kdbench.data.seed import derive_seed
from kdbench.data.split import Split, Splits, open_split, open_splits, transfer_rows
from kdbench.data.strong import strengthened
from kdbench.data.views import Views

__all__ = [
    "Split",
    "Splits",
    "Views",
    "derive_seed",
    "joined",
    "open_split",
    "open_splits",
    "strengthened",
    "transfer_rows",
    "transfers",
]  # fmt: skip
