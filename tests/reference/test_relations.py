"""Relation losses and gradients equal those of the references for the same tensors, in float64."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Outputs
from kdbench_methods.cc import CC
from kdbench_methods.crd import CRD, Banks, contrast
from kdbench_methods.gkd import GKD
from kdbench_methods.irg import IRG
from kdbench_methods.kdsvd import KDSVD
from kdbench_methods.london import LONDON
from kdbench_methods.pkt import PKT
from kdbench_methods.rkd import RKD
from kdbench_methods.sp import SP

Case = dict[str, Any]
Check = Callable[..., None]
Drawn = Mapping[str, Tensor]


@pytest.mark.golden("rkd")
def test_rkd_distance_and_angle_terms(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = RKD(distance=given["w_d"], angle=given["w_a"])

    def term(s: Outputs, t: Outputs, batch: Batch, _: Drawn) -> Tensor:
        losses = method.loss(s, t, batch, None)
        return losses["distance"] + losses["angle"]

    check_term(case, term)


@pytest.mark.golden("rkd")
@pytest.mark.parametrize("name", ["distance", "angle"])
def test_rkd_terms_one_by_one(case: Case, name: str, check_term: Check) -> None:
    mean = {"distance": "distance_mean_over_BxB", "angle": "angle_mean_over_BxBxB"}[name]
    method = RKD(distance=1.0, angle=1.0)
    check_term(
        case,
        lambda s, t, batch, _: method.loss(s, t, batch, None)[name],
        loss=case["loss_variants"][mean],
    )


@pytest.mark.golden("pkt")
def test_pkt_affinity_term(case: Case, check_term: Check) -> None:
    method = PKT(weight=1.0)
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, None)["affinity"])


def linear(drawn: Drawn, name: str) -> nn.Linear:
    """The drawn embedding; its weights stay the drawn leaves."""
    weight, bias = drawn[f"{name}.linear.weight"], drawn[f"{name}.linear.bias"]
    embed = nn.Linear(weight.shape[1], weight.shape[0])
    del embed.weight, embed.bias
    embed.weight, embed.bias = weight, bias
    return embed


@pytest.mark.golden("cc")
def test_cc_congruence_of_differences(case: Case, check_term: Check) -> None:
    def term(s: Outputs, t: Outputs, batch: Batch, drawn: Drawn) -> Tensor:
        embeds = [nn.Identity(), nn.Identity()]
        if case["hyperparameters"]["embedding"] == "linear":
            embeds = [linear(drawn, "student_embed"), linear(drawn, "teacher_embed")]
        return CC(weight=1.0).loss(s, t, batch, nn.ModuleList(embeds))["congruence"]

    check_term(case, term)


@pytest.mark.golden("cc_rbf")
def test_cc_congruence_of_kernels(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = CC(weight=1.0, form="kernel", gamma=given["gamma"], order=given["P"])
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, None)["congruence"])


@pytest.mark.golden("sp")
def test_sp_similarity_term_of_each_hint(case: Case, check_term: Check) -> None:
    def term(s: Outputs, t: Outputs, batch: Batch, _: Drawn) -> Tensor:
        gaps = [
            SP(weight=1.0).loss(replace(s, hints=(a,)), replace(t, hints=(b,)), batch, None)
            for a, b in zip(s.hints, t.hints, strict=True)
        ]
        return torch.stack([gap["similarity"] for gap in gaps]).sum()

    check_term(case, term)


@pytest.mark.golden("irg")
def test_irg_terms(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = IRG(vertex=given["w_vert"], edge=given["w_edge"], transformation=given["w_tran"])

    def term(s: Outputs, t: Outputs, batch: Batch, _: Drawn) -> Tensor:
        losses = method.loss(s, t, batch, None)
        return losses["vertex"] + losses["edge"] + losses["transformation"]

    norms = {name: norm or None for name, norm in case["grad_l2"].items()}  # a weight may be 0
    check_term({**case, "grad_l2": norms}, term)


@pytest.mark.golden("irg")
@pytest.mark.parametrize("name", ["vertex", "edge", "transformation"])
def test_irg_terms_one_by_one(case: Case, name: str, check_term: Check) -> None:
    method = IRG(vertex=1.0, edge=1.0, transformation=1.0)
    check_term(
        case,
        lambda s, t, batch, _: method.loss(s, t, batch, None)[name],
        loss=case["loss_variants"][name],
    )


def nce(case: Case, epsilon: float) -> Callable[..., Tensor]:
    given = case["hyperparameters"]

    def term(s: Outputs, t: Outputs, batch: Batch, drawn: Drawn) -> Tensor:
        scores = drawn["student_scores"].flatten(1).log()
        chosen = torch.ones_like(scores[:, 1:])
        return contrast(
            scores[:, 0], scores[:, 1:], chosen, given["m"] / given["n_data"], epsilon
        ).mean()

    return term


@pytest.mark.golden("crd_nce")
def test_crd_contrast_of_scores_with_the_code_s_epsilon(case: Case, check_term: Check) -> None:
    check_term(case, nce(case, 1e-7))


@pytest.mark.golden("crd_nce")
def test_crd_contrast_of_scores_as_the_paper_has_it(case: Case, check_term: Check) -> None:
    check_term(case, nce(case, CRD().epsilon), loss=case["loss_paper"])


@pytest.mark.golden("crd_full")
def test_crd_both_ways(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = CRD(
        weight=1.0,
        dim=given["feat_dim"],
        negatives=given["K_neg"],
        temperature=given["tau"],
        momentum=given["momentum"],
        epsilon=1e-7,
    )

    def term(s: Outputs, t: Outputs, batch: Batch, drawn: Drawn) -> Tensor:
        size, index, draws = given["n_data"], drawn["sample_index"], drawn["contrast_index"][:, 1:]
        banks = Banks((s.pooled.shape[1], t.pooled.shape[1]), method.dim, torch.arange(size), 1)
        banks.double().count = given["K_neg"]
        banks.embed = nn.ModuleList(
            [linear(drawn, "student_embed"), linear(drawn, "student_embed_t")]
        )
        before = torch.stack([drawn["memory_student"], drawn["memory_teacher"]])
        banks.rows[:, :-1] = before
        chosen = F.one_hot(draws, size).sum(1).double()  # an index may be drawn more than once
        found = method.contrasted(s, t, index, torch.arange(size), chosen, banks)
        for bank, old, embed, pooled in zip(
            banks.rows, before, banks.embed, (s.pooled, t.pooled), strict=True
        ):
            new = F.normalize(0.5 * old[index] + 0.5 * F.normalize(embed(pooled)))
            for row in index.unique():  # the last of equal rows, or any other
                assert (new[index == row] - bank[row]).abs().amax(1).min() < 1e-12
        return found

    check_term(case, term)


@pytest.mark.golden("gkd")
def test_gkd_graph_term(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = GKD(
        power=given["p"],
        neighbours=given["k"] or 0,
        edges=given["edges"],
        last=given["last_layer_only"],
    )

    def term(s: Outputs, t: Outputs, batch: Batch, _: Drawn) -> Tensor:
        first = -1 if method.last else 0
        pairs = zip(s.hints[first:], t.hints[first:], strict=True)
        return torch.stack([method.gap(a.flatten(1), b.flatten(1), batch) for a, b in pairs]).sum()

    check_term(case, term)
    if s_is_pooled(case):  # the method itself averages the last hint over places, and over hints
        hints = 1 if method.last else len(case["shapes"]["student_features"])
        whole = replace(method, weight=float(hints))
        check_term(case, lambda s, t, batch, _: whole.loss(s, t, batch, None)["graph"])


def s_is_pooled(case: Case) -> bool:
    return case["shapes"]["student_features"][-1][1:] == [1, 1]


@pytest.mark.golden("kdsvd")
def test_kdsvd_turns_term(case: Case, check_term: Check) -> None:
    method = KDSVD(weight=1.0, count=case["hyperparameters"]["k"])

    def term(s: Outputs, t: Outputs, batch: Batch, _: Drawn) -> Tensor:
        return method.loss(s, t, batch, nn.ModuleList(nn.Identity() for _ in s.hints))["turns"]

    check_term(case, term)


class Wider(nn.Module):
    """Zeros for the channels that the teacher has more; they change no spectral norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))


def lipschitz(iterations: int) -> Callable[..., Tensor]:
    method = LONDON(lipschitz=1.0, features=0.0, iterations=iterations, start="ones")

    def term(s: Outputs, t: Outputs, batch: Batch, _: Drawn) -> Tensor:
        wider = {"connectors": [Wider(map_.shape[1]) for map_ in t.preacts]}
        return method.loss(s, t, batch, wider)["lipschitz"]

    return term


@pytest.mark.golden("london")
def test_london_lipschitz_term(case: Case, check_term: Check) -> None:
    check_term(case, lipschitz(case["hyperparameters"]["n_power_iterations"]))


@pytest.mark.golden("london")
def test_london_tends_to_the_paper_s_spectral_norms(case: Case, check_term: Check) -> None:
    check_term(case, lipschitz(1000), loss=case["loss_paper"])
