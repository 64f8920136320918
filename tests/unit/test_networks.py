"""The networks of `kdbench_models`: counts and shapes as published, timm's conventions kept."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from kdbench.api import Maps
from kdbench.models import create, surveyed
from kdbench.models.strided import subsampled
from kdbench.record import Spec
from kdbench_models import (
    layernorm,
    mobilenet,
    preresnet,
    resnet,
    resnet50,
    shufflenet,
    vgg,
    wrn,
)
from kdbench_models.staged import Staged, widened

FAMILIES = (resnet, layernorm, resnet50, preresnet, wrn, vgg, mobilenet, shufflenet)
NAMES = [name for family in FAMILIES for name, _ in family.kdbench_models()]

# Weights, multiply-adds in millions as printed in the tables of the field (where it prints none, as
# its code has them), and channels and sides of stem and stages; for 100 classes and 32 x 32 colour
# images.
THREE_STAGES = (32, 32, 16, 8)
PUBLISHED = {
    "resnet8": (83_892, 12.5, (16, 16, 32, 64), THREE_STAGES),
    "resnet14": (181_108, 26.7, (16, 16, 32, 64), THREE_STAGES),
    "resnet20": (278_324, 40.8, (16, 16, 32, 64), THREE_STAGES),
    "resnet32": (472_756, 69.1, (16, 16, 32, 64), THREE_STAGES),
    "resnet44": (667_188, 97.4, (16, 16, 32, 64), THREE_STAGES),
    "resnet56": (861_620, 125.8, (16, 16, 32, 64), THREE_STAGES),
    "resnet110": (1_736_564, 253.2, (16, 16, 32, 64), THREE_STAGES),
    "resnet8x4": (1_233_540, 177, (32, 64, 128, 256), THREE_STAGES),
    "resnet32x4": (7_433_860, 1083, (32, 64, 128, 256), THREE_STAGES),
    "gkd_wrn_28_1": (375_540, 55.0, (16, 16, 32, 64), THREE_STAGES),
    "gkd_wrn_28_05": (97_124, 14.8, (16, 8, 16, 32), THREE_STAGES),
    "resnet8_ln": (83_892, 12.5, (16, 16, 32, 64), THREE_STAGES),
    "resnet14_ln": (181_108, 26.7, (16, 16, 32, 64), THREE_STAGES),
    "resnet20_ln": (278_324, 40.8, (16, 16, 32, 64), THREE_STAGES),
    "resnet32_ln": (472_756, 69.1, (16, 16, 32, 64), THREE_STAGES),
    "resnet44_ln": (667_188, 97.4, (16, 16, 32, 64), THREE_STAGES),
    "resnet56_ln": (861_620, 125.8, (16, 16, 32, 64), THREE_STAGES),
    "resnet110_ln": (1_736_564, 253.2, (16, 16, 32, 64), THREE_STAGES),
    "resnet50_cifar": (23_705_252, 1298, (64, 256, 512, 1024, 2048), (32, 32, 16, 8, 4)),
    "preresnet20": (278_132, 40.8, (16, 16, 32, 64), THREE_STAGES),
    "preresnet20_ln": (278_132, 40.8, (16, 16, 32, 64), THREE_STAGES),
    "preresnet56": (613_556, 87.2, (16, 64, 128, 256), THREE_STAGES),
    "preresnet56_ln": (613_556, 87.2, (16, 64, 128, 256), THREE_STAGES),
    "preresnet110": (1_169_972, 167.5, (16, 64, 128, 256), THREE_STAGES),
    "wrn_16_1": (180_916, 26.7, (16, 16, 32, 64), THREE_STAGES),
    "wrn_16_2": (703_284, 101, (16, 32, 64, 128), THREE_STAGES),
    "wrn_16_4": (2_772_020, 393, (16, 64, 128, 256), THREE_STAGES),
    "wrn_28_1": (375_348, 55.0, (16, 16, 32, 64), THREE_STAGES),
    "wrn_28_2": (1_479_220, 214, (16, 32, 64, 128), THREE_STAGES),
    "wrn_28_4": (5_872_180, 846, (16, 64, 128, 256), THREE_STAGES),
    "wrn_40_1": (569_780, 83, (16, 16, 32, 64), THREE_STAGES),
    "wrn_40_2": (2_255_156, 328, (16, 32, 64, 128), THREE_STAGES),
    "wrn_40_4": (8_972_340, 1299, (16, 64, 128, 256), THREE_STAGES),
    "vgg8": (3_965_028, 96, (64, 128, 256, 512, 512), (32, 16, 8, 4, 4)),
    "vgg11_cifar": (9_277_284, 209, (64, 128, 256, 512, 512), (32, 16, 8, 4, 4)),
    "vgg13_cifar": (9_462_180, 285, (64, 128, 256, 512, 512), (32, 16, 8, 4, 4)),
    "vgg16_cifar": (14_774_436, 398, (64, 128, 256, 512, 512), (32, 16, 8, 4, 4)),
    "vgg19_cifar": (20_086_692, 511, (64, 128, 256, 512, 512), (32, 16, 8, 4, 4)),
    "mobilenetv2_cifar": (812_836, 6.5, (16, 12, 16, 48, 160), (16, 16, 8, 4, 2)),
    "shufflenetv1_cifar": (949_258, 39, (24, 240, 480, 960), (32, 16, 8, 4)),
    "shufflenetv2_cifar": (1_355_528, 45, (24, 116, 232, 464), (32, 16, 8, 4)),
}
POOLED = {"mobilenetv2_cifar": 1280, "shufflenetv2_cifar": 1024}
"""Channels that are pooled, where they are not the last stage's."""

