"""Folded teachers: the same answers, fewer passes over memory."""

import pytest
import torch
from torch import Tensor, nn

from kdbench.api import Maps
from kdbench.models import Network, create
from kdbench.record import Spec
from kdbench.teacher import Teacher
from kdbench.teacher.folding import folded
from kdbench.testing.bench import register

NETWORKS = {
    "resnet20": 0,
    "vgg8": 0,
    "mobilenetv2_cifar": 0,
    "resnet18": 0,
    "efficientnet_lite0": 0,  # norms with activations of their own
    # whose norm reads a sum, or what somebody else reads too, keeps it
    "preresnet20": 10,
    "wrn_16_2": 6,
    "test_vit[patch_size=8]": 0,
}
"""Batch norms that are left."""


def network(name: str) -> Network:
    """With statistics that are none of a fresh network's."""
    register(spec := Spec.parse(name))
    torch.manual_seed(0)
    made = create(spec, num_classes=10, image_shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()  # type: ignore[union-attr]  # it tracks
            norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]  # as above
            nn.init.uniform_(norm.weight, 0.5, 2)
    return made.eval().requires_grad_(False)


def norms(made: nn.Module) -> int:
    return sum(isinstance(one, nn.BatchNorm2d) for one in made.modules())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("preacts", [False, True])
def test_a_folded_network_says_what_it_said(name: str, preacts: bool) -> None:
    made = network(name)
    found = folded(made)
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    maps = Maps(hints=True, preacts=preacts)
    with torch.no_grad():
        pairs = zip(found(images, maps).tensors(), made(images, maps).tensors(), strict=True)
    for ours, theirs in pairs:
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()
    assert norms(found) == NETWORKS[name]


def test_a_network_that_would_say_anything_else_is_left_as_it_is() -> None:
    made = network("resnet8")

    def spoiled(module: nn.Module, _: object, said: Tensor) -> Tensor:
        return said + float(isinstance(module.bn1, nn.Identity))  # type: ignore[arg-type]

    made.model.layer1[0].register_forward_hook(spoiled)  # type: ignore[index,union-attr]
    assert norms(folded(made)) == norms(made)


def test_logits_are_the_same_bits_with_and_without_maps() -> None:
    teacher = Teacher([{1.0: network("resnet8")}])
    images = torch.rand(5, 3, 32, 32)
    bare, rich = teacher(images), teacher(images, Maps(hints=True, preacts=True, class_maps=True))
    assert torch.equal(bare.logits, rich.logits)
    assert torch.equal(bare.pooled, rich.pooled)


def test_batch_statistics_and_copies_are_the_unfolded_network_s() -> None:
    made = network("resnet8")
    teacher = Teacher([{1.0: made}])
    assert norms(teacher.copy()) == norms(made)
    assert norms(teacher.folded) == 0  # type: ignore[arg-type]
    images = torch.rand(8, 3, 32, 32)
    assert not torch.allclose(teacher(images).logits, teacher(images, statistics="batch").logits)


def test_what_answers_is_watched_too() -> None:
    teacher = Teacher([{1.0: network("resnet8")}])
    teacher.check_unmoved()
    next(teacher.folded.parameters()).data[0] += 1
    with pytest.raises(Exception, match="weights moved"):
        teacher.check_unmoved()
