"""The networks of `kdbench_models`: counts and shapes as published, timm's conventions kept."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import DropPath
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kdbench_models import resnet, vgg, wrn
from kdbench_models.staged import Staged, widened

FAMILIES = (resnet, wrn, vgg)
NAMES = [name for family in FAMILIES for name, _ in family.kdbench_models()]

# Weights, multiply-adds in millions as printed in the tables of the field, and channels and sides
# of stem and stages; for 100 classes and 32 x 32 colour images.
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
    "wrn_16_2": (703_284, 101, (16, 32, 64, 128), THREE_STAGES),
    "wrn_40_1": (569_780, 83, (16, 16, 32, 64), THREE_STAGES),
    "wrn_40_2": (2_255_156, 328, (16, 32, 64, 128), THREE_STAGES),
    "vgg8": (3_965_028, 96, (64, 128, 256, 512, 512), (32, 16, 8, 4, 4)),
    "vgg13_cifar": (9_462_180, 285, (64, 128, 256, 512, 512), (32, 16, 8, 4, 4)),
}


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
    assert net.num_features == channels[-1]


def test_wrn_16_1_is_the_thin_sibling_of_wrn_16_2():
    assert (
        sum(
            weight.numel() for weight in timm.create_model("wrn_16_1", num_classes=100).parameters()
        )
        == 180_916
    )


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
    assert set(NAMES) == set(PUBLISHED) | {"wrn_16_1"}
    for family in FAMILIES:
        for name, entry in family.kdbench_models():
            assert timm.model_entrypoint(name) is entry
            assert entry.__module__.startswith("kdbench_models.")
            assert type(timm.create_model(name)).__module__ == entry.__module__
    assert type(timm.create_model("vgg13", num_classes=1)).__module__ == "timm.models.vgg"


def test_no_name_is_one_of_timms_own():
    assert hasattr(timm.models, "vgg13")  # where timm keeps its entry functions
    assert [name for name in NAMES if hasattr(timm.models, name)] == []


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 64, 48), (2, 28, 28)], ids=str)
def test_any_channels_and_sizes_are_taken(name, shape):
    net = small(name, in_chans=shape[0], num_classes=7, width=0.25)
    assert net(images(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8"])
def test_a_photograph_of_224_pixels_is_taken(name):
    assert small(name, in_chans=3, width=0.1).eval()(images(1, 3, 224, 224)).shape == (1, 10)


@pytest.mark.parametrize("name", ["resnet14", "wrn_16_1", "vgg8"])
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


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8"])
def test_the_classifier_is_replaced_or_left_out(name):
    net, x = small(name).eval(), images(2, 1, 16, 16)
    pooled = net.forward_head(net.forward_features(x), pre_logits=True)
    net.reset_classifier(3)
    assert (net.num_classes, net(x).shape) == (3, (2, 3))
    net.reset_classifier(0)
    assert torch.equal(net(x), pooled)
    net.reset_classifier(5, "max")
    assert not torch.equal(net.forward_head(net.forward_features(x), pre_logits=True), pooled)


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8"])
def test_dropout_zeroes_the_classifier_input_in_training_only(name):
    net, x = small(name, drop_rate=0.5), images(4, 1, 8, 8)
    torch.manual_seed(0)
    pooled = net.forward_head(net.forward_features(x), pre_logits=True)
    assert 0.3 < (pooled == 0).float().mean() < 0.9
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("name", ["resnet14", "wrn_16_1"])
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


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8"])
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


def test_timm_is_told_where_first_layer_and_classifier_are():
    for name in NAMES:
        net = timm.create_model(name)
        assert net.get_submodule(net.pretrained_cfg["first_conv"]).in_channels == 3
        assert net.get_submodule(net.pretrained_cfg["classifier"]) is net.get_classifier()
        assert net.pretrained_cfg["architecture"] == name
