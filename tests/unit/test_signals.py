"""Signals that end a run wait until it may be left, and none is lost."""

import gc
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from kdbench.engine.signals import held

NUMBERS = [signal.SIGINT, signal.SIGTERM]


class Told(BaseException):
    """What the handler of these tests raises."""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    def tell(number: int, _: FrameType | None) -> None:
        raise Told(number)

    before = {number: signal.signal(number, tell) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Late:
    """Its finalizer is where the signal comes, which loses whatever is raised there."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_in_a_finalizer_is_not_lost() -> None:
    with pytest.raises(Told), held() as came:
        Late()
        gc.collect()
        assert [*came] == [signal.SIGTERM]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_waits_until_all_is_put_away(number: signal.Signals) -> None:
    done = []
    with pytest.raises(Told, match=str(int(number))), held() as came:
        assert not came
        signal.raise_signal(number)
        done.append("what was begun")
        assert [*came] == [number]
    assert done == ["what was begun"]


def test_a_second_signal_does_not_wait() -> None:
    with pytest.raises(Told), held():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it waited")


def test_a_signal_is_told_at_the_end_at_the_latest() -> None:
    with pytest.raises(Told), held():
        signal.raise_signal(signal.SIGTERM)


def test_what_a_signal_broke_is_told_as_the_signal() -> None:
    with pytest.raises(Told), held():
        signal.raise_signal(signal.SIGTERM)
        raise OSError("the other end is dead")


def test_the_handlers_are_those_of_before_afterwards_even_if_one_chose_another() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with held():
        assert signal.getsignal(signal.SIGINT) not in before
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert [signal.getsignal(number) for number in NUMBERS] == [before[0], signal.SIG_IGN]


def test_another_thread_and_an_ignored_signal_are_left_alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seen = []

    def work() -> None:
        with held() as came:
            seen.append(signal.getsignal(signal.SIGTERM))
            assert not came

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
    with held():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
