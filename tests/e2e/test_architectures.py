"""Every kind of network that timm has is read truly, or refused with a reason written down here.

One or two of almost every module of timm, and all families of `kdbench_models`, at the image sizes
that data sets have: 8 x 8 and 28 x 28 gray, 32 x 32 and 224 x 224 colour. Small variants, batches
    of two, initial weights.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from timm.models import model_entrypoint
from torch import Tensor

from kdbench.api import Maps, Outputs, Unsupported
from kdbench.models import Network, create
from kdbench.models.network import classifiers, overheard
from kdbench.record import Spec
from kdbench_models import resnet, vgg, wrn

assert all(family.ENTRIES for family in (resnet, wrn, vgg))  # registers them

CLASSES = 10
DIGITS, CLOTHES, SMALL, PHOTO = (1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 224, 224)

READ = {
    DIGITS: [
        "convnext_atto", "dla46x_c", "mobilenetv4_conv_small_035", "resnet18", "resnet8[width=0.5]",
        "test_efficientnet", "test_nfnet", "test_vit", "vgg8[width=0.25]", "wrn_16_1",
    ],
    CLOTHES: [
        "lcnet_035", "resnet14", "test_byobnet", "test_mambaout", "test_vit_relpos",
        "tiny_vit_5m_224", "vit_tiny_patch16_224[img_size=32]",
    ],
    SMALL: [
        "cait_xxs24_224", "coat_lite_tiny", "convit_tiny", "cpubone_nano", "cs3darknet_focus_s",
        "cspnext_tiny", "deit_tiny_distilled_patch16_224", "deit_tiny_patch16_224", "densenet121",
        "dpn48b", "eca_botnext26ts_256", "edgenext_xx_small", "efficientformerv2_s0",
        "efficientvit_b0", "efficientvit_m0", "ese_vovnet19b_slim_dw", "fasternet_t0", "fastvit_t8",
        "gcvit_xxtiny", "ghostnet_050", "gmlp_ti16_224", "hardcorenas_a", "hgnetv2_b0",
        "hrnet_w18_small", "iformer_t", "inception_next_atto", "lcnetv2_small", "legacy_seresnet18",
        "levit_128s", "lowformer_b0", "mixer_s32_224", "mobilevit_xxs", "pit_ti_224",
        "poolformerv2_s12", "pvt_v2_b0", "regnetx_002", "repghostnet_050", "repvit_m0_9",
        "resmlp_12_224", "resnest14d", "resnet20", "resnet8x4", "resnetv2_18", "rexnet_100",
        "shvit_s1", "skresnet18", "starnet_s050", "swiftformer_xs", "swin_tiny_patch4_window7_224",
        "test_coatnet", "test_convnext", "test_resnet", "vgg13_cifar[width=0.25]", "visformer_tiny",
        "vit_tiny_patch16_dinov3_qkvb", "vit_tiny_r_s16_p8_224", "wrn_40_1", "xcit_nano_12_p8_224",
    ],
    PHOTO: [
        "crossvit_9_240", "efficientvit_m1", "mobilenetv3_small_050", "resnet8[width=0.25]",
        "test_vit2[img_size=224]", "test_vit3", "vgg8[width=0.1]",
    ],
}  # fmt: skip
CASES = [
    pytest.param(name, shape, id=f"{name}-{shape[-1]}")
    for shape, names in READ.items()
    for name in names
]

OTHER_LOGITS = "its logits are not what its classifier makes of the pooled features"
REFUSED = {
    "efficientvim_m1": OTHER_LOGITS,  # a learned mean of the classifiers of its stages
    "efficientvim_m1_dist": OTHER_LOGITS,
    "volo_d1_224": OTHER_LOGITS,  # adds the largest logits among its tokens
    "qwen3_vit_88m_enc": "it has no get_classifier",  # an encoder
}


def made(name: str, shape: tuple[int, int, int]) -> Network:
    torch.manual_seed(0)
    colours = shape[0]
    return create(
        Spec.parse(name),
        num_classes=CLASSES,
        image_shape=shape,
        mean=[0.5] * colours,
        std=[0.25] * colours,
    )


def images(shape: tuple[int, int, int]) -> Tensor:
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))


def check_answers(network: Network, x: Tensor) -> None:
    """In evaluation: timm's own logits, the classifier's input, and maps that nobody wrote into."""
    network.eval()
    with torch.no_grad():
        said, bare = network(x, Maps(hints=True)), network(x)
        own, inputs = overheard(
            classifiers(network.model), lambda: network.model(network.prepared(x))
        )
        assert own.shape == (2, CLASSES)
        torch.testing.assert_close(said.logits, own, rtol=1e-6, atol=1e-6)
        assert torch.equal(said.logits, bare.logits)
        assert torch.equal(said.pooled, bare.pooled)
        torch.testing.assert_close(network.classify(said.pooled), own, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(
            said.pooled, inputs[0] if network.reading.shared else torch.cat(inputs, 1)
        )
        for tap, hint in zip(network.reading.taps, said.hints, strict=True):
            (alone,) = network.model.forward_intermediates(
                network.prepared(x),
                indices=[tap],
                stop_early=True,
                intermediates_only=True,
                output_fmt="NCHW",
            )
            assert torch.equal(alone, hint)
    check_shapes(network, said)


def check_shapes(network: Network, said: Outputs) -> None:
    port = network.port()
    assert said.pooled.shape == (2, port.pooled_dim)
    assert said.hints
    assert all(hint.ndim == 4 and hint.numel() for hint in said.hints)
    assert [(h.channels, h.height, h.width) for h in port.hints] == [
        tuple(hint.shape[1:]) for hint in said.hints
    ]


def check_training(network: Network, x: Tensor) -> None:
    """In training: timm's own logits, and two steps of SGD with finite gradients."""
    network.train()
    with torch.no_grad():
        logits = []
        for run in (
            lambda net: net.model(net.prepared(x)),
            lambda net: net(x, Maps(hints=True)).logits,
        ):
            torch.manual_seed(2)
            logits.append(run(copy.deepcopy(network)))
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-6, atol=1e-6)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    for _ in range(2):
        said = network(x, Maps(hints=True))
        loss = F.cross_entropy(said.logits, torch.tensor([3, 7])) + sum(
            h.square().mean() for h in said.hints
        )
        optimizer.zero_grad()
        loss.backward()
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        assert any(gradient.any() for gradient in gradients)
        assert all(gradient.isfinite().all() for gradient in gradients)
        optimizer.step()


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_logits_pooled_and_hints_are_timms_own_and_train(name, shape):
    network, x = made(name, shape), images(shape)
    check_answers(network, x)
    check_training(network, x)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_truly_is_refused_with_this_reason(name):
    with pytest.raises(Unsupported) as caught:
        made(name, SMALL)
    assert caught.value.why == REFUSED[name]


def test_the_networks_come_from_many_families():
    names = {
        Spec.parse(name).name for name in [*(n for names in READ.values() for n in names), *REFUSED]
    }
    families = {model_entrypoint(name).__module__ for name in names}
    assert len(names) >= 70
    assert len({family for family in families if family.startswith("timm.")}) >= 55
    assert {family for family in families if not family.startswith("timm.")} == {
        "kdbench_models.resnet", "kdbench_models.vgg", "kdbench_models.wrn"
    }  # fmt: skip
