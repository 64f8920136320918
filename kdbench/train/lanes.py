"""CUDA graphs of steps, and the streams on which those of several students run beside each other.

Students share no memory, so how many run at once moves no bit of what they compute.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import repeat
from typing import Any

import torch

from kdbench.train.captured import Buffers, Captured
from kdbench.train.runner import Runner

MOST = 8
"""Students at once; this and its halves are tried."""


def launched(runners: Collection[Runner], most: int = MOST) -> Callable[[], None]:
    """Have runners replay their steps where the device can; gives what ends a step of them all.

    Until that is called, what they compute may be read on their own streams only.

    Args:
        runners: On one device, taking the same steps.
        most: Students at once.
    """
    device = next(iter(runners)).device if runners else torch.device("cpu")
    if device.type != "cuda":
        return lambda: None
    lanes, buffers = Lanes(device, len(runners), most), Buffers()
    for place, runner in enumerate(runners):
        runner.launch = Captured(runner, buffers, CudaLane(lanes, place))
    return lanes.join


def tried(
    settings: Sequence[int], now: Callable[[], float], *, wait: int = 16, block: int = 16
) -> Iterator[int]:
    """The setting of each step: every one for two blocks of steps, then the fastest for good.

    Args:
        settings: The first of them is in use before the trial.
        now: Time in any unit, when all work that was given out is done.
        wait: Steps before the trial.
        block: Steps of a block.
    """
    best = dict.fromkeys(settings, float("inf"))
    if len(settings) > 1:
        yield from repeat(settings[0], wait)
        for setting in (*settings, *settings):
            start = now()
            yield from repeat(setting, block)
            best[setting] = min(best[setting], now() - start)
    yield from repeat(min(best, key=lambda setting: best[setting]))


class Lanes:
    """Streams and memory pools of the graphs of several runners.

    A pool's graphs overwrite each other's intermediate values, so they never run at once: there are
    as many pools as lanes at most, and both numbers are powers of two.

    Args:
        device: Theirs.
        runners: How many.
        most: Lanes at most.
    """

    def __init__(self, device: torch.device, runners: int, most: int) -> None:
        self.device, self.era, self.width = device, 0, 1
        while self.width < min(runners, most):
            self.width *= 2
        settings = [2**power for power in range(self.width.bit_length())]
        self._streams = [torch.cuda.Stream(device) for _ in range(self.width)]
        self._pools = [torch.cuda.graph_pool_handle() for _ in range(self.width)]
        self._trial = tried(settings, self._now)
        self._count = next(self._trial)

    @property
    def count(self) -> int:
        """Lanes in use."""
        return min(self._count, self.width)

    def join(self) -> None:
        """Have the current stream wait for all lanes, and choose their number for the next step."""
        here = torch.cuda.current_stream(self.device)
        for stream in self._streams:
            here.wait_stream(stream)
        self._count = next(self._trial)

    def narrow(self) -> bool:
        """Halve the lanes and give up all graphs; False if there is one lane already."""
        if self.width == 1:
            return False
        self.width //= 2
        self._pools = [torch.cuda.graph_pool_handle() for _ in range(self.width)]
        self.era += 1
        return True

    def graph(self, place: int) -> "CudaGraph":
        """An empty recording for the runner at this place."""
        return CudaGraph(self.device, self._pools[place % self.width])

    def run(self, place: int, replay: Callable[[], None]) -> None:
        """Replay on this place's lane, behind all that the current stream was given so far."""
        if self.count == 1:
            replay()
            return
        side = self._streams[place % self.count]
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            replay()

    def _now(self) -> float:
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


class CudaLane:
    """One runner's place among the lanes; a `Lane`."""

    def __init__(self, lanes: Lanes, place: int) -> None:
        self._lanes, self._place = lanes, place

    @property
    def era(self) -> int:
        """As in `Lane`."""
        return self._lanes.era

    def recording(self) -> "CudaGraph":
        """As in `Lane`."""
        return self._lanes.graph(self._place)

    def run(self, replay: Callable[[], None]) -> None:
        """As in `Lane`."""
        self._lanes.run(self._place, replay)

    def narrow(self) -> bool:
        """As in `Lane`."""
        return self._lanes.narrow()


class CudaGraph:
    """A CUDA graph; a `Recording`.

    torch registers the default generator with it, so a replay draws from the seed of its moment.

    Args:
        device: Where.
        pool: Of the memory for intermediate values.
    """

    def __init__(self, device: torch.device, pool: Any) -> None:  # noqa: ANN401 - torch's token
        self._device, self._pool, self._graph = device, pool, torch.cuda.CUDAGraph()

    def capture(self, function: Callable[[bool], None]) -> None:
        """As in `Recording`.

        Raises:
            RuntimeError: The host waits for the device in it, or does what no graph can hold.
        """
        here, side = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        mode = torch.cuda.get_sync_debug_mode()
        side.wait_stream(here)
        with torch.cuda.device(self._device), torch.cuda.stream(side):
            # a failed capture leaves torch's generator and allocator in doubt, so what would fail
            # is found out before
            torch.cuda.set_sync_debug_mode("error")
            try:
                function(False)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        here.wait_stream(side)
        # a capture that fails leaves its own stream as the current one: the outer puts it right
        with torch.cuda.device(self._device), torch.cuda.stream(here):
            try:
                with torch.cuda.graph(self._graph, pool=self._pool):
                    function(True)
            except BaseException:
                self._graph.reset()
                raise

    def replay(self) -> None:
        """As in `Recording`."""
        self._graph.replay()
