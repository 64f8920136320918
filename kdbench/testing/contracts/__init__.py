"""What every method keeps: each contract is given a Method and raises where it is broken."""

from collections.abc import Callable
from typing import TypeAlias

from kdbench.api import Method
from kdbench.testing.contracts.cases import other_cases_run_or_say_why
from kdbench.testing.contracts.facts import (
    docstring_says_every_option,
    extra_says_what_is_thrown_away,
    method_is_a_constant,
)
from kdbench.testing.contracts.losses import (
    extreme_logits_stay_finite,
    hard_is_cross_entropy_with_labels,
    images_may_be_contiguous,
    loss_waits_for_no_device,
    losses_are_finite_scalars,
)
from kdbench.testing.contracts.training import (
    deployed_says_finite_logits,
    global_state_stays_as_it_was,
    ragged_last_batch_goes_through,
    state_is_the_method_s_own,
    teacher_and_batch_stay_as_they_were,
    training_goes_through,
    two_runs_have_the_same_bits,
)
from kdbench.testing.contracts.weights import (
    extra_weights_are_trained_and_kept,
    gradients_reach_what_is_trained,
    teacher_gets_no_gradient,
)

__all__ = ["CONTRACTS", "Contract"]

Contract: TypeAlias = Callable[[Method], None]

CONTRACTS: tuple[Contract, ...] = (
    docstring_says_every_option,
    training_goes_through,
    method_is_a_constant,
    extra_says_what_is_thrown_away,
    state_is_the_method_s_own,
    losses_are_finite_scalars,
    extreme_logits_stay_finite,
    hard_is_cross_entropy_with_labels,
    loss_waits_for_no_device,
    images_may_be_contiguous,
    gradients_reach_what_is_trained,
    teacher_gets_no_gradient,
    extra_weights_are_trained_and_kept,
    teacher_and_batch_stay_as_they_were,
    global_state_stays_as_it_was,
    two_runs_have_the_same_bits,
    ragged_last_batch_goes_through,
    deployed_says_finite_logits,
    other_cases_run_or_say_why,
)
"""In the order in which they are checked."""
