"""A step as a recording of its kernels, replayed without the host's part in it.

Small networks keep a GPU waiting for the host, which launches hundreds of kernels a step. The
recording is made of the very code that runs eagerly, and it is compared with it before it is used;
where it cannot be made, or gives other values, the runner stays eager and its record says why.
"""

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Protocol

import torch
from torch import Tensor

from kdbench.api import Batch, Outputs
from kdbench.train.clock import Clock
from kdbench.train.runner import Runner
from kdbench.train.saved import Saved
from kdbench.train.seeding import seed_torch
from kdbench.train.still import Still, Uncapturable

CLOSE = 1e-5
"""Largest relative difference between a replayed and an eager step's weights and terms."""


class Recording(Protocol):
    """Kernels of one call of a function, to be run again on the same memory."""

    def capture(self, function: Callable[[bool], None]) -> None:
        """Call `function(False)` to warm up, then `function(True)` and record its kernels."""

    def replay(self) -> None:
        """Run them."""


class Lane(Protocol):
    """Where one runner's recordings are made and replayed."""

    @property
    def era(self) -> int:
        """Moves when all recordings made so far are to be given up."""

    def recording(self) -> Recording:
        """An empty one."""

    def run(self, replay: Callable[[], None]) -> None:
        """Replay behind all that the runner was given so far."""

    def narrow(self) -> bool:
        """Make room by giving up all recordings, or False where fewer lanes would not help."""