KINDS = [
    "resnet8", "resnet8_ln", "resnet50_cifar", "preresnet20", "preresnet20_ln", "preresnet56",
    "wrn_16_1", "vgg8", "vgg11_cifar", "mobilenetv2_cifar", "shufflenetv1_cifar",
    "shufflenetv2_cifar",
]  # fmt: skip
"""One network of each kind."""


def small(name: str, **options: object) -> Staged:
    torch.manual_seed(0)
    return timm.create_model(name, **({"num_classes": 10, "in_chans": 1} | options))


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_multiply_adds_and_maps_are_the_published_ones(name):
    params, millions, channels, sides = PUBLISHED[name]
    net = timm.create_model(name, num_classes=100).eval()
    assert sum(weight.numel() for weight in net.parameters()) == params
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        end, maps = net.forward_intermediates(images(1, 3, 32, 32))
        net.forward_head(end)
    digits = 1 if isinstance(millions, float) else 0
    assert round(counter.get_total_flops() / 2e6, digits) == millions
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, s, s) for c, s in zip(channels, sides, strict=True)
    ]
    assert net.num_features == end.shape[1] == POOLED.get(name, channels[-1])


@pytest.mark.parametrize(("name", "params"), [("gkd_wrn_28_1", 369_690), ("gkd_wrn_28_05", 94_154)])
def test_graph_distillation_has_these_weights_for_10_classes(name, params):
    net = timm.create_model(name, num_classes=10)
    assert sum(weight.numel() for weight in net.parameters()) == params


@pytest.mark.parametrize(("width", "params"), [(1.0, 77_754), (0.5, 19_810), (0.25, 5_142)])
def test_width_scales_all_channels(width, params):
    net = small("resnet8", width=width)
    assert sum(weight.numel() for weight in net.parameters()) == params


def test_width_leaves_at_least_one_channel_and_must_be_positive():
    assert widened((16, 32, 64), 1e-9) == [1, 1, 1]
    assert widened((16, 32), 0.3) == [5, 10]
    for width in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="width"):
            widened((16,), width)


