"""Contracts on the losses of one batch."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kdbench.api import Batch, ContractError, Method, Outputs, Unsupported
from kdbench.functional import cross_entropy
from kdbench.testing.bench import Bench
from kdbench.testing.contracts.cases import reasoned
from kdbench.testing.watched import Watched

LONG = 1000
"""Steps enough for every stage to have a middle."""


def losses_are_finite_scalars(method: Method) -> None:
    """Losses are finite float32 scalars for 2, 7 and 16 rows and 2, 10 and 1,000 classes."""
    for classes in (10, 2, 1000):
        try:
            rows = max(40, 2 * classes)
            bench = Bench(method, steps=LONG, classes=classes, rows=rows)
        except Unsupported as error:
            reasoned(error, f"{classes} classes")
            continue
        for count in (2, 7, 16):
            for stage in bench.stages:
                _check(bench.step(count, stage), f"{count} rows and {classes} classes")


def extreme_logits_stay_finite(method: Method) -> None:
    """Logits of 200 in float16 and bfloat16, or all alike, have finite losses and gradients."""
    for kind, value in ((torch.float16, 200.0), (torch.bfloat16, 200.0), (torch.float32, 0.0)):
        for sign in (1, -1) if value else (1,):
            said = f"logits of {value:g} in {str(kind).removeprefix('torch.')}"
            bench = Bench(method, steps=LONG)
            for stage in bench.stages:
                kept: list[Tensor] = []
                seen = bench.step(
                    8,
                    stage,
                    outputs=lambda outputs: _extreme(outputs, kind, value, kept),  # noqa: B023 - called at once
                    teacher=lambda outputs: _extreme(outputs, kind, sign * value, []),  # noqa: B023 - called at once
                )
                _check(seen, said)
                grads = torch.autograd.grad(seen.total, kept, allow_unused=True) if kept else ()
                if any(grad is not None and not grad.isfinite().all() for grad in grads):
                    raise ContractError(
                        f"the gradient is not finite for {said}",
                        "logits saturate in training",
                        "compute from log-softmaxes, in float32 (kdbench.functional.widened)",
                    )


def _extreme(outputs: Outputs, kind: torch.dtype, value: float, kept: list[Tensor]) -> Outputs:
    """The same outputs, but with logits of +-value, behind the graph that there was.

    `kept` takes those that have a graph.
    """
    shape = outputs.logits.shape
    signs = torch.randn(shape, generator=torch.Generator().manual_seed(3)).sign()
    logits = (0 * outputs.logits + value * signs).to(kind)
    if logits.requires_grad:
        kept.append(logits)
    second = outputs.second and _extreme(outputs.second, kind, value, kept)
    return replace(outputs, logits=logits, second=second)


def images_may_be_contiguous(method: Method) -> None:
    """Images in channels_last and in contiguous memory have the same losses, to rounding."""
    for stage in Bench(method, steps=LONG).stages:
        found: list[dict[str, Tensor]] = []
        for layout in (torch.channels_last, torch.contiguous_format):

            def laid(batch: Batch, layout: torch.memory_format = layout) -> Batch:
                return replace(batch, inputs=batch.inputs.contiguous(memory_format=layout))

            found.append(Bench(method, steps=LONG).step(16, stage, batch=laid).losses)
        for name, term in found[0].items():
            if not torch.allclose(term, found[1][name], rtol=1e-3, atol=1e-5):
                raise ContractError(
                    f"the loss term {name!r} is {float(term):.6g} on channels_last images and "
                    f"{float(found[1][name]):.6g} on contiguous ones",
                    "the memory format of a tensor says nothing of its content",
                    "use reshape or flatten, not view or as_strided",
                )


def hard_is_cross_entropy_with_labels(method: Method) -> None:
    """The term `hard`, where there is one, is a weight times the labelled rows' cross-entropy."""

    def half(batch: Batch) -> Batch:
        return replace(batch, labelled=batch.index % 2 == 0)

    def whole(batch: Batch) -> Batch:
        return batch

    for stage in Bench(method, steps=LONG).stages:
        ratios = []
        for change in (whole, half):
            seen = Bench(method, steps=LONG).step(16, stage, batch=change)
            if "hard" not in seen.losses or seen.heard is None:
                break
            batch = change(seen.batch)
            own = cross_entropy(seen.heard[0].logits, batch.target, batch.labelled)
            ratios.append(float(seen.losses["hard"].detach() / own.detach()))
        if len(ratios) == 2 and abs(ratios[0] - ratios[1]) > 1e-3 * max(map(abs, ratios)):
            raise ContractError(
                "the term 'hard' is not a weight times the cross-entropy with the labels",
                f"it is {ratios[0]:.5g} of it with all rows labelled, {ratios[1]:.5g} with half",
                "use kdbench.functional.cross_entropy(student.logits, batch.target, "
                "batch.labelled), or call the term something else",
            )


def loss_waits_for_no_device(method: Method) -> None:
    """No loss reads a tensor's value on the host, which would stop a GPU at every step."""
    bench = Bench(method, steps=LONG)
    for stage in bench.stages:
        function = getattr(method, bench.runner.stages[stage].loss)
        seen = bench.step(16, stage)
        if seen.heard is None:
            continue
        with _Waits() as waits:
            function(*seen.heard, seen.batch, bench.runner.state)
        if waits.found:
            raise ContractError(
                f"{bench.runner.stages[stage].loss}() waits for the device",
                f"it calls {', '.join(sorted(waits.found))}",
                "keep values in tensors: torch.where in place of if, masks in place of .item(), "
                "bool(), nonzero() or indexing by a mask",
            )


class _Waits(TorchDispatchMode):
    """Collects what is called that must know a tensor's value on the host."""

    NAMES = frozenset({
        "_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2",
        "unique_dim", "unique_consecutive",
    })  # fmt: skip

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types for it
        self.found: set[str] = set()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - as torch has it
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        name = func.overloadpacket.__name__
        if name in self.NAMES:
            self.found.add(name)
        if name in {"index", "index_put", "index_put_"} and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        ):
            self.found.add("indexing by a mask")
        return func(*args, **(kwargs or {}))


def _check(seen: Watched, said: str) -> None:
    """Raise where a loss is no finite float32 scalar."""
    terms = dict(seen.losses) | dict(seen.returned)
    for name, term in terms.items():
        wrong = next(_wrong(term), "")
        if wrong:
            raise ContractError(
                f"the loss term {name!r} {wrong}, for {said}",
                "each term is a finite float32 scalar, whatever the batch",
                "compute it in float32, in log space; guard every division and root",
            )
    if not terms:
        raise ContractError("there are no losses", f"for {said}", "return a dict of weighted terms")


def _wrong(term: Tensor) -> Iterator[str]:
    if term.ndim:
        yield f"has shape {tuple(term.shape)}"
    if term.dtype != torch.float32:
        yield f"is {term.dtype}"
    if not term.isfinite().all():
        yield f"is {float(term)}"
