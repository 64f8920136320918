"""All that a plugin author imports; a method is a frozen dataclass with pure functions."""

import pluggy

from kdbench.api.dataset import DataSet, Rows
from kdbench.api.method import Family, Loop, Losses, Method
from kdbench.api.needs import Maps, Needs, Stage
from kdbench.api.outputs import Batch, Outputs
from kdbench.api.paper import Paper
from kdbench.api.setup import Hint, Port, Setup
from kdbench.api.total import Sum
from kdbench.api.transfer import Added, Draw, Seen, Transfer
from kdbench.errors import ContractError, Unsupported
from kdbench.record import TrainingProtocol

__all__ = [
    "API", "Added", "Batch", "ContractError", "DataSet", "Draw", "Family", "Hint", "Loop", "Losses",
    "Maps", "Method", "Needs", "Outputs", "Paper", "Port", "Rows", "Seen", "Setup", "Stage", "Sum",
    "TrainingProtocol", "Transfer", "Unsupported", "hookimpl",
]  # fmt: skip

API = 1
"""Version of the plugin interface; a plugin may say `KDBENCH_API = 1`, and is refused by others."""

hookimpl = pluggy.HookimplMarker("kdbench")