def test_every_name_is_ours_alone_in_timm():
    assert set(NAMES) == set(PUBLISHED)
    for family in FAMILIES:
        for name, entry in family.kdbench_models():
            assert timm.model_entrypoint(name) is entry
            assert entry.__module__.startswith("kdbench_models.")
            assert type(timm.create_model(name)).__module__ == entry.__module__
    assert type(timm.create_model("vgg13", num_classes=1)).__module__ == "timm.models.vgg"


def test_no_name_is_one_of_timms_own():
    assert hasattr(timm.models, "vgg13")  # where timm keeps its entry functions
    assert [name for name in NAMES if hasattr(timm.models, name)] == []


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 64, 48), (2, 28, 28)], ids=str)
def test_any_channels_and_sizes_are_taken(name, shape):
    net = small(name, in_chans=shape[0], num_classes=7, width=0.25)
    assert net(images(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", KINDS)
def test_a_photograph_of_224_pixels_is_taken(name):
    assert small(name, in_chans=3, width=0.1).eval()(images(1, 3, 224, 224)).shape == (1, 10)


@pytest.mark.parametrize("name", KINDS)
def test_forward_is_head_of_features_and_intermediates_are_the_same_maps(name):
    net, x = small(name).eval(), images(2, 1, 16, 16)
    logits, features = net(x), net.forward_features(x)
    end, maps = net.forward_intermediates(x)
    assert torch.equal(end, features)
    assert torch.equal(net.forward_head(features), logits)
    assert torch.equal(net.get_classifier()(net.forward_head(features, pre_logits=True)), logits)
    assert len(maps) == len(net.feature_info)
    for told, hint in zip(net.feature_info, maps, strict=True):
        assert hint.shape[1:] == (told["num_chs"], 16 // told["reduction"], 16 // told["reduction"])
        assert net.get_submodule(told["module"]) is not None
    for place in range(len(maps)):
        (alone,) = net.forward_intermediates(
            x, indices=[place], stop_early=True, intermediates_only=True
        )
        assert torch.equal(alone, maps[place])
    normed = net.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)[0]
    assert torch.equal(normed, features)
    with pytest.raises(ValueError, match="NCHW"):
        net.forward_intermediates(x, output_fmt="NHWC")


def test_stopping_early_leaves_the_later_stages_out():
    net = small("resnet8").eval()
    del net.layer3
    assert (
        len(
            net.forward_intermediates(
                images(1, 1, 8, 8), indices=[0, 2], stop_early=True, intermediates_only=True
            )
        )
        == 2
    )


def test_a_wide_network_is_normalised_once_more_before_pooling():
    net, x = small("wrn_16_1").eval(), images(2, 1, 8, 8)
    end, maps = net.forward_intermediates(x)
    assert maps[-1].min() < 0 <= end.min()
    assert torch.equal(end, torch.relu(net.bn1(maps[-1])))


def test_features_only_gives_the_stages():
    net = timm.create_model("resnet8", features_only=True)
    assert net.feature_info.channels() == [16, 32, 64]
    assert [m.shape[-1] for m in net(images(1, 3, 32, 32))] == [32, 16, 8]
    deep = timm.create_model("mobilenetv2_cifar", features_only=True)
    assert deep.feature_info.channels() == [12, 16, 48, 160]


@pytest.mark.parametrize("name", KINDS)
def test_the_classifier_is_replaced_or_left_out(name):
    net, x = small(name).eval(), images(2, 1, 32, 32)
    pooled = net.forward_head(net.forward_features(x), pre_logits=True)
    net.reset_classifier(3)
    assert (net.num_classes, net(x).shape) == (3, (2, 3))
    net.reset_classifier(0)
    assert torch.equal(net(x), pooled)
    net.reset_classifier(5, "max")
    assert not torch.equal(net.forward_head(net.forward_features(x), pre_logits=True), pooled)


@pytest.mark.parametrize("name", KINDS)
def test_dropout_zeroes_the_classifier_input_in_training_only(name):
    net, x = small(name, drop_rate=0.5), images(4, 1, 8, 8)
    torch.manual_seed(0)
    pooled = net.forward_head(net.forward_features(x), pre_logits=True)
    assert 0.3 < (pooled == 0).float().mean() < 0.9
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("name", ["resnet14", "resnet50_cifar", "preresnet56", "wrn_16_1"])
def test_drop_path_skips_blocks_a_sample_rising_with_depth(name):
    net = small(name, drop_path_rate=0.4)
    rates = [module.drop_prob for module in net.modules() if isinstance(module, DropPath)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.4)
    assert len(rates) == len([m for m in net.modules() if type(m).__name__.endswith("Block")]) - 1
    block = [m for m in net.modules() if type(m).__name__.endswith("Block")][-1]
    seen: list[Tensor] = []
    block.drop_path.register_forward_hook(lambda _module, _args, out: seen.append(out))
    torch.manual_seed(0)
    net(images(64, 1, 8, 8))
    dropped = (seen[0].flatten(1) == 0).all(1).float().mean()
    assert 0.2 < dropped < 0.6
    assert torch.equal(
        small(name, drop_path_rate=0.4).eval()(x := images(2, 1, 8, 8)), small(name).eval()(x)
    )


@pytest.mark.parametrize("name", KINDS)
def test_weights_travel_through_a_safetensors_file_with_strict_names(name, tmp_path):
    net, x = small(name, width=0.25), images(2, 1, 8, 8)
    net(x)  # moves the running statistics
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    back = timm.create_model(
        name, num_classes=10, in_chans=1, width=0.25, checkpoint_path=tmp_path / "net.safetensors"
    )
    assert torch.equal(back.eval()(x), net.eval()(x))
    with pytest.raises(RuntimeError, match="size mismatch"):
        timm.create_model(
            name,
            num_classes=11,
            in_chans=1,
            width=0.25,
            checkpoint_path=tmp_path / "net.safetensors",
        )


def test_a_norm_or_a_number_of_blocks_that_no_such_network_has_is_refused():
    for depth, rule in ((22, "6 n"), (50, "9 n"), (2, "6 n")):
        with pytest.raises(ValueError, match=rule):
            preresnet.PreResNet(depth)
    with pytest.raises(ValueError, match="norm"):
        preresnet.PreResNet(20, norm="group")
    for counts in ((1, 1, 1), (1, 1, 0, 1, 1)):
        with pytest.raises(ValueError, match="counts"):
            resnet50.ResNet50(counts)
        with pytest.raises(ValueError, match="counts"):
            vgg.VGG(counts)


@pytest.mark.parametrize("depth", [7, 2, 9])
def test_a_depth_that_no_such_network_has_is_refused(depth):
    with pytest.raises(ValueError, match="depth"):
        resnet.ResNet(depth)
    with pytest.raises(ValueError, match="depth"):
        wrn.WideResNet(depth, 1)


def test_kaiming_fan_out_initialises_the_convolutions():
    net = timm.create_model("resnet8x4")
    weight = net.layer3[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * weight.shape[0])) ** 0.5, rel=0.02)


