"""The examples of README, docs and docstrings do what the text around them says."""

import doctest
import importlib
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from kdbench.api import Batch, Method, Outputs
from kdbench.data import Split, Views
from kdbench_methods.kd import KD

PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def modules(package: str) -> list[str]:
    root = Path(str(files(package)))
    paths = (path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py")))
    return [
        ".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "__main__"
    ]


PLUGINS = ("methods", "datasets", "models", "transfers")
EXAMPLES = [
    name
    for package in ("kdbench", *(f"kdbench_{kind}" for kind in PLUGINS))
    for name in modules(package)
]


def outputs() -> Outputs:
    return Outputs(logits=torch.randn(4, 10), pooled=torch.randn(4, 6))


def batch() -> Batch:
    return Batch(
        inputs=torch.rand(4, 1, 8, 8),
        target=torch.arange(4),
        labelled=torch.ones(4, dtype=torch.bool),
        index=torch.arange(4),
        progress=torch.tensor(0.0),
    )


def yielded(source: str) -> dict[str, Method]:
    namespace: dict[str, object] = {"__name__": "example"}
    exec(source, namespace)
    return dict(namespace["kdbench_methods"]())


def test_the_method_in_the_readme_is_the_one_that_ships(kdbench_root: Path) -> None:
    source = PYTHON.findall((kdbench_root / "README.md").read_text("utf-8"))[0]
    student, teacher, rows = outputs(), outputs(), batch()
    shown = yielded(source)["mykd"].loss(student, teacher, rows, None)
    shipped = KD().loss(student, teacher, rows, None)
    assert {name: term.item() for name, term in shown.items()} == {
        name: term.item() for name, term in shipped.items()
    }


def test_the_loss_in_the_tutorial_vanishes_for_logits_equal_up_to_scale_and_shift(
    kdbench_root: Path,
) -> None:
    source = PYTHON.findall((kdbench_root / "docs" / "adding-a-method.md").read_text("utf-8"))[0]
    method, teacher = yielded(source)["directions"], outputs()
    student = Outputs(logits=3 * teacher.logits + 1, pooled=teacher.pooled)
    assert method.loss(student, teacher, batch(), None)["cosine"].item() == pytest.approx(
        0, abs=1e-6
    )
    assert method.loss(outputs(), teacher, batch(), None)["cosine"].item() > 0.1


def test_the_tutorial_s_check_of_a_loss_runs_as_it_stands(
    kdbench_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = PYTHON.findall(
        (kdbench_root / "docs" / "adding-a-method.md").read_text("utf-8")
    )[:2]
    exec(first + second, {"__name__": "example"})
    assert "cosine" in capsys.readouterr().out


def test_the_transfer_policy_in_its_page_hides_a_column_of_its_width_in_each_image(
    kdbench_root: Path,
) -> None:
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(PYTHON.findall((kdbench_root / "docs" / "transfers.md").read_text("utf-8"))[0], namespace)
    policy = dict(namespace["kdbench_transfers"]())
    rows = Split(torch.full((9, 1, 8, 8), 255, dtype=torch.uint8), torch.arange(9), "")
    views = Views(
        rows, range(9), shift=0, flip=False, device="cpu", seed=0, policy=policy
    )  # fmt: skip
    hidden = views.seen(torch.arange(9), 0).images.sum((1, 2)) == 0
    assert hidden.sum(1).tolist() == [2] * 9
    assert len({tuple(row) for row in hidden.tolist()}) > 2


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs"])
def test_links_lead_somewhere(page: str, kdbench_root: Path) -> None:
    pages = (
        [kdbench_root / page]
        if page.endswith(".md")
        else sorted((kdbench_root / page).glob("*.md"))
    )
    assert pages
    links = [(path, link) for path in pages for link in LINK.findall(path.read_text("utf-8"))]
    assert [(path.name, link) for path, link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_docstrings_examples_give_what_they_say(name: str) -> None:
    torch.manual_seed(0)
    assert doctest.testmod(importlib.import_module(name)).failed == 0
