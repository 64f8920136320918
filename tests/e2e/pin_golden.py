"""The golden trial; run after raising PROTOCOL_VERSION, this file pins it again."""

import json
import tempfile
from pathlib import Path
from typing import Any

PIN = Path(__file__).with_name("golden_trial.json")
ROWS, CLASSES = 6, 10


def trial(folder: Path) -> dict[str, Any]:
    """Protocol version and logits of a tiny trial: KD on the digits, 8 steps, a teacher of 6."""
    import torch
    from safetensors.torch import load_file

    from kdbench import plan
    from kdbench.cohort import Workbench, run
    from kdbench.record import PROTOCOL_VERSION, Store
    from kdbench.registry import scan
    from kdbench.suite import Suite

    torch.set_num_threads(1)
    protocol = {
        "epochs": 1, "steps": 8, "batch_size": 32, "learning_rate": 0.05, "nesterov": True,
        "weight_decay": 5e-4,
        "rows": 200, "shift": 1, "warmup": 0.25,
    }  # fmt: skip
    axes = {
        "datasets": ["digits"],
        "pairs": ["resnet8:resnet8[width=0.25]"],
        "methods": ["kd"],
        "seeds": [0],
    }
    suite = Suite.model_validate(
        {
            "name": "golden",
            "axes": axes,
            "train": protocol,
            "teacher": {**protocol, "steps": 6, "rows": 900},
        }
    )
    (cohort,) = plan.make(suite, scan(), [], "").cohorts
    bench = Workbench(folder / "cache", Store(folder / "store"), torch.device("cpu"))
    for job in cohort.teachers:
        bench.train_teacher(job, "")
    (record,) = run(cohort, bench)
    assert record.status == "ok", record.failure
    logits = load_file(bench.store.artifact(record.logits))["logits"][:ROWS]
    rounded = [[round(value, 5) for value in row] for row in logits.tolist()]
    return {"protocol_version": PROTOCOL_VERSION, "logits": rounded}


def main() -> None:
    """Write the pin."""
    with tempfile.TemporaryDirectory() as folder:
        rows = trial(Path(folder))
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows["logits"])
    version = rows["protocol_version"]
    PIN.write_text(f'{{\n "protocol_version": {version},\n "logits": [\n{lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