def test_networks_without_a_start_of_their_own_start_as_torch_has_it():
    for name in ("gkd_wrn_28_05", "shufflenetv1_cifar", "shufflenetv2_cifar"):
        for conv in (m for m in timm.create_model(name).modules() if isinstance(m, nn.Conv2d)):
            bound = conv.weight[0].numel() ** -0.5
            assert 0.8 * bound < conv.weight.abs().max() <= bound
    classifier = timm.create_model("mobilenetv2_cifar").fc
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not classifier.bias.any()


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("resnet20", 15448.950),
        ("resnet8x4", 35683.039),
        ("wrn_16_2", 27525.501),
        ("vgg8", 69897.040),
    ],
)
def test_a_seed_gives_the_weights_that_it_always_gave(name, total):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=10)
    assert sum(w.abs().sum().item() for w in net.parameters()) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_with_activations_as_modules_say_what_functions_said(stride):
    x, after = images(2, 4, 8, 8) - 0.5, 4 * stride
    block = resnet.BasicBlock(4, after, stride, 0.0)
    residual = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    assert torch.equal(block(x), F.relu(residual + block.downsample(x)))
    wide = wrn.WideBlock(4, after, stride, 0.0)
    active = F.relu(wide.bn1(x))
    shortcut = x if wide.shortcut is None else wide.shortcut(active)
    assert torch.equal(wide(x), wide.conv2(F.relu(wide.bn2(wide.conv1(active)))) + shortcut)


