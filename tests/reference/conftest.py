"""Golden values: a test marked `golden("dkd")` runs once for each case of `golden/dkd.json`; with
`golden("dkd", T=4.0)` for those of these hyperparameters.

A file holds, a case each, the seed and shapes of the inputs and the reference's numbers; `drawn`
draws the tensors again, in float64. The numbers were made with the code that each file names as its
`source`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdbench.api import Batch, Outputs

Case = dict[str, Any]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "golden(name): once for each case of golden/<name>.json")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is not None:
        (name,) = marker.args
        path = Path(__file__).parent / "golden" / f"{name}.json"
        every = json.loads(path.read_text(encoding="utf-8"))["cases"]
        found = [c for c in every if marker.kwargs.items() <= c["hyperparameters"].items()]
        assert found, f"no case of {name} has {marker.kwargs}"
        metafunc.parametrize("case", found, ids=[f"{name}-{case['case']}" for case in found])


def draw(case: Case) -> dict[str, Any]:
    """The tensors of one case, drawn in a fixed order, checked by recorded sums of squares."""
    rng, shapes = np.random.default_rng(case["seed"]), case["shapes"]
    rows, classes = shapes["B"], shapes["K"]
    drawn: dict[str, Any] = {
        "student_logits": rng.standard_normal((rows, classes)) * case["logit_scale"],
        "teacher_logits": rng.standard_normal((rows, classes)) * case["logit_scale"],
        "targets": rng.integers(0, classes, rows),
        "student_features": [],
        "teacher_features": [],
    }
    for stage in zip(
        shapes.get("student_features", ()), shapes.get("teacher_features", ()), strict=True
    ):
        for role, shape in zip(("student_features", "teacher_features"), stage, strict=True):
            map_ = rng.standard_normal((rows, *shape))
            drawn[role].append(np.maximum(map_, 0) if case["activation"] == "relu" else map_)
    for name, width in (("student_embedding", "Ds"), ("teacher_embedding", "Dt")):
        if width in shapes:
            drawn[name] = rng.standard_normal((rows, shapes[width]))
    for extra in shapes.get("extra", ()):
        drawn[extra["name"]] = _extra(rng, extra)
    for edit in case["edits"]:
        _edit(drawn, edit)
    for name, expected in case["input_check"].items():
        values = drawn[name] if isinstance(expected, list) else [drawn[name]]
        np.testing.assert_allclose(
            [(v.astype(float) ** 2).sum() for v in values], np.ravel(expected), rtol=1e-12
        )
    return {
        n: [torch.from_numpy(f) for f in v] if isinstance(v, list) else torch.from_numpy(v)
        for n, v in drawn.items()
    }


def _extra(rng: np.random.Generator, extra: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    if extra["kind"] == "integers":
        return rng.integers(extra["low"], extra["high"], extra["shape"])
    if extra["kind"] == "uniform":
        return rng.uniform(extra["low"], extra["high"], extra["shape"])
    assert extra["kind"] == "normal"
    shift: float = extra.get("shift", 0.0)
    return rng.standard_normal(extra["shape"]) * extra.get("scale", 1.0) + shift


def _edit(drawn: Mapping[str, Any], edit: Mapping[str, Any]) -> None:
    """Apply one of the changes that make an edge case."""
    name, stage = edit["tensor"], edit.get("stage")
    array = drawn[name] if stage is None else drawn[name][stage]
    match edit["op"]:
        case "copy_row":
            array[edit["to"]] = array[edit["from"]]
        case "zero_row":
            array[edit["row"]] = 0
        case "mul":
            array *= edit["value"]
        case "set":
            array[...] = np.asarray(edit["value"], array.dtype)
        case "copy_tensor":
            array[...] = drawn[edit["from"]] if stage is None else drawn[edit["from"]][stage]
        case other:
            raise ValueError(other)


def make_batch(images: Tensor, target: Tensor, progress: float = 0.0, **more: Any) -> Batch:
    """A batch of labelled rows."""
    return Batch(
        inputs=images,
        target=target,
        labelled=torch.ones(len(target), dtype=torch.bool),
        index=torch.arange(len(target)),
        progress=torch.tensor(progress),
        **more,
    )


def outputs(drawn: Mapping[str, Any], role: str) -> Outputs:
    """What the network of this role says: maps stand as hints, preacts and class maps alike."""
    maps, logits = tuple(drawn[f"{role}_features"]), drawn[f"{role}_logits"]
    pooled = drawn.get(f"{role}_embedding", torch.zeros(len(logits), 0, dtype=logits.dtype))
    return Outputs(logits=logits, pooled=pooled, hints=maps, preacts=maps, class_maps=maps)


def check_gradients(case: Case, drawn: Mapping[str, Any], loss: Tensor) -> None:
    """The gradients of every student tensor, the extra ones too, equal the golden ones."""
    leaves, norms = list[Tensor](), list[float | None]()
    for name in ("student_logits", "student_features", "student_embedding"):
        found = drawn.get(name, [])
        found = [found] if isinstance(found, Tensor) else found
        leaves += found
        wanted = case["grad_l2"].get(name)
        norms += wanted if isinstance(wanted, list) else [wanted] * len(found)
    extra: Mapping[str, float] = case["grad_l2"].get("extra") or {}
    leaves, norms = [*leaves, *(drawn[name] for name in extra)], [*norms, *extra.values()]
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    for gradient, norm in zip(gradients, norms, strict=True):
        found_norm = None if gradient is None else gradient.norm().item()
        assert (found_norm or None) == (pytest.approx(norm, rel=1e-7, abs=1e-12) if norm else None)
    head_of = case["grad_head_of"]
    if head_of is None:
        return
    name, _, place = head_of.partition("[")
    leaf = drawn[name][int(place[:-1])] if place else drawn[name]
    number = next(i for i, one in enumerate(leaves) if one is leaf)
    head = gradients[number]
    assert head is not None
    assert head.flatten()[:5].tolist() == pytest.approx(case["grad_head"], rel=1e-7, abs=1e-12)


def check_term(
    case: Case,
    term: Callable[[Outputs, Outputs, Batch, Mapping[str, Any]], Tensor],
    *,
    loss: float | None = None,
    progress: float = 0.0,
) -> None:
    """The term equals the golden loss, or `loss`; the gradients, too, where `loss` is not given.

    `term` gets student, teacher, batch and all tensors by name, those of the student as leaves.
    """
    drawn = draw(case)
    extra: Sequence[str] = tuple(case["grad_l2"].get("extra") or ())
    for name in ("student_logits", "student_embedding", *extra):
        if name in drawn:
            drawn[name].requires_grad_()
    for map_ in drawn["student_features"]:
        map_.requires_grad_()
    student, teacher = outputs(drawn, "student"), outputs(drawn, "teacher")
    empty = torch.zeros(len(drawn["targets"]), 0)
    found = term(student, teacher, make_batch(empty, drawn["targets"], progress), drawn)
    assert found.dtype == torch.float64
    wanted = case["loss"] if loss is None else loss
    assert found.item() == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    if loss is None:
        check_gradients(case, drawn, found)


@pytest.fixture(name="check_term")
def _check_term() -> Callable[..., None]:
    return check_term


@pytest.fixture(name="draw")
def _draw() -> Callable[[Case], dict[str, Any]]:
    return draw


@pytest.fixture(name="make_batch")
def _make_batch() -> Callable[..., Batch]:
    return make_batch
