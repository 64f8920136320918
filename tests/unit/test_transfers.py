"""Transfer policies: numbers by counter, what the host proves, plans, and cohorts under them."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from kdbench.api import Batch, Draw, Outputs, Seen, Transfer
from kdbench.cli import main
from kdbench.data import Split, Views, derive_seed, joined
from kdbench.data.draws import Draws
from kdbench.errors import ContractError, PluginError, UsageError
from kdbench.plan import Plan
from kdbench.record import Spec
from kdbench.registry import Registry, scan
from kdbench.teacher.objective import CrossEntropy
from kdbench.train import Asked, Step, make_batch
from kdbench_transfers.cutmix import CutMix
from kdbench_transfers.jitter import Jitter, turned
from kdbench_transfers.mixup import MixUp
from kdbench_transfers.noise import Noise
from kdbench_transfers.randaugment import RandAugment
from kdbench_transfers.rotation import Rotation
from kdbench_transfers.unlabelled import Unlabelled
from kdbench_transfers.vertical_flip import VerticalFlip

Planned = Callable[..., Plan]
ALL = torch.arange(20)

# Of this code when it was written: a change would silently change every result under a policy.
GOLDEN_ROWS = [0.677256, 0.696707, 0.356958, 0.177325]


def split(rows: int = 20, shape: tuple[int, int, int] = (3, 8, 8), seed: int = 0) -> Split:
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (rows, *shape), generator=draw, dtype=torch.uint8)
    return Split(pixels.contiguous(memory_format=torch.channels_last), torch.arange(rows) % 10, "")


def views(*policies: Transfer, rows: Split | None = None, **changes: Any) -> Views:
    rows = rows or split()
    named = {type(one).__name__.lower(): one for one in policies}
    options = {"shift": 0, "flip": False, "device": "cpu", "seed": 7, "policy": named, **changes}
    return Views(rows, range(len(rows)), **options)


def drawn(rows: Tensor = ALL, seed: int = 7, epoch: int = 2) -> Draws:
    return Draws(seed, epoch, rows, 20, (3, 8, 8), {})


# Numbers ----------------------------------------------------------------------------------------


def test_a_row_s_numbers_depend_on_no_other_row() -> None:
    some = torch.tensor([11, 4, 19])
    for count in (None, 1, 3):
        assert torch.equal(drawn(some).rows("a", count), drawn().rows("a", count)[some])
    assert drawn(some).seeds("a") == [drawn().seeds("a")[row] for row in some.tolist()]
    chosen = torch.tensor([True, False, True])
    assert torch.equal(drawn(some).noise("a", chosen), drawn().noise("a", ALL >= 0)[[11, 19]])
    longer = replace(drawn(), size=500)
    assert torch.equal(longer.rows("a", 2), drawn().rows("a", 2))


def test_numbers_differ_by_seed_purpose_count_and_epoch() -> None:
    first = drawn().rows("a")
    others = [
        drawn().rows("b"), drawn().rows("a", 2)[:, 0], drawn(epoch=3).rows("a"),
        drawn(seed=8).rows("a"),
    ]  # fmt: skip
    assert not any(torch.equal(first, other) for other in others)
    assert len(set(drawn().seeds("a") + drawn().seeds("b") + drawn(epoch=3).seeds("a"))) == 60


def test_numbers_are_uniform_and_below_one() -> None:
    numbers = Draws(1, 0, torch.arange(50_000), 50_000, (1, 1, 1), {}).rows("a")
    assert 0 <= numbers.min() < numbers.max() < 1
    counts = torch.histc(numbers, 20, 0, 1)
    assert ((counts - 2500) ** 2 / 2500).sum() < 43.8  # chi-square, 19 degrees, p = 0.001


def test_a_batch_s_number_is_its_first_row_s_and_its_permutation_one_of_its_places() -> None:
    rows = torch.tensor([5, 9, 2, 14])
    assert drawn(rows).batch("a") == drawn().rows("a")[5]
    order = drawn(rows).permutation("a")
    assert order.sort().values.tolist() == [0, 1, 2, 3]
    found = {tuple(drawn(rows, epoch=epoch).permutation("a").tolist()) for epoch in range(300)}
    assert len(found) == 24


def test_a_draw_keeps_its_golden_values() -> None:
    assert [round(x, 6) for x in drawn().rows("a")[:4].tolist()] == GOLDEN_ROWS
    assert drawn().seeds("a")[3] == derive_seed(7, "a", 2, 3)


# What is seen -----------------------------------------------------------------------------------


def test_policies_see_what_the_one_before_made_after_crop_and_flip() -> None:
    whole = views(Rotation(), VerticalFlip(), shift=1, flip=True).seen(ALL, 2)
    cropped = views(shift=1, flip=True)
    first = views(Rotation(), shift=1, flip=True).seen(ALL, 2)
    down = views(VerticalFlip(), shift=1, flip=True).seen(ALL, 2)
    flipped = ~(down.images == cropped.batch(ALL, 2)).flatten(1).all(1)
    assert 0 < flipped.sum() < 20
    expected = torch.where(flipped[:, None, None, None], first.images.flip(2), first.images)
    assert torch.equal(whole.images, expected)


def test_a_policy_draws_the_same_alone_and_after_another() -> None:
    alone = views(VerticalFlip()).seen(ALL, 0)
    after = views(Noise(probability=0.0), VerticalFlip()).seen(ALL, 0)
    assert torch.equal(alone.images, after.images)


def test_without_a_policy_a_batch_is_what_it_was() -> None:
    plain = views(shift=1)
    seen, rows = plain.seen(ALL, 4), plain.order(4)
    assert torch.equal(seen.images, plain.batch(ALL, 4))
    assert seen.labelled.all()
    assert torch.equal(seen.index, ALL)
    batch = Step(plain, rows, 4, 0.5, lambda asked: None).batch  # type: ignore[arg-type, return-value]  # nobody asks
    assert torch.equal(batch.inputs, plain.batch(rows, 4))
    assert torch.equal(batch.target, plain.labels[rows])
    assert (batch.labelled.all(), batch.index.tolist()) == (True, rows.tolist())


def test_the_teacher_judges_the_images_that_students_see() -> None:
    heard: list[Asked] = []

    def teach(asked: Asked) -> Outputs:
        heard.append(asked)
        return Outputs(logits=torch.zeros(20, 10), pooled=torch.zeros(20, 4))

    step = Step(views(MixUp()), ALL, 0, 0.0, teach)
    step.teacher(1.0, "running", False)
    assert heard[0].images is step.batch.inputs
    assert not step.batch.labelled.any()
    assert step.batch.index.unique().tolist() == [-1]


@dataclass(frozen=True)
class Wrong(Transfer):
    how: str

    def see(self, seen: Seen, draw: Draw) -> Seen:
        match self.how:
            case "raises":
                raise ZeroDivisionError("by zero")
            case "torch":
                return replace(seen, images=torch.rand(seen.images.shape))
            case "fewer":
                return replace(seen, images=seen.images[:-1])
            case "wider":
                return replace(seen, images=seen.images.double())
        return replace(seen, labelled=seen.index)


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("raises", PluginError, r"'wrong' failed at .*test_transfers\.py:\d+\s+ZeroDivisionError"),
        ("torch", ContractError, "moved torch's generator"),
        ("fewer", ContractError, r"gave images as torch\.float32 \(19, 3, 8, 8\)"),
        ("wider", ContractError, r"images as torch\.float64"),
        ("labels", ContractError, r"gave labelled as torch\.int64"),
    ],
)
def test_a_policy_that_goes_wrong_is_named(how: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        views(Wrong(how)).seen(ALL, 0)


def test_hidden_labels_are_hidden_from_a_method_s_first_look_at_the_rows_too() -> None:
    rows = torch.tensor([3, 1])
    for policy, labelled in ((Unlabelled(), False), (MixUp(), True)):
        shown = views(policy)
        batch = make_batch(shown, rows, shown.plain(rows), 0.0)
        assert batch.labelled.tolist() == [labelled] * 2
        assert shown.hidden != labelled
        assert shown.unlabelled


def test_a_policy_may_draw_from_a_forked_generator_that_it_seeds_by_row() -> None:
    before = torch.get_rng_state()
    views(RandAugment()).seen(ALL, 0)
    assert torch.equal(torch.get_rng_state(), before)


# The policies that ship -------------------------------------------------------------------------


def test_a_rotation_is_torchvision_s() -> None:
    rows = split(shape=(3, 9, 14))
    policy = Rotation(degrees=70.0)
    seen = views(policy, rows=rows).seen(ALL, 1)
    draw = Draws(derive_seed(7, "transfer", "rotation"), 1, ALL, 20, (3, 9, 14), {})
    angles = (2 * draw.rows("angle") - 1) * 70
    for image, angle, pixels in zip(seen.images, angles.tolist(), rows.images, strict=True):
        expected = vision.rotate(pixels.float() / 255, angle, vision.InterpolationMode.BILINEAR)
        torch.testing.assert_close(image, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("share", [-0.2, 0.0, 0.11, 0.5])
def test_turning_hues_is_torchvision_s(share: float) -> None:
    images = split().images.float() / 255
    expected = vision.adjust_hue(images, share)
    torch.testing.assert_close(turned(images, torch.tensor(share)), expected, rtol=0, atol=1e-5)


def test_jitter_is_torchvision_s_in_its_fixed_order() -> None:
    seen = views(Jitter()).seen(ALL, 1)
    draw = Draws(derive_seed(7, "transfer", "jitter"), 1, ALL, 20, (3, 8, 8), {})
    change = 0.2 * (2 * draw.rows("change", 4) - 1)
    for image, pixels, by in zip(seen.images, split().images, change.tolist(), strict=True):
        expected = vision.adjust_brightness(pixels.float() / 255, 1 + by[0])
        expected = vision.adjust_contrast(expected, 1 + by[1])
        expected = vision.adjust_saturation(expected, 1 + by[2])
        expected = vision.adjust_hue(expected, by[3])
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-3)


def test_mixup_is_one_share_of_each_image_and_the_rest_of_another() -> None:
    plain = split().images.double() / 255
    shares = []
    for epoch in range(40):
        draw = Draws(derive_seed(7, "transfer", "mixup"), epoch, ALL, 20, (3, 8, 8), {})
        share, others = float(draw.batch("share")), draw.permutation("others")
        expected = share * plain + (1 - share) * plain[others]
        mixed = views(MixUp()).seen(ALL, epoch).images.double()
        torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-6)
        shares.append(share)
    assert min(shares) < 0.2
    assert max(shares) > 0.8


def test_cutmix_takes_one_box_of_another_image_and_the_rest_of_its_own() -> None:
    plain, areas = split().images.float() / 255, []
    for epoch in range(40):
        draw = Draws(derive_seed(7, "transfer", "cutmix"), epoch, ALL, 20, (3, 8, 8), {})
        others = plain[draw.permutation("others")]
        mixed = views(CutMix()).seen(ALL, epoch).images
        foreign = (mixed != plain).any(1).any(0)
        assert torch.equal(mixed[:, :, foreign], others[:, :, foreign])
        rows, columns = foreign.any(1), foreign.any(0)
        assert torch.equal(foreign, rows[:, None] & columns)
        areas.append(float(foreign.float().mean()))
    assert min(areas) < 0.2
    assert max(areas) > 0.5


def test_noise_replaces_a_fifth_of_the_rows_anew_each_epoch_and_takes_their_labels() -> None:
    rows = split(rows=2000)
    drawn, everything = views(Noise(), rows=rows), torch.arange(2000)
    first, second = drawn.seen(everything, 0), drawn.seen(everything, 1)
    assert abs(float((~first.labelled).float().mean()) - 0.2) < 0.03
    assert not torch.equal(first.labelled, second.labelled)
    assert torch.equal(first.index >= 0, first.labelled)
    kept, pixels = first.labelled, rows.images.float() / 255
    assert torch.equal(first.images[kept], pixels[kept])
    assert abs(float(first.images[~kept].mean()) - 0.5) < 0.01
    assert not (first.images[~kept] == pixels[~kept]).flatten(1).all(1).any()


# Rows that join ---------------------------------------------------------------------------------


def test_added_rows_come_after_the_own_ones_in_their_shape_and_without_labels() -> None:
    own, other = split(), split(rows=6, shape=(1, 12, 10), seed=1)
    rows = joined(own, 15, [other, split(rows=2, seed=2)])
    assert rows.images.shape == (23, 3, 8, 8)
    assert torch.equal(rows.images[:15], own.images[:15])
    assert torch.equal(rows.images[21:], split(rows=2, seed=2).images)
    assert rows.labels.tolist() == [*own.labels[:15].tolist(), *[0] * 8]
    whole = views(rows=rows, own=15)
    assert sorted(whole.order(0).tolist()) == list(range(23))
    seen = whole.seen(torch.tensor([14, 15, 22]), 0)
    assert seen.labelled.tolist() == [True, False, False]
    assert seen.index.tolist() == [14, 15, 22]


def test_own_rows_look_the_same_and_keep_their_order_where_others_join() -> None:
    alone = views(Rotation(), shift=1)
    rows = joined(split(), 20, [split(rows=9, seed=1)])
    beside = views(Rotation(), shift=1, rows=rows, own=20)
    assert torch.equal(beside.seen(ALL, 1).images, alone.seen(ALL, 1).images)
    order = beside.order(1)
    assert torch.equal(order[order < 20], alone.order(1))


def test_colour_becomes_grey_by_luminance_and_grey_becomes_colour_by_repetition() -> None:
    colour, grey = split(), split(shape=(1, 8, 8), seed=1)
    made = joined(grey, 20, [colour]).images[20:]
    expected = vision.rgb_to_grayscale(colour.images)
    assert int((made.int() - expected.int()).abs().max()) <= 1
    made = joined(colour, 20, [grey]).images[20:]
    assert torch.equal(made, grey.images.expand(-1, 3, -1, -1))


# Names ------------------------------------------------------------------------------------------

OWN = '''"""Darker: images of half the light."""

from dataclasses import dataclass, replace

from kdbench.api import Transfer, hookimpl


@dataclass(frozen=True)
class Darker(Transfer):
    """Images times a factor.

    Attributes:
        factor: In [0, 1].
    """

    factor: float = 0.5

    def see(self, seen, draw):
        return replace(seen, images=seen.images * self.factor)


@hookimpl
def kdbench_transfers():
    yield "darker", Darker()
'''


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    path = tmp_path_factory.mktemp("plugins") / "darker.py"
    path.write_text(OWN)
    return scan(files=[path])


def test_facts_of_a_policy_are_its_options_and_what_it_says_of_itself(
    kdbench_registry: Registry,
) -> None:
    asked = Spec.parse("rotation[degrees=5]+mixup+added[rows=7]+unlabelled").members
    rotation, mixup, added, hidden = kdbench_registry.transfers(asked)
    assert (str(rotation.spec), rotation.options) == ("rotation[degrees=5.0]", {"degrees": 5.0})
    assert (rotation.mixes, rotation.hides, rotation.adds) == (False, False, None)
    assert (mixup.mixes, mixup.hides) == (True, False)
    assert added.adds == {"dataset": "fashion_mnist", "rows": 7}
    assert (hidden.mixes, hidden.hides) == (False, True)
    assert len({one.code for one in (rotation, mixup, added, hidden)}) == 4


def test_what_is_no_policy_is_a_broken_plugin(tmp_path: Path) -> None:
    path = tmp_path / "none.py"
    path.write_text(OWN.replace("(Transfer)", ""))
    (plugin,) = [p for p in scan(files=[path]).plugins if p.source.path == str(path)]
    assert plugin.state == "broken"
    assert "expected a Transfer" in plugin.error
    path.write_text(OWN.replace("    factor: float", "    mixes = 1\n    factor: float"))
    (plugin,) = [p for p in scan(files=[path]).plugins if p.source.path == str(path)]
    assert plugin.state == "broken"
    assert "expected two bools" in plugin.error


def test_list_and_show_know_policies_and_their_sums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "transfers", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["data"]
    assert {"rotation", "mixup", "added"} <= {one["name"] for one in listed}
    assert {one["kind"] for one in listed} == {"transfer"}
    assert main(["show", "rotation[degrees=5]+mixup"]) == 0
    said = capsys.readouterr().out
    assert "transfer policy rotation[degrees=5.0]" in said
    assert re.search(r"mixes +True", said)
    assert main(["show", "mixupp"]) == 2
    assert "did you mean 'mixup'?" in capsys.readouterr().err


# Plans ------------------------------------------------------------------------------------------


def test_a_question_holds_the_policy_with_all_options_in_order(kdbench_plan: Planned) -> None:
    texts = ["rotation+vertical_flip+mixup", "rotation[degrees=20]+vertical_flip+mixup"]
    made = [kdbench_plan(methods=["kd"], train={"transfer": text}) for text in texts]
    questions = [plan.trials[0].question for plan in made]
    whole = "rotation[degrees=20.0]+vertical_flip[probability=0.5]+mixup"
    assert [question.protocol.transfer for question in questions] == [whole] * 2
    assert questions[0].teacher_protocol
    assert questions[0].teacher_protocol.transfer == ""
    again = kdbench_plan(methods=["kd"], train={"transfer": whole})
    assert again.trials[0].question == questions[0]
    other = kdbench_plan(methods=["kd"], train={"transfer": "vertical_flip+rotation+mixup"})
    assert other.trials[0].question.fingerprint != questions[0].fingerprint


def test_a_policy_s_code_is_the_trial_s_and_asks_the_teacher_live(kdbench_plan: Planned) -> None:
    (plain,) = kdbench_plan(methods=["kd"]).cohorts
    (turned,) = kdbench_plan(methods=["kd"], train={"transfer": "rotation"}).cohorts
    (more,) = kdbench_plan(methods=["kd"], train={"transfer": "rotation+mixup"}).cohorts
    assert (plain.answers, turned.answers) == ("kept", "live")
    assert len({cohort.trials[0].code for cohort in (plain, turned, more)}) == 3
    assert plain.teachers == turned.teachers


def test_a_teacher_s_own_policy_decides_its_weights(kdbench_plan: Planned) -> None:
    (plain,) = kdbench_plan(methods=["kd"]).cohorts
    (own,) = kdbench_plan(methods=["kd"], teacher={"transfer": "rotation"}).cohorts
    assert own.teachers[0].protocol
    assert own.teachers[0].protocol.transfer == "rotation[degrees=20.0]"
    assert own.policy.members == ()
    assert own.teachers[0].key != plain.teachers[0].key
    (changed,) = [replace(one, code="other") for one in own.teachers[0].policy.members]
    policy = replace(own.teachers[0].policy, members=(changed,))
    assert replace(own.teachers[0], policy=policy).key != own.teachers[0].key
    assert own.trials[0].code != plain.trials[0].code


def test_rows_that_join_count_as_rows_of_the_stream(kdbench_plan: Planned) -> None:
    asked = "added[dataset=digits,rows=40]"
    (cohort,) = kdbench_plan(methods=["kd"], train={"transfer": asked}).cohorts
    assert cohort.stream_rows == 96 + 40
    assert [(facts.name, rows) for facts, rows in cohort.policy.added] == [("digits", 40)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": {"transfer": "mixupp"}}, r"(?s)'mixupp'.*did you mean 'mixup'.*list transfers"),
        ({"train": {"transfer": "rotation[degree=3]"}}, "did you mean 'degrees'"),
        ({"train": {"transfer": "rotation[degrees=-3]"}}, r"degrees lies in \[0, 180\]"),
        ({"train": {"transfer": "mixup+mixup"}}, "mixup is twice"),
        ({"train": {"transfer": "added[dataset=digitz]"}}, "did you mean 'digits'"),
        ({"train": {"transfer": "added[dataset=digits,rows=901]"}}, "adds 901 rows of digits"),
        ({"teacher": {"transfer": "rotation+mixup"}}, "leaves rows without a label"),
        ({"teacher": {"transfer": "unlabelled"}}, "leaves rows without a label"),
        ({"teacher": {"transfer": "added"}}, "leaves rows without a label"),
        ({"train": {"first": 900}}, r"\[train\] first = 900 is too many"),
        (
            {"train": {"first": 850}},
            r"(?s)rows = 96 is too many.*50 training rows here from row 850",
        ),
        ({"teacher": {"first": 1}}, r"(?s)\[teacher\] rows = 900 .*899 training rows here from"),
    ],
)
def test_what_cannot_be_is_refused_in_three_lines(
    changes: dict[str, Any], said: str, kdbench_plan: Planned
) -> None:
    with pytest.raises(UsageError, match=said) as error:
        kdbench_plan(methods=["kd"], **changes)
    assert error.value.why
    assert error.value.next


# Cohorts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transfer", "scratch", "rows"),
    [
        ("rotation+vertical_flip+jitter", "ok", 96),
        ("mixup", "unsupported", 96),
        ("cutmix+noise", "unsupported", 96),
        ("unlabelled", "unsupported", 96),
        ("noise", "ok", 96),
        ("randaugment", "ok", 96),
        ("added[dataset=digits,rows=40]+rotation", "ok", 136),
    ],
)
def test_a_cohort_runs_under_every_policy(
    transfer: str, scratch: str, rows: int, kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    made = kdbench_plan(methods=["scratch", "kd"], train={"transfer": transfer})
    found = kdbench_answer(*made.cohorts)
    assert (found["kd"].status, found["kd"].failure) == ("ok", None)
    assert found["kd"].rows == rows
    assert found["kd"].answers == {"live": 1.0}
    assert found["scratch"].status == scratch
    if scratch == "unsupported":
        assert "leaves no row its label" in found["scratch"].failure.message
        assert found["kd"].losses["hard"] == 0
    assert found["kd"].losses["soft"] > 0


def test_methods_that_look_up_labels_cannot_do_without_them(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    made = kdbench_plan(methods=["kdpp", "crd"], train={"transfer": "unlabelled"})
    found = kdbench_answer(*made.cohorts)
    assert {name: one.status for name, one in found.items()} == {"kdpp": "ok", "crd": "failed"}


def test_hidden_labels_are_not_told_by_a_quiz_split(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    changes = {"train": {"transfer": "unlabelled"}, "scoring": {"baselines": ("kd",)}}
    found = kdbench_answer(*kdbench_plan(methods=["metadistil"], **changes).cohorts)
    assert {name: one.status for name, one in found.items()} == {
        "metadistil quiz 0.1": "unsupported", "kd quiz 0.1": "ok",
    }  # fmt: skip
    assert "the quiz split would tell labels" in found["metadistil quiz 0.1"].failure.message


def test_a_result_under_a_policy_does_not_depend_on_the_methods_beside_it(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    train = {"transfer": "rotation+noise+mixup"}
    alone = kdbench_answer(*kdbench_plan(methods=["kd"], train=train).cohorts)
    beside = kdbench_answer(*kdbench_plan(methods=["at", "kd"], train=train).cohorts)
    assert alone["kd"].deployed.weights == beside["kd"].deployed.weights
    plain = kdbench_answer(*kdbench_plan(methods=["kd"]).cohorts)
    assert plain["kd"].deployed.weights != alone["kd"].deployed.weights


def test_a_quiz_split_stays_the_end_of_the_own_rows_where_others_join(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    train = {"transfer": "added[dataset=digits,rows=40]"}
    made = kdbench_plan(methods=["metadistil"], train=train, scoring={"baselines": ()})
    (record,) = kdbench_answer(*made.cohorts).values()
    assert (record.status, record.rows) == ("ok", 86 + 40)


def test_students_learn_from_rows_that_their_teacher_did_not_see(
    kdbench_plan: Planned, kdbench_answer: Any, kdbench_bench: Any
) -> None:
    halves = {"teacher": {"rows": 450}, "train": {"first": 450, "rows": 96}}
    made = kdbench_plan(methods=["kd"], **halves)
    (cohort,) = made.cohorts
    own, other = kdbench_bench.data(cohort, ""), kdbench_bench.data(cohort.teachers[0], "")
    whole = kdbench_bench.data(kdbench_plan(methods=["kd"]).cohorts[0].teachers[0], "")
    assert torch.equal(own.train.images, whole.train.images[450:546])
    assert torch.equal(other.train.images, whole.train.images[:450])
    (record,) = kdbench_answer(cohort).values()
    assert (record.status, record.rows) == ("ok", 96)
    (rest,) = kdbench_plan(methods=["kd"], train={"first": 450, "rows": None}).cohorts
    assert rest.stream_rows == len(kdbench_bench.data(rest, "").train) == 450


def test_a_teacher_learns_under_a_policy_of_its_own(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    found = {
        text: kdbench_answer(*kdbench_plan(methods=["kd"], teacher={"transfer": text}).cohorts)
        for text in ("", "rotation+noise")
    }
    assert {one["kd"].status for one in found.values()} == {"ok"}
    weights = {one["kd"].teacher.weights for one in found.values()}
    assert len(weights) == 2


def test_a_policy_of_a_third_party_runs_from_one_file(
    third_party: Registry, kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    train = {"transfer": "darker[factor=0.25]"}
    made = kdbench_plan(methods=["kd"], train=train, registry=third_party)
    (record,) = kdbench_answer(*made.cohorts).values()
    assert record.status == "ok"
    assert record.question.protocol.transfer == "darker[factor=0.25]"


# Losses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [0, 3])
def test_the_host_s_cross_entropy_leaves_out_rows_without_a_label(labelled: int) -> None:
    logits, target = torch.randn(6, 10), torch.arange(6)
    batch = Batch(
        inputs=torch.rand(6, 1, 2, 2), target=target, labelled=torch.arange(6) < labelled,
        index=target, progress=torch.tensor(0.0),
    )  # fmt: skip
    said = Outputs(logits=logits, pooled=logits)
    found = CrossEntropy(masked=True).loss(said, said, batch, None)["hard"]
    expected = torch.nn.functional.cross_entropy(logits[:labelled], target[:labelled])
    torch.testing.assert_close(found, expected if labelled else torch.tensor(0.0))
