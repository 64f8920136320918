"""A tiny trial, pinned: whoever moves its logits must raise PROTOCOL_VERSION."""

import importlib.util
import json
from pathlib import Path

import numpy as np

from kdbench.record import PROTOCOL_VERSION


def test_the_same_question_still_gives_the_same_logits(tmp_path: Path) -> None:
    place = Path(__file__).with_name("pin_golden.py")
    spec = importlib.util.spec_from_file_location("pin_golden", place)
    assert spec
    assert spec.loader
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    pinned = json.loads(golden.PIN.read_text())
    again = "re-pin with python tests/e2e/pin_golden.py"
    assert pinned["protocol_version"] == PROTOCOL_VERSION, f"PROTOCOL_VERSION moved: {again}"
    found = golden.trial(tmp_path)["logits"]
    assert np.shape(found) == np.shape(pinned["logits"]) == (golden.ROWS, golden.CLASSES)
    # not to the bit: kernels differ between processors
    close = np.allclose(found, pinned["logits"], rtol=1e-3, atol=1e-4)
    assert close, f"logits moved: raise PROTOCOL_VERSION and {again}"
