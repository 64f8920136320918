"""`kdbench.models`: any timm network as logits, pooled features and hints, or a refusal."""

import copy
import json
from itertools import pairwise

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import DropPath
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdbench.api import Hint, Maps, Outputs, Unsupported
from kdbench.errors import DataError, UsageError
from kdbench.models import Network, align, arguments, create, describe, load, surveyed
from kdbench.models.hints import chosen, equidistant
from kdbench.models.survey import Misfit
from kdbench.record import Deployed, Spec, frozen
from kdbench_models import resnet, vgg, wrn

assert all(family.ENTRIES for family in (resnet, wrn, vgg))  # registers them

GRAY = {"image_shape": (1, 8, 8), "mean": [0.3], "std": [0.4]}
COLOUR = {"image_shape": (3, 32, 32), "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}


def made(text: str, classes: int = 10, **facts: object) -> Network:
    torch.manual_seed(0)
    return create(Spec.parse(text), num_classes=classes, **(facts or GRAY))


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def shapes(said: Outputs) -> list[tuple[int, ...]]:
    return [tuple(hint.shape[1:]) for hint in said.hints]


# Logits, pooled features and hints


def test_hints_are_the_last_map_at_each_stride():
    said = made("resnet20", **COLOUR)(images(2, 3, 32, 32), Maps(hints=True))
    assert shapes(said) == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert shapes(made("vgg8[width=0.25]", **COLOUR)(images(2, 3, 32, 32), Maps(hints=True))) == [
        (16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)
    ]  # fmt: skip


def test_hints_of_one_stride_are_four_blocks_at_equal_relative_depths_without_the_class_token():
    net = made("vit_tiny_patch16_224", **COLOUR)
    assert net.reading.taps == (2, 5, 8, 11)
    assert (
        net.port().hints == (Hint(channels=192, height=2, width=2, stride=16, kind="tokens"),) * 4
    )
    net.eval()
    tokens = net.model.blocks[:6](
        net.model._pos_embed(net.model.patch_embed(net.prepared(x := images(2, 3, 32, 32))))
    )
    assert torch.equal(net(x, Maps(hints=True)).hints[1].flatten(2).mT, tokens[:, 1:])


def test_logits_are_bit_identical_with_and_without_hints():
    for text in (
        "resnet8",
        "wrn_16_1",
        "vgg8[width=0.25]",
        "test_vit[img_size=16]",
        "efficientvit_m0",
    ):
        net = made(text, image_shape=(1, 16, 16), mean=[0.3], std=[0.4])
        for training in (True, False):
            net.train(training)
            alone = copy.deepcopy(net)(images(3, 1, 16, 16))
            beside = net(images(3, 1, 16, 16), Maps(hints=True))
            assert torch.equal(alone.logits, beside.logits), text
            assert torch.equal(alone.pooled, beside.pooled), text


def test_undeclared_hints_cannot_be_read():
    with pytest.raises(Exception, match="did not declare"):
        len(made("resnet8")(images(1, 1, 8, 8)).hints)


@pytest.mark.parametrize(
    "text",
    [
        "resnet8",
        "vgg8[width=0.25]",
        "dla46x_c",
        "sequencer2d_s",
        "deit_tiny_distilled_patch16_224",
        "levit_128s",
    ],
)
def test_the_classifier_makes_the_logits_of_the_pooled_features(text):
    net = made(text, **COLOUR).eval()
    said = net(images(2, 3, 32, 32))
    assert said.pooled.shape == (2, net.port().pooled_dim)
    torch.testing.assert_close(net.classify(said.pooled), said.logits, rtol=1e-6, atol=1e-6)


def test_a_network_distilled_by_a_token_has_the_inputs_of_both_classifiers_as_pooled():
    net = made("deit_tiny_distilled_patch16_224", **COLOUR).eval()
    said = net(images(2, 3, 32, 32))
    first, second = said.pooled.split(192, 1)
    assert not torch.equal(first, second)
    assert torch.equal(said.logits, (net.model.head(first) + net.model.head_dist(second)) / 2)


def test_two_classifiers_of_one_input_have_it_once():
    assert made("levit_128s", **COLOUR).port().pooled_dim == 384


def test_hints_train_the_network_that_said_them():
    net = made("resnet8")
    said = net(images(4, 1, 8, 8), Maps(hints=True))
    said.hints[0].square().mean().backward()
    assert net.model.conv1.weight.grad.abs().sum() > 0
    assert net.model.layer2[0].conv1.weight.grad is None


def test_activations_work_in_place_nowhere_and_captured_maps_stay():
    assert any(
        getattr(module, "inplace", False) for module in timm.create_model("resnet18").modules()
    )
    net = made("resnet18", **COLOUR).eval()
    assert not any(getattr(module, "inplace", False) for module in net.modules())
    said = net(images(2, 3, 32, 32), Maps(hints=True))
    for tap, hint in zip(net.reading.taps, said.hints, strict=True):
        x = net.prepared(images(2, 3, 32, 32))
        (alone,) = net.model.forward_intermediates(
            x, indices=[tap], stop_early=True, intermediates_only=True
        )
        assert torch.equal(alone, hint)


def test_nothing_is_left_on_the_network_between_calls():
    net = made("efficientvit_m0", **COLOUR)  # whose classifier's input is caught
    before = {name: dict(module.__dict__) for name, module in net.named_modules()}
    net(images(2, 3, 32, 32), Maps(hints=True))
    after = {name: dict(module.__dict__) for name, module in net.named_modules()}
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert all(before[name].keys() == after[name].keys() for name in before)


def test_a_forward_pass_that_fails_leaves_no_hooks():
    net = made("efficientvit_m0", **COLOUR)
    net.model.head.linear = nn.Linear(3, 10)
    with pytest.raises(RuntimeError):
        net(images(2, 3, 32, 32))
    assert not any(module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize("text", ["resnet8", "wrn_16_1", "test_vit[img_size=16]"])
def test_functional_call_gives_second_order_gradients(text):
    net = made(text, image_shape=(1, 16, 16), mean=[0.3], std=[0.4])
    params, buffers = dict(net.named_parameters()), {n: b.clone() for n, b in net.named_buffers()}
    x = images(2, 1, 16, 16)
    with sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention have no second derivative
        said = functional_call(net, params | buffers, (x,), {"maps": Maps(hints=True)})
        inner = said.logits.square().mean() + said.hints[0].square().mean()
        steps = torch.autograd.grad(
            inner, list(params.values()), create_graph=True, materialize_grads=True
        )
        moved = {
            name: value - 0.1 * step
            for (name, value), step in zip(params.items(), steps, strict=True)
        }
        outer = (
            functional_call(net, moved | buffers, (x,), {"maps": Maps(hints=True)})
            .logits.square()
            .mean()
        )
    seconds = torch.autograd.grad(outer, list(params.values()), materialize_grads=True)
    assert all(grad.isfinite().all() for grad in seconds)
    direct = torch.autograd.grad(
        net(x).logits.square().mean(), list(params.values()), materialize_grads=True
    )
    assert not all(torch.allclose(a, b) for a, b in zip(seconds, direct, strict=True))


def test_functional_call_with_its_own_weights_is_a_plain_call():
    net = made("resnet8").eval()
    state = dict(net.named_parameters()) | dict(net.named_buffers())
    said, plain = (
        functional_call(net, state, (x := images(2, 1, 8, 8),), {"maps": Maps(hints=True)}),
        net(x, Maps(hints=True)),
    )
    assert torch.equal(said.logits, plain.logits)
    assert all(torch.equal(a, b) for a, b in zip(said.hints, plain.hints, strict=True))


def test_a_deep_copy_is_independent():
    net = made("resnet8").eval()
    twin, x = copy.deepcopy(net), images(2, 1, 8, 8)
    with torch.no_grad():
        net.model.fc.weight.zero_()
    assert not torch.equal(twin(x).logits, net(x).logits)
    assert twin.port() == twin.port()
    assert twin.port().model is twin


@pytest.mark.parametrize("hints", [False, True])
def test_the_tensor_part_compiles_whole(hints):
    net, x = made("resnet8").eval(), images(2, 1, 8, 8)
    whole = torch.compile(net.tensors, backend="eager", fullgraph=True, dynamic=False)
    (logits, pooled, maps, _), plain = whole(x, hints), net(x, Maps(hints=True))
    assert torch.equal(logits, plain.logits)
    assert torch.equal(pooled, plain.pooled)
    assert len(maps) == 3 * hints
    assert all(torch.equal(a, b) for a, b in zip(maps, plain.hints, strict=False))


def test_dropout_and_drop_path_of_a_student_follow_torchs_generator():
    net, x = made("resnet8[drop_path_rate=0.5,drop_rate=0.5]"), images(8, 1, 8, 8)
    assert any(isinstance(module, DropPath) for module in net.modules())
    said = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        said.append(copy.deepcopy(net)(x, Maps(hints=True)).logits)
    assert torch.equal(said[0], said[2])
    assert not torch.equal(said[0], said[1])


# Images, their statistics and sizes


def test_images_are_normalised_by_the_data_set_where_weights_are_trained_here():
    net = made("resnet8", **COLOUR).eval()
    x = images(2, 3, 32, 32)
    mean, std = torch.tensor(COLOUR["mean"]), torch.tensor(COLOUR["std"])
    by_hand = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    assert torch.equal(net(x).logits, net.model(by_hand))
    assert set(net.state_dict()) == {f"model.{name}" for name in net.model.state_dict()}


@pytest.mark.parametrize(
    ("text", "shape", "size"),
    [
        ("resnet8", (1, 8, 8), None),
        ("resnet18", (1, 8, 8), None),  # stride 32: its last maps are one pixel
        ("dla46x_c", (1, 8, 8), (32, 32)),  # its maps would vanish
        ("test_vit", (1, 8, 8), (160, 160)),  # 16 does not divide 8
        ("test_vit", (1, 28, 28), (160, 160)),
        ("test_vit", (3, 32, 32), None),
        ("gmlp_ti16_224", (1, 28, 28), (224, 224)),  # its patches would leave 12 rows out
        ("eca_botnext26ts_256", (3, 32, 32), None),
        ("test_vit[img_size=48]", (3, 32, 32), (48, 48)),
        ("resnet8[img_size=16]", (1, 8, 8), (16, 16)),
        ("crossvit_tiny_240", (3, 32, 32), (240, 240)),
    ],
)
def test_images_are_resized_only_where_they_must_be(text, shape, size):
    net = made(text, image_shape=shape, mean=[0.5] * shape[0], std=[0.25] * shape[0])
    assert net.reading.input_size == size
    assert net.prepared(images(1, *shape)).shape[2:] == (size or shape[1:])


def test_a_size_that_the_network_can_never_take_is_refused():
    with pytest.raises(Unsupported, match="images of 8 x 8 pixels") as caught:
        made("dla46x_c[img_size=8]")
    assert caught.value.why
    assert "img_size=N" in caught.value.next


def test_published_weights_get_images_of_their_own_size_and_statistics(tmp_path):
    published(tmp_path, mean=(0.1, 0.2, 0.3), std=(0.2, 0.4, 0.6))
    net = made(f"local-dir:{tmp_path}[pretrained=true]", **COLOUR)
    assert net.reading.input_size == (48, 48)
    torch.testing.assert_close(net.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(net.std.flatten(), torch.tensor([0.2, 0.4, 0.6]))
    stored = load_file(tmp_path / "model.safetensors")
    assert torch.equal(net.model.layer1[0].conv1.weight, stored["layer1.0.conv1.weight"])
    untrained = made(f"local-dir:{tmp_path}", **COLOUR)
    assert untrained.reading.input_size is None
    assert not torch.equal(untrained.model.layer1[0].conv1.weight, stored["layer1.0.conv1.weight"])
    torch.testing.assert_close(untrained.mean.flatten(), torch.tensor(COLOUR["mean"]))


def test_published_weights_for_colour_take_gray_images(tmp_path):
    published(tmp_path, mean=(0.1, 0.2, 0.3), std=(0.2, 0.4, 0.6))
    net = made(f"local-dir:{tmp_path}[pretrained=true]")
    assert net.mean.item() == pytest.approx(0.2)
    assert net.std.item() == pytest.approx(0.4)
    stored = load_file(tmp_path / "model.safetensors")["conv1.weight"]
    torch.testing.assert_close(net.model.conv1.weight, stored.sum(1, keepdim=True))
    assert made(f"local-dir:{tmp_path}[pretrained=true]", classes=3)(
        images(2, 1, 8, 8)
    ).logits.shape == (2, 3)


def published(folder, **statistics: tuple[float, ...]) -> None:
    """A folder as timm publishes networks."""
    torch.manual_seed(7)
    model = timm.create_model("resnet8", num_classes=10)
    facts = {
        "input_size": (3, 48, 48),
        "num_classes": 10,
        "first_conv": "conv1",
        "classifier": "fc",
        **statistics,
    }
    (folder / "config.json").write_text(
        json.dumps({"architecture": "resnet8", "num_classes": 10, "pretrained_cfg": facts})
    )
    save_file(model.state_dict(), folder / "model.safetensors")


# Creation and its errors


@pytest.mark.parametrize(
    "text", ["resnet8[width=0.5]", "test_vit[drop_rate=0.1]", "test_efficientnet"]
)
def test_initial_weights_are_timms_own_of_the_same_seed(text):
    spec = Spec.parse(text)
    nets = [made(text, **COLOUR), made(text, **COLOUR)]  # surveyed, and surveyed already
    torch.manual_seed(0)
    sized = {"img_size": (32, 32)} if text.startswith("test_vit") else {}
    own = timm.create_model(spec.name, num_classes=10, in_chans=3, **dict(spec.options), **sized)
    after = torch.rand(1)
    for net in nets:
        assert all(
            torch.equal(a, b)
            for a, b in zip(net.model.state_dict().values(), own.state_dict().values(), strict=True)
        )
    made(text, **COLOUR)
    assert torch.equal(torch.rand(1), after)


def test_surveying_leaves_the_network_and_the_generator_as_they_are():
    model = timm.create_model("levit_128s", num_classes=10)  # keeps a cache in evaluation
    model.stages[0].eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    surveyed(model, (3, 224, 224))
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    copy.deepcopy(model)


@pytest.mark.parametrize(
    ("text", "what", "why"),
    [
        ("resnet9", "no network 'resnet9'", "did you mean resnet"),
        ("zzzzzzzz", "no network 'zzzzzzzz'", "timm has none"),
        ("resnet18.nonsense", "no network 'resnet18.nonsense'", "tag"),
        ("resnet8[widht=0.5]", "takes no option 'widht'", "did you mean width"),
        ("resnet8[zzzzzz=1]", "takes no option 'zzzzzz'", "it takes"),
        (
            "test_efficientnet[drop_ratee=0.5]",
            "takes no option 'drop_ratee'",
            "did you mean drop_rate",
        ),
        ("resnet8[num_classes=5]", "takes no option 'num_classes'", "the host"),
        ("resnet8[checkpoint_path=x]", "takes no option 'checkpoint_path'", "the host"),
        ("resnet8[width=-1]", "resnet8[width=-1] cannot be built", "width is a factor above 0"),
        ("resnet8[width=wide]", "resnet8[width=wide] cannot be built", ""),
        ("resnet8[pretrained=7]", "pretrained=7", "true or false"),
        ("resnet8[img_size=0]", "img_size=0", "pixels"),
        ("resnet8[img_size=true]", "img_size=True", "pixels"),
    ],
)
def test_a_wrong_name_or_option_is_said_with_what_was_meant(text, what, why):
    with pytest.raises(UsageError) as caught:
        made(text)
    assert what in caught.value.what
    assert why in caught.value.why
    assert caught.value.next


def test_published_weights_that_cannot_be_had_say_what_to_fetch(monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    for fetch in ("load_state_dict_from_hf", "load_state_dict_from_url"):
        monkeypatch.setattr(f"timm.models._builder.{fetch}", offline)
    with pytest.raises(DataError, match="published weights of resnet18") as caught:
        made("resnet18[pretrained=true]", **COLOUR)
    assert caught.value.why == "no route to host"
    assert "fetch timm/resnet18" in caught.value.next


def test_a_network_without_published_weights_says_so():
    with pytest.raises(DataError, match="published weights of resnet8"):
        made("resnet8[pretrained=true]")


def test_wrong_statistics_are_refused():
    for mean, std in (([0.5], [0.5]), ([0.5] * 3, [0.5, 0.5, 0.0])):
        with pytest.raises(ValueError, match="3 channels"):
            made("resnet8", image_shape=(3, 8, 8), mean=mean, std=std)


# Weights


def test_the_bare_networks_weights_are_read_from_a_file_by_timm_and_by_us(tmp_path):
    net, x = made("resnet8[width=0.5]"), images(2, 1, 8, 8)
    net(x)
    save_file(net.model.state_dict(), tmp_path / "net.safetensors")
    bare = timm.create_model(
        "resnet8",
        width=0.5,
        num_classes=10,
        in_chans=1,
        checkpoint_path=tmp_path / "net.safetensors",
    )
    back = made(f"resnet8[checkpoint={tmp_path}/net.safetensors,width=0.5]")
    for one in (bare, back.model):
        assert all(torch.equal(t, net.model.state_dict()[n]) for n, t in one.state_dict().items())
    assert torch.equal(back.eval()(x).logits, net.eval()(x).logits)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("resnet8[width=0.5]", (1, 8, 8)),
        ("resnet8[img_size=16]", (1, 8, 8)),
        ("test_convnext[dims=(8,16,24,32)]", (3, 32, 32)),
        ("test_vit", (3, 32, 32)),
        ("test_vit[img_size=64]", (3, 32, 32)),
    ],
)
def test_the_arguments_build_the_bare_network_again_after_a_trip_through_json(text, shape):
    net = made(text, image_shape=shape, mean=[0.5] * shape[0], std=[0.5] * shape[0])
    told = json.loads(json.dumps(arguments(Spec.parse(text), 10, shape)))
    bare = timm.create_model(Spec.parse(text).name, **{key: frozen(v) for key, v in told.items()})
    bare.load_state_dict(net.model.state_dict(), strict=True)
    deployed = {"network": "n", "weights": "w", "parameters": 1, "multiply_adds": 1}
    kept = Deployed(**deployed, options=told, latency_ms=1, throughput=1)
    assert json.loads(kept.model_dump_json())["options"] == told


def test_a_torch_checkpoint_is_read_without_running_code(tmp_path):
    net = made("resnet8")
    torch.save({"state_dict": net.model.state_dict()}, tmp_path / "net.pt")
    back = made(f"resnet8[checkpoint={tmp_path}/net.pt]")
    assert torch.equal(back.model.fc.weight, net.model.fc.weight)
    torch.save(net.model, tmp_path / "code.pt")  # a whole module: unpickling it would run code
    with pytest.raises(DataError, match="cannot be read as weights"):
        load(net.model, tmp_path / "code.pt")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda state: state.pop("fc.bias"), "missing: fc.bias"),
        (lambda state: state.update(extra=torch.ones(1)), "unknown: extra"),
        (lambda state: state.update({"fc.bias": torch.ones(3)}), "of another shape: fc.bias"),
        (lambda state: [state.pop(name) for name in list(state)[:5]], "and 2 more"),
    ],
    ids=["missing", "unknown", "shape", "many"],
)
def test_weights_of_another_network_are_refused_by_name(tmp_path, change, why):
    net = made("resnet8")
    state = dict(net.model.state_dict())
    change(state)
    save_file(state, tmp_path / "net.safetensors")
    before = net.model.conv1.weight.clone()
    with pytest.raises(DataError, match="another network") as caught:
        load(net.model, tmp_path / "net.safetensors")
    assert why in caught.value.why
    assert torch.equal(net.model.conv1.weight, before)