class Buffers:
    """Copies of what steps bring, at addresses that stay; each is filled once a step for all."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def holding(self, role: Hashable, value: Tensor) -> Tensor:
        """The buffer of this role and shape, holding `value`."""
        slot = role, value.shape, value.stride(), value.dtype
        buffer, last = self._kept.get(slot) or (torch.empty_like(value), None)
        if last is not value:
            self._kept[slot] = buffer.copy_(value), value
        return buffer


@dataclass(frozen=True, slots=True)
class _Kept:
    """A recording, and the names of the terms that it adds up."""

    recording: Recording
    names: tuple[str, ...]


class Captured:
    """What launches a runner's steps: a shape's first one eagerly, the later ones by replay.

    Args:
        runner: Whose `launch` this becomes.
        buffers: Of all runners that take the same steps.
        lane: Where the recordings are made.
    """

    def __init__(self, runner: Runner, buffers: Buffers, lane: Lane) -> None:
        self._runner: Runner = weakref.proxy(runner)
        self._buffers, self._lane, self._era = buffers, lane, lane.era
        self._rate = torch.zeros((), device=runner.device)
        self._seen, self._kept = set[Hashable](), dict[Hashable, _Kept]()
        self._totals: dict[str, Tensor] = {}
        self._refused = False

    def __call__(self, batch: Batch, rate: float) -> None:
        """Take the step."""
        if self._era != self._lane.era:
            self._kept, self._era = {}, self._lane.era
        # a restart's optimizer has other buffers
        key = len(batch.inputs), batch.stage, self._runner.restarts
        if key not in self._kept and not self._admitted(key, batch):
            self._runner.eager(batch, rate)
            return
        kept = self._kept[key]
        with self._runner.clock.phase("student"):  # a recording does not tell its parts
            self._fill(batch, rate)
            self._gather(kept.names)
            self._lane.run(kept.recording.replay)

    def _gather(self, names: Sequence[str]) -> None:
        """Have the runner's sums be those that recordings add to."""
        sums = self._runner.sums
        for name in names:
            total = self._totals[name]
            if name not in sums:
                sums[name] = total.zero_()
            elif sums[name] is not total:
                sums[name] = total.copy_(sums[name])

    def _admitted(self, key: Hashable, batch: Batch) -> bool:
        """Whether there is now a recording for batches of this kind."""
        if self._refused or key not in self._seen:
            self._seen.add(key)  # the first is eager for good: it makes what is made but once
            return False
        try:
            self._kept[key] = self._recorded(batch)
        except torch.OutOfMemoryError:
            if not self._lane.narrow():
                self._refuse("out of memory")
        except Exception as error:  # noqa: BLE001 - whatever a recording cannot hold runs eagerly, and is noted
            kind = "" if isinstance(error, Uncapturable) else f"{type(error).__name__}: "
            self._refuse(kind + (str(error).strip().splitlines() or [""])[0])
        return key in self._kept

    def _refuse(self, why: str) -> None:
        self._refused = True
        self._runner.notes.append(f"steps are launched one kernel at a time: {why}")

    def _recorded(self, batch: Batch) -> _Kept:
        """A recording that does to the runner what the eager step does."""
        runner = self._runner
        saved, clock = Saved(runner), runner.clock
        runner.clock = Clock()  # one that waits for no device, which a recording cannot
        try:
            steps = self._probes(batch.stage)
            wanted = [self._eagerly(batch, step, saved) for step in steps]
            for name, term in wanted[0][1].items():
                self._totals.setdefault(name, torch.zeros_like(term))
            still, said = self._fill(batch, runner.protocol.learning_rate)
            kept = _Kept(self._lane.recording(), tuple(wanted[0][1]))
            kept.recording.capture(partial(self._step, still, said))
            for step, (weights, terms) in zip(steps, wanted, strict=True):
                saved.restore()
                found = self._replayed(batch, step, saved, kept)
                if not (_close(found[0], weights) and _all_close(found[1], terms)):
                    progress = step / runner.total
                    raise Uncapturable(f"a replayed step differs at progress {progress:.2f}")
            return kept
        finally:
            saved.restore()
            runner.clock = clock
            seed_torch(runner.device, runner.seed, "step", runner.done)

    def _probes(self, stage: int) -> list[int]:
        """The first, the middle and the last step of a stage."""
        ends = self._runner.ends
        start, last = ends[stage - 1] if stage else 0, ends[stage] - 1
        return [start, (start + last) // 2, last]

    def _at(self, batch: Batch, step: int) -> Batch:
        """The batch as if it came at this step."""
        runner = self._runner
        runner.done = step
        seed_torch(runner.device, runner.seed, "step", step)
        return replace(batch, progress=torch.full_like(batch.progress, step / runner.total))

    def _eagerly(
        self, batch: Batch, step: int, saved: Saved
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Weights and terms after an eager step, which is then undone."""
        runner, batch = self._runner, self._at(batch, step)
        for group in runner.optimizer.param_groups:
            group["lr"] = runner.protocol.learning_rate  # the peak: differences show best there
        terms = {name: term.detach().clone() for name, term in runner.learn(runner, batch).items()}
        if saved.replaced:
            raise Uncapturable(f"the step replaces {saved.replaced} on the host")
        weights = [tensor.detach().clone() for tensor in saved.weights]
        saved.restore()
        return weights, terms

    def _replayed(
        self, batch: Batch, step: int, saved: Saved, kept: _Kept
    ) -> tuple[Sequence[Tensor], dict[str, Tensor]]:
        """Weights and terms after a replayed step."""
        self._fill(self._at(batch, step), self._runner.protocol.learning_rate)
        terms = {name: self._totals[name].zero_() for name in kept.names}
        kept.recording.replay()
        return saved.weights, terms

    def _fill(self, batch: Batch, rate: float) -> tuple[Batch, Outputs | None]:
        """Batch and shared teacher's outputs, where recordings read them."""
        runner, hold, places = self._runner, self._buffers.holding, count()
        self._rate.fill_(rate)
        still = replace(
            batch, inputs=hold("inputs", batch.inputs), target=hold("target", batch.target),
            labelled=hold("labelled", batch.labelled), index=hold("index", batch.index),
            progress=hold("progress", batch.progress),
            second=None if batch.second is None else hold("second", batch.second),
        )  # fmt: skip
        if runner.private is not None:
            return still, None  # it answers within the recording
        whose = runner.stages[batch.stage].anchor, runner.needs
        with runner.clock.phase("teacher"):
            said = runner.ask_teacher(batch)
        return still, said.map(lambda tensor: hold((*whose, next(places)), tensor))

    def _step(self, batch: Batch, said: Outputs | None, capturing: bool) -> None:
        """What is recorded: the method's step, and its terms added up."""
        for group in self._runner.optimizer.param_groups:
            group["lr"] = self._rate
            if "capturable" in group:  # torch's own mark; it warns where it is set for nothing
                group["capturable"] = capturing
        try:
            losses = self._runner.learn(Still(self._runner, batch, said), batch)
        finally:
            for group in self._runner.optimizer.param_groups:
                group.update({"capturable": False} if "capturable" in group else {})
        for name, term in losses.items():
            self._totals[name].add_(term.detach())


def _all_close(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    return all(_close([found[name]], [term]) for name, term in wanted.items())


def _close(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    """Whether counts are equal, and all other values together within `CLOSE` of their norm."""
    gap = size = 0.0
    for one, other in zip(found, wanted, strict=True):
        if not other.is_floating_point():
            if not torch.equal(one, other):
                return False
            continue
        gap += float((one.detach().double() - other.double()).square().sum())
        size += float(other.double().square().sum())
    return gap <= CLOSE**2 * size