class Activations(TorchDispatchMode):
    """Counts activations, by whatever name they are called."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__.strip("_") in ("relu", "clamp_min", "hardtanh")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", KINDS)
def test_every_activation_is_a_module_that_is_used_once(name):
    net = small(name).eval()
    calls = {module: 0 for module in net.modules() if isinstance(module, nn.ReLU)}

    def counted(module: nn.Module, *_: object) -> None:
        calls[module] += 1

    for module in calls:
        module.register_forward_hook(counted)
    with Activations() as seen:
        net(images(1, 1, 16, 16))
    assert set(calls.values()) == {1}
    assert seen.count == len(calls)


@pytest.mark.parametrize("name", NAMES)
def test_the_host_takes_the_last_map_of_each_size_as_hint(name):
    _, _, channels, sides = PUBLISHED[name]
    reading = surveyed(timm.create_model(name, num_classes=10), (3, 32, 32))
    last = dict(zip(sides, channels, strict=True))
    assert {hint.height: hint.channels for hint in reading.hints} == last
    assert [hint.stride for hint in reading.hints] == [32 // side for side in last]
    assert reading.pooled_dims == (POOLED.get(name, channels[-1]),)
    assert reading.direct


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28)], ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_the_host_takes_small_gray_images_as_they_are(name, shape):
    net = create(Spec(name), num_classes=10, image_shape=shape, mean=[0.5], std=[0.25])
    assert net.reading.input_size is None
    said = net(images(2, *shape), Maps(hints=True, preacts=True))
    assert said.logits.shape == (2, 10)
    assert [m.shape for m in said.preacts] == [m.shape for m in said.hints]


# Norms that make the preacts of the hints of one network of each kind.
NORMS = {
    "resnet8": ["layer1.0.bn2", "layer2.0.bn2", "layer3.0.bn2"],
    "resnet8_ln": ["layer1.0.bn2", "layer2.0.bn2", "layer3.0.bn2"],
    "resnet50_cifar": ["layer1.2.bn3", "layer2.3.bn3", "layer3.5.bn3", "layer4.2.bn3"],
    "preresnet20": ["layer2.0.residual.0", "layer3.0.residual.0", "bn1"],
    "preresnet20_ln": ["layer2.0.residual.0", "layer3.0.residual.0", "bn1"],
    "preresnet56": ["layer2.0.residual.0", "layer3.0.residual.0", "bn1"],
    "wrn_16_1": ["block2.0.bn1", "block3.0.bn1", "bn1"],
    "vgg8": ["block0.1", "block1.1", "block2.1", "block4.1"],
    "vgg11_cifar": ["block0.1", "block1.1", "block2.4", "block4.4"],
    "mobilenetv2_cifar": [None] * 4,  # linear bottlenecks: the hints are not activated
    "shufflenetv1_cifar": ["bn1", "layer1.3.bn3", "layer2.7.bn3", "layer3.3.bn3"],
    "shufflenetv2_cifar": ["bn1", None, None, None],  # half of each map passes the norm by
}


@pytest.mark.parametrize("name", KINDS)
def test_the_host_finds_the_map_before_each_hints_activation(name):
    net = create(Spec(name), num_classes=10, image_shape=(3, 32, 32), mean=[0.5] * 3, std=[1.0] * 3)
    assert [one.norm for one in net.reading.preacts] == NORMS[name]
    said = net.eval()(images(2, 3, 32, 32), Maps(hints=True, preacts=True))
    if name.startswith(("wrn", "preresnet")):  # activated only by what follows
        assert all(
            hint.min() < 0 > preact.min()
            for hint, preact in zip(said.hints, said.preacts, strict=True)
        )
    elif name.startswith("mobile"):
        assert all(map(torch.equal, said.hints, said.preacts))
    else:
        assert all(map(torch.equal, said.hints, map(torch.relu, said.preacts)))
        assert all(preact.min() < 0 for preact in said.preacts)


def test_a_shuffled_map_is_activated_as_if_before_the_shuffle():
    x = images(2, 8, 4, 4)  # not negative, as after an activation
    block = shufflenet.ShuffleBlockV2(8).eval()
    passing, other = x.chunk(2, 1)
    other = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(other)))))
    other = F.relu(block.bn3(block.conv3(other)))
    dealt = torch.stack([passing, other], 2).flatten(1, 2)
    assert torch.equal(block(x), dealt)


def test_shuffling_deals_the_channels_of_groups_out():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert shufflenet.shuffled(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize("name", ["shufflenetv1_cifar", "shufflenetv2_cifar", "mobilenetv2_cifar"])
@pytest.mark.parametrize("width", [1e-3, 0.07, 0.33])
def test_any_width_leaves_channels_for_every_group(name, width):
    assert small(name, width=width)(images(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", ["preresnet20_ln", "preresnet56_ln", "resnet8_ln", "resnet20_ln"])
def test_layer_norm_makes_a_samples_logits_its_own(name):
    net, x = small(name), images(3, 1, 8, 8)
    norms = [module for module in net.modules() if isinstance(module, nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {1}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert torch.allclose(net(x)[:1], net(x[:1]), atol=1e-5)
    plain = timm.create_model(name.removesuffix("_ln"))
    assert len(norms) == len([m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)])


@pytest.mark.parametrize("name", layernorm.ENTRIES)
def test_layer_norm_changes_neither_the_number_of_weights_nor_how_they_start(name):
    norms = [module for module in small(name).modules() if isinstance(module, nn.GroupNorm)]
    assert all(norm.weight.eq(1).all() and not norm.bias.any() for norm in norms)
    ours, plain = (dict(small(n).named_parameters()) for n in (name, name.removesuffix("_ln")))
    assert list(ours) == list(plain)
    assert all(torch.equal(ours[n], plain[n]) for n in plain)


def test_timm_is_told_where_first_layer_and_classifier_are():
    for name in NAMES:
        net = timm.create_model(name)
        assert net.get_submodule(net.pretrained_cfg["first_conv"]).in_channels == 3
        assert net.get_submodule(net.pretrained_cfg["classifier"]) is net.get_classifier()
        assert net.pretrained_cfg["architecture"] == name


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 15])
def test_a_strided_convolution_of_few_channels_has_the_gradient_of_the_formula(
    channels: int,
) -> None:
    # oneDNN's own kernel kills the process here, or is wrong, where the CPU has AVX2 alone
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, 8, 1, 2, bias=False)
    picked = copy.deepcopy(plain)
    subsampled(holder := nn.Sequential(picked))
    images = torch.rand(32, channels, 9, 8).to(memory_format=torch.channels_last).requires_grad_()
    said = holder(images)
    expected = F.conv2d(images.double(), plain.weight.double(), stride=2)
    assert said.shape == expected.shape
    pull = torch.rand_like(said)
    found = torch.autograd.grad(said, [images, picked.weight], pull)
    right = torch.autograd.grad(
        torch.einsum(
            "oc,nchw->nohw", plain.weight.double()[:, :, 0, 0], images.double()[..., ::2, ::2]
        ),
        [images, plain.weight],
        pull.double(),
    )
    assert torch.allclose(said.double(), expected, atol=1e-6)
    for ours, theirs in zip(found, right, strict=True):
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-4, atol=1e-4)
    assert list(holder.state_dict()) == ["0.weight"]