@pytest.mark.parametrize(
    "name", ["gone.safetensors", "gone.pt", "torn.safetensors", "torn.pt", "empty.pt"]
)
def test_a_file_that_is_no_weights_is_a_data_error(tmp_path, name):
    if not name.startswith("gone"):
        (tmp_path / name).write_bytes(b"" if name == "empty.pt" else b"torn" * 5)
    with pytest.raises(DataError, match="cannot be read as weights"):
        made(f"resnet8[checkpoint={tmp_path}/{name}]")


# Refusals


class Odd(nn.Module):
    """A timm-like network whose parts can be bent."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def forward_intermediates(
        self, x: Tensor, indices=None, output_fmt: str = "NCHW"
    ) -> tuple[Tensor, list[Tensor]]:
        return self.conv(x), [self.conv(x)]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x.mean((2, 3)) if pre_logits else self.fc(x.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.fc


def test_a_plain_network_of_timms_conventions_is_read():
    assert surveyed(Odd(), (1, 8, 8)).hints == (Hint(channels=4, height=6, width=6, stride=1),)


BENT = {
    "no forward_intermediates": ({"forward_intermediates": None}, "no forward_intermediates"),
    "no classifier": ({"get_classifier": lambda net: nn.Identity()}, "no classifier"),
    "classifier not called": ({"get_classifier": lambda net: nn.Linear(4, 10)}, "not called"),
    "two outputs": (
        {"forward": lambda net, x: (net.fc(x.mean((2, 3)).expand(-1, 4)),) * 2},
        "logits",
    ),
    "not finite": ({"forward": lambda net, x: net.fc(x.mean((2, 3)).expand(-1, 4)) / 0}, "finite"),
    "no maps": ({"forward_intermediates": lambda net, x, **_: (x, [])}, "spatial"),
    "flat maps": ({"forward_intermediates": lambda net, x, **_: (x, [x.flatten(1)])}, "spatial"),
    "failing maps": (
        {"forward_intermediates": lambda net, x: (x, [x])},
        "forward_intermediates fails",
    ),
    "other logits": (
        {"forward": lambda net, x: 2 * net.fc(net.conv(x).mean((2, 3)))},
        "forward_head of",
    ),
    "other classifier": (
        {
            "forward_head": lambda net, x, pre_logits=False: (
                net.fc(x.mean((2, 3))) + x.amax((1, 2, 3))[:, None] ** 2
            )
        },
        "not what its classifier makes",
    ),
    "other maps": (
        {
            "forward_intermediates": lambda net, x, indices=None, output_fmt="": (
                net.conv(x) + 1,
                [net.conv(x)],
            )
        },
        "forward_head of",
    ),
}


@pytest.mark.parametrize("case", BENT)
def test_a_network_that_cannot_be_read_truly_is_refused_with_the_reason(case):
    parts, why = BENT[case]
    kind = type("Odd", (Odd,), {name: part for name, part in parts.items() if part})
    net = kind()
    if None in parts.values():
        net = nn.Module()
        net.forward_features = net.forward_head = net.get_classifier = Odd.forward
    with pytest.raises(Unsupported) as caught:
        surveyed(net, (1, 8, 8))
    assert why in caught.value.why


def test_weights_that_start_equal_hide_nothing():
    class Weighted(Odd):
        """Two classifiers whose shares of the logits are learned, and start equal."""

        def __init__(self) -> None:
            super().__init__()
            self.heads, self.shares = (
                nn.ModuleList([self.fc, nn.Linear(4, 10)]),
                nn.Parameter(torch.ones(2)),
            )

        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            x, shares = x.mean((2, 3)), self.shares.softmax(0)
            return x if pre_logits else shares[0] * self.heads[0](x) + shares[1] * self.heads[1](x)

        def get_classifier(self) -> nn.Module:
            return self.heads

    with pytest.raises(Unsupported, match="not what its classifier makes"):
        surveyed(Weighted(), (1, 8, 8))


def test_a_forward_pass_that_fails_is_a_misfit():
    with pytest.raises(Misfit, match="Kernel size"):
        surveyed(Odd(), (1, 2, 2))

    class Indexing(Odd):
        def forward_features(self, x: Tensor) -> Tensor:
            return {16: self.conv(x)}[x.shape[2]]

    with pytest.raises(Misfit, match="8"):
        surveyed(Indexing(), (1, 8, 8))


# Description and alignment


@pytest.mark.parametrize(
    ("text", "params", "millions"), [("resnet8", 83_892, 12.5), ("wrn_40_1", 569_780, 83.3)]
)
def test_description_counts_weights_and_multiply_adds(text, params, millions):
    told = describe(made(text, classes=100, **COLOUR))
    assert told["params"] == params
    assert told["multiply_adds"] / 1e6 == pytest.approx(millions, abs=0.05)


def test_multiply_adds_count_attention_whichever_kernel_runs_it():
    net = made("vit_tiny_patch16_224", **COLOUR)
    tokens, dim, hidden = 5, 192, 768
    block = (
        tokens * dim * 3 * dim
        + 2 * tokens * tokens * dim
        + tokens * dim * dim
        + 2 * tokens * dim * hidden
    )
    assert describe(net)["multiply_adds"] == 12 * block + 4 * dim * 3 * 256 + dim * 10


def test_the_fingerprint_follows_the_architecture_and_not_the_weights():
    prints = [
        describe(net)["fingerprint"]
        for net in (made("resnet8"), made("resnet8").apply(nn.Module.zero_grad))
    ]
    assert len(set(prints)) == 1
    changed = [
        made("resnet8[width=0.5]"),
        made("resnet14"),
        made("resnet8", classes=9),
        made("resnet8", **COLOUR),
    ]
    assert len({describe(net)["fingerprint"] for net in changed} | set(prints)) == 5


@pytest.mark.parametrize("many", range(1, 9))
@pytest.mark.parametrize("few", range(1, 9))
def test_places_rise_keep_the_last_and_lie_at_equal_relative_depths(many, few):
    if few <= many:
        places = equidistant(many, few)
        assert len(places) == few
        assert places[-1] == many - 1
        assert all(a < b for a, b in pairwise(places))
        assert all(
            abs((place + 1) / many - (i + 1) / few) <= 0.5 / many + 1e-9
            for i, place in enumerate(places)
        )
        hint = Hint(channels=1, height=1, width=1, stride=1)
        assert align([hint] * few, [hint] * many) == (tuple(range(few)), places)
        assert align([hint] * many, [hint] * few) == (places, tuple(range(few)))


def test_maps_of_one_size_give_four_hints_or_as_many_as_there_are():
    assert chosen([(7, 7)] * 3) == (0, 1, 2)
    assert chosen([(7, 7)] * 24) == (5, 11, 17, 23)
    assert chosen([(8, 8), (4, 4), (4, 4), (1, 1), (1, 1)]) == (0, 2, 4)


def test_picked_hints_are_the_only_ones_said_and_told():
    net, x = made("resnet8"), images(2, 1, 8, 8)
    every = copy.deepcopy(net)(x, Maps(hints=True))
    net.pick((0, 2))
    said = net(x, Maps(hints=True))
    assert shapes(said) == [(16, 8, 8), (64, 2, 2)]
    assert [(h.channels, h.height, h.width) for h in net.port().hints] == shapes(said)
    assert torch.equal(said.logits, every.logits)
    net.pick((1,))  # counts among all of them, not among those kept
    assert net.port().hints[0].channels == 32
    for places in ((0, 3), (1, 0), (0, 0), (-1,)):
        with pytest.raises(ValueError, match="rising places"):
            net.pick(places)


def test_the_port_tells_the_shapes_that_the_network_says():
    for text in (
        "resnet8",
        "test_vit",
        "test_efficientnet",
        "swin_tiny_patch4_window7_224",
        "deit_tiny_distilled_patch16_224",
    ):
        net = made(text, **COLOUR).eval()
        port, said = net.port(), net(images(1, 3, 32, 32), Maps(hints=True))
        assert port.model is net
        assert said.pooled.shape[1] == port.pooled_dim
        assert [(h.channels, h.height, h.width) for h in port.hints] == shapes(said)
        assert all(h.stride * h.height == 32 for h in port.hints)
