"""What every installed method keeps: the contracts that kdbench ships; no method is named here."""

from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest

from kdbench.api import Method
from kdbench.testing import CONTRACTS
from kdbench.testing.contracts import Contract


def installed() -> Iterator[tuple[str, Method]]:
    """Every method that an entry point yields."""
    for entry in entry_points(group="kdbench"):
        hook = getattr(entry.load(), "kdbench_methods", None)
        yield from hook() if hook else ()


METHODS = dict(sorted(installed()))


def test_there_are_methods() -> None:
    assert len(METHODS) >= 6


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_every_contract(name: str, contract: Contract) -> None:
    contract(METHODS[name])
