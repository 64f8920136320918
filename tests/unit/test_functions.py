"""A function that a plugin replaces is told and put back; what torch's compiler replaces is not."""

import pytest
import torch
import torch._dynamo.eval_frame
from torch import nn
from torch.nn import functional as F

from kdbench.train import Functions


def test_a_function_a_method_and_a_hook_are_told_and_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Functions()
    assert watched.moved() == ""
    loss, forward = F.cross_entropy, nn.Linear.forward
    monkeypatch.setattr(F, "cross_entropy", lambda *_: 0)
    assert watched.moved().startswith("torch.nn.functional.cross_entropy (now test_functions.py")
    watched.put_back()
    assert F.cross_entropy is loss
    monkeypatch.setattr(nn.Linear, "forward", F.linear)  # torch's own, in another place
    assert watched.moved().startswith("torch.nn.modules.linear.Linear.forward")
    watched.put_back()
    assert nn.Linear.forward is forward
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert watched.moved() == "the hooks of all modules or optimizers"
    watched.put_back()
    assert watched.moved() == ""
    handle.remove()


def test_what_is_added_and_what_the_compiler_puts_there_has_not_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Functions()
    monkeypatch.setattr(F, "another", lambda: None, raising=False)
    monkeypatch.setattr(nn.Linear, "forward", torch._dynamo.eval_frame.innermost_fn)
    assert watched.moved() == ""
