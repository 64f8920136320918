"""Every first-party method against `table/*.toml`: settings, stages, warm-up, and what it reads.

The tables hold what the papers and the field's code say; each method's docstring names them. They
are data written down apart from the code, so that neither can drift alone.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kdbench
from kdbench.api import Method, Needs, Outputs, Stage
from kdbench.registry import Registry
from kdbench.testing.bench import Bench, Case, Watched, home

Row = Mapping[str, Any]


def rows() -> dict[str, Row]:
    """All tables, by method."""
    found: dict[str, Row] = {}
    for path in sorted((Path(__file__).parent / "table").glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        assert not found.keys() & table.keys(), path
        found |= table
    return found


ROWS = rows()
each = pytest.mark.parametrize("name", sorted(ROWS))
heard = pytest.mark.parametrize("name", sorted(n for n, row in ROWS.items() if "reads" in row))
"""Those that say what they read; a method that takes over the step need not hear the loop."""
warmed = pytest.mark.parametrize("name", sorted(n for n, row in ROWS.items() if "warmup" in row))
weighted = pytest.mark.parametrize("name", sorted(n for n, row in ROWS.items() if "weights" in row))


def case(method: Method) -> Case:
    """The field's kind of pair, three hints each; where the method declines it, its own kind."""
    found = home(method)
    return replace(found, teacher="resnet8", student="resnet8[width=0.5]") if (
        found.student.startswith("resnet8")
    ) else found  # fmt: skip


def leaves(outputs: Outputs) -> Outputs:
    return outputs.map(lambda tensor: tensor.detach().clone().requires_grad_())


def stepped(method: Method, progress: float | None = None) -> Watched:
    """What a step of the last stage did, on outputs that are leaves."""
    bench = Bench(method, case(method))
    return bench.step(
        stage=len(method.stages()) - 1,
        outputs=leaves,
        teacher=leaves,
        batch=lambda batch: (
            batch if progress is None else replace(batch, progress=torch.tensor(progress))
        ),
    )


def tensors(outputs: Outputs, declared: Needs) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of all that was heard, the second view apart."""
    yield "logits", outputs.logits
    yield "pooled", outputs.pooled
    for kind in ("hints", "preacts", "class_maps"):
        for place, tensor in enumerate(getattr(outputs, kind) if getattr(declared, kind) else ()):
            yield f"{kind}.{place}", tensor


def test_every_first_party_method_has_a_row_and_every_row_a_method(
    kdbench_registry: Registry,
) -> None:
    installed = {e.name for e in kdbench_registry.entries if e.kind == "method"}
    ours = {e.name for e in kdbench_registry.entries if e.kind == "method" and e.source.first_party}
    assert set(ROWS) <= installed
    assert set(ROWS) == ours


@each
def test_hyperparameters_needs_and_stages_are_those_of_the_table(name: str) -> None:
    method, row = kdbench.method(name), ROWS[name]
    assert {f.name: getattr(method, f.name) for f in fields(method)} == {  # type: ignore[arg-type]  # a dataclass
        key: tuple(value) if isinstance(value, list) else value
        for key, value in row.get("defaults", {}).items()
    }
    assert method.needs() == Needs(**row.get("needs", {}))
    wanted = [Stage(**stage) for stage in row.get("stages", [{}])]
    for found, stage in zip(method.stages(), wanted, strict=True):
        assert found.share == pytest.approx(stage.share, rel=1e-3)
        assert replace(found, share=1.0) == replace(stage, share=1.0)


@each
def test_terms_are_those_of_the_table(name: str) -> None:
    method, row = kdbench.method(name), ROWS[name]
    bench = Bench(method, case(method))
    watched = bench.step(stage=len(method.stages()) - 1)
    assert list(watched.returned) == row["terms"]
    takes_over = type(method).step is not Method.step
    assert ("reads" in row) or takes_over


@heard
def test_what_of_the_student_they_read_is_that_of_the_table(name: str) -> None:
    method, row = kdbench.method(name), ROWS[name]
    watched = stepped(method)
    assert watched.heard is not None
    said = dict(tensors(watched.heard[0], method.needs()))
    found = torch.autograd.grad(watched.total, [*said.values()], allow_unused=True)
    read = [n for n, g in zip(said, found, strict=True) if g is not None and g.any()]
    assert sorted(read) == sorted(row["reads"])


@heard
def test_no_gradient_reaches_what_the_teacher_said(name: str) -> None:
    method = kdbench.method(name)
    watched = stepped(method)
    assert watched.heard is not None
    said = [tensor for tensor in watched.heard[1].tensors() if tensor.requires_grad]
    found = torch.autograd.grad(watched.total, said, allow_unused=True) if said else ()
    assert all(gradient is None for gradient in found)


@warmed
def test_a_warm_up_is_that_of_the_table(name: str) -> None:
    method = kdbench.method(name)
    full = stepped(method, 0.999).returned
    for place, progress in enumerate((0.0, 0.05, 0.5)):
        terms = stepped(method, progress).returned
        for term, value in terms.items():
            factor = ROWS[name]["warmup"].get(term, (1.0, 1.0, 1.0))[place]
            wanted = factor * float(full[term].detach())
            assert float(value.detach()) == pytest.approx(wanted, rel=1e-4), term


@weighted
def test_a_weight_doubled_doubles_its_term_and_no_other(name: str) -> None:
    method = kdbench.method(name)
    plain = stepped(method, 0.5).returned
    for term, weights in ROWS[name]["weights"].items():
        doubled = {weight: 2 * getattr(method, weight) for weight in weights}
        found = stepped(replace(method, **doubled), 0.5).returned  # type: ignore[type-var]  # a dataclass
        assert float(found[term].detach()) == pytest.approx(
            2 * float(plain[term].detach()), rel=1e-4, abs=1e-12
        )
        # the labels' share may shrink as another's grows
        shared = {"hard"} | {
            t for t, own in ROWS[name]["weights"].items() if set(weights) & set(own)
        }
        rest = {t: float(value.detach()) for t, value in plain.items() if t not in shared}
        assert {t: float(found[t].detach()) for t in rest} == pytest.approx(rest)
