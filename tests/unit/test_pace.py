"""Putting away is done on time, and is never most of the work."""

import pytest

from kdbench.train import Pace


def test_it_is_due_after_its_seconds_and_waits_longer_where_it_took_long() -> None:
    now = [100.0]
    pace = Pace(10, lambda: now[0])
    assert not pace.due
    now[0] = 110.0
    assert pace.due
    with pace.kept():
        now[0] += 0.1
    assert not pace.due
    now[0] += 9.9
    assert not pace.due
    now[0] += 0.2
    assert pace.due
    with pace.kept():
        now[0] += 2
    now[0] += 99
    assert not pace.due  # two seconds are 2 % of a hundred
    now[0] += 1.1
    assert pace.due


def test_what_could_not_be_put_away_is_due_still() -> None:
    now = [0.0]
    pace = Pace(1, lambda: now[0])
    now[0] = 2.0
    with pytest.raises(OSError, match="full"), pace.kept():
        raise OSError("full")
    assert pace.due
