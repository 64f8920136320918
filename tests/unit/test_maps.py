"""Preacts, class maps, batch statistics and the second view: what they are, and what they leave."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdbench.api import Batch, Losses, Maps, Method, Needs, Outputs, Setup, Unsupported
from kdbench.data import Split, Views, strengthened
from kdbench.models import Network, batch_statistics, create
from kdbench.record import Spec, TrainingProtocol
from kdbench.teacher import Teacher
from kdbench.train import Asked, Runner, lockstep
from kdbench_models import resnet, vgg, wrn

assert all(family.ENTRIES for family in (resnet, vgg, wrn))  # registers them

ALL = Maps(hints=True, preacts=True, class_maps=True)


def made(text: str, classes: int = 10, seed: int = 0, side: int = 32) -> Network:
    torch.manual_seed(seed)
    return create(
        Spec.parse(text), num_classes=classes, image_shape=(3, side, side),
        mean=(0.5,) * 3, std=(0.25,) * 3,
    )  # fmt: skip


def images(rows: int = 4, side: int = 32) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.rand(rows, 3, side, side, generator=draw)


@pytest.mark.parametrize(
    ("text", "norms"),
    [
        ("resnet14", ["layer1.1.bn2", "layer2.1.bn2", "layer3.1.bn2"]),
        ("resnet8", ["layer1.0.bn2", "layer2.0.bn2", "layer3.0.bn2"]),
        ("vgg8[width=0.25]", ["block0.1", "block1.1", "block2.1", "block4.1"]),
        ("resnet18", ["bn1", "layer1.1.bn2", "layer2.1.bn2", "layer3.1.bn2", "layer4.1.bn2"]),
    ],
)
def test_an_activated_hint_is_the_activation_of_its_preact_made_by_the_norm(
    text: str, norms: list[str]
) -> None:
    net = made(text).eval()
    said, names = net(images(), ALL), {m: n for n, m in net.model.named_modules()}
    assert [torch.equal(F.relu(p), h) for p, h in zip(said.preacts, said.hints, strict=True)] == [
        True
    ] * len(norms)
    assert any((preact < 0).any() for preact in said.preacts)
    assert [names[norm] for norm in net.port().norms if norm is not None] == norms


def test_the_preact_of_a_network_that_activates_first_is_the_next_norm_s_result() -> None:
    net = made("wrn_16_1").eval()
    said, port = net(images(), ALL), net.port()
    names = {m: n for n, m in net.model.named_modules()}
    assert [names[norm] for norm in port.norms if norm] == ["block2.0.bn1", "block3.0.bn1", "bn1"]
    for norm, hint, preact in zip(port.norms, said.hints, said.preacts, strict=True):
        assert norm is not None
        assert torch.equal(norm(hint), preact)


def test_tokens_are_their_own_preacts_and_have_no_norm() -> None:
    net = made("test_vit[img_size=32]").eval()
    said = net(images(), Maps(hints=True, preacts=True))
    assert all(torch.equal(p, h) for p, h in zip(said.preacts, said.hints, strict=True))
    assert set(net.port().norms) == {None}


@pytest.mark.parametrize("text", ["resnet8", "wrn_16_1", "vgg8[width=0.25]", "test_resnet"])
def test_the_mean_of_class_maps_is_the_logits(text: str) -> None:
    net = made(text, classes=7).eval()
    said = net(images(), ALL)
    (cam,) = said.class_maps
    shape = net.port().class_map
    assert shape is not None
    assert cam.shape == (4, 7, shape.height, shape.width)
    assert torch.allclose(cam.mean((2, 3)), said.logits, atol=1e-5)


def test_maps_asked_for_or_not_leave_every_bit_of_the_logits() -> None:
    for text in ("resnet8", "wrn_16_1", "test_vit[img_size=32]"):
        net, x = made(text).train(), images()
        plain = copy.deepcopy(net)(x).logits
        maps = ALL if net.reading.class_map else Maps(hints=True, preacts=True)
        assert torch.equal(net(x, maps).logits, plain)


def test_undeclared_maps_are_not_there() -> None:
    said = made("resnet8")(images(), Maps(preacts=True))
    assert len(said.preacts) == 3
    with pytest.raises(Exception, match="did not declare"):
        len(said.hints)


def test_gradients_go_through_a_preact() -> None:
    net = made("resnet8")
    net(images(), Maps(preacts=True)).preacts[1].sum().backward()
    grads = {name: weight.grad for name, weight in net.model.named_parameters()}
    assert grads["layer2.0.bn2.bias"] is not None
    assert grads["layer3.0.conv1.weight"] is None


def test_batch_statistics_are_those_of_training_and_the_buffers_stay() -> None:
    teacher = Teacher([{1.0: made("resnet8")}])
    training = copy.deepcopy(teacher.converged[0]).train()
    before = {name: value.clone() for name, value in teacher.named_buffers()}
    x = images()
    said = teacher(x, Maps(), 1.0, "batch")
    assert torch.equal(said.logits, training(x).logits)
    assert not torch.equal(said.logits, teacher(x).logits)
    assert all(torch.equal(value, before[name]) for name, value in teacher.named_buffers())
    assert not any(module.training for module in teacher.modules())
    teacher.check_unmoved()


def test_batch_statistics_end_with_the_context_whatever_happens() -> None:
    norm = nn.BatchNorm2d(2).eval()
    with pytest.raises(RuntimeError), batch_statistics(norm):
        raise RuntimeError
    assert (norm.training, norm.track_running_stats) == (False, True)


def pixels(rows: int, channels: int = 3) -> torch.Tensor:
    draw = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (rows, channels, 12, 12), generator=draw, dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_strong_view_depends_on_seed_epoch_and_row_alone(channels: int) -> None:
    x = pixels(6, channels).float() / 255
    rows = torch.tensor([3, 9, 1, 4, 7, 2])
    torch.manual_seed(5)
    state = torch.get_rng_state()
    whole = strengthened(x, rows, 1, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert whole.shape == x.shape
    assert 0 <= whole.min() < whole.max() <= 1
    torch.manual_seed(6)
    assert torch.equal(strengthened(x[2:4], rows[2:4], 1, 0), whole[2:4])
    assert not torch.equal(strengthened(x, rows, 1, 1), whole)
    assert not torch.equal(strengthened(x, rows, 2, 0), whole)
    assert all(not torch.equal(a, b) for a, b in zip(whole, x, strict=True))


def test_a_strong_view_of_other_channels_is_declined() -> None:
    with pytest.raises(Unsupported, match="2 channels"):
        strengthened(torch.zeros(1, 2, 8, 8), torch.tensor([0]), 0, 0)


class TwoViews(Method):
    """Matches both views, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[Batch, Outputs, Outputs]] = []

    def needs(self) -> Needs:
        return Needs(second=True, statistics="batch")

    def init(self, setup: Setup) -> None:
        assert setup.targets is not None
        assert setup.targets.tolist() == [row % 10 for row in range(setup.num_train)]

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        self.seen.append((batch, student, teacher))
        assert student.second is not None
        assert teacher.second is not None
        return {
            "first": F.mse_loss(student.logits, teacher.logits),
            "second": F.mse_loss(student.second.logits, teacher.second.logits),
        }


def test_a_method_with_two_views_gets_both_networks_word_on_each() -> None:
    split = Split(
        pixels(20).contiguous(memory_format=torch.channels_last), torch.arange(20) % 10, "d"
    )
    cpu, protocol = torch.device("cpu"), TrainingProtocol(epochs=1, batch_size=8, learning_rate=0.1)
    views = Views(split, range(20), shift=1, flip=False, device=cpu, seed=3)
    method, teacher = TwoViews(), Teacher([{1.0: made("resnet8", side=12)}])
    student = made("resnet8[width=0.5]", seed=1, side=12)
    setup = Setup(
        student=student.port(), teacher=teacher.port(), num_classes=10, num_train=20,
        targets=split.labels,
    )  # fmt: skip
    runner = Runner(method, student, setup, protocol, seed=0, total=3, device=cpu)
    heard: list[tuple[float, str]] = []

    def teach(asked: Asked) -> Outputs:
        heard.append((asked.anchor, asked.statistics))
        return teacher(asked.images, Maps(), asked.anchor, asked.statistics)

    _, failures = lockstep({"one": runner}, views, protocol, 3, teach)
    assert failures == {}
    assert heard == [(1.0, "batch")] * 6
    for batch, said, taught in method.seen:
        assert batch.second is not None
        assert torch.equal(batch.second, strengthened(batch.inputs, batch.index, 3, 0))
        assert said.second is not None
        assert taught.second is not None
        assert torch.equal(taught.second.logits, teacher(batch.second, Maps(), 1.0, "batch").logits)
        assert not torch.equal(said.logits, said.second.logits)
