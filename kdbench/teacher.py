"""Teachers: trained once by cross-entropy, kept with their anchors by content, never moved."""

import copy
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from filelock import FileLock
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from kdbench.api import Batch, Hint, Losses, Maps, Method, Needs, Outputs, Port, Setup
from kdbench.data import Splits, Views, derive_seed
from kdbench.errors import DataError, StoreError, Unsupported
from kdbench.models import Network, batch_statistics, create
from kdbench.plan import TeacherJob
from kdbench.record import Spec, write_atomically
from kdbench.registry import DataFacts
from kdbench.train import Diverged, Runner, lockstep, seed_torch


@final
@dataclass(frozen=True)
class _CrossEntropy(Method):
    """The host's own objective: cross-entropy with the labels."""

    def needs(self) -> Needs:
        return Needs(teacher="none")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:  # noqa: ANN401 - as in Method
        return {"hard": F.cross_entropy(student.logits, batch.target)}


def digest(module: nn.Module) -> str:
    """SHA-256 over names and bytes of all weights and buffers, hex."""
    total = hashlib.sha256()
    for name, tensor in sorted([*module.named_parameters(), *module.named_buffers()]):
        total.update(name.encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def build(network: Spec, facts: DataFacts, device: torch.device) -> Network:
    """A network for this data set, initialised from torch's generator."""
    return create(
        network,
        num_classes=facts.num_classes,
        image_shape=facts.image_shape,
        mean=facts.mean,
        std=facts.std,
    ).to(device)


class Teacher(nn.Module):
    """A frozen teacher and its anchors, single or an ensemble.

    Args:
        members: For each member, its networks by anchor (share of the training); the last is at 1.

    Attributes:
        weights: Content hash of the converged weights, whichever anchors are loaded beside them.
    """

    def __init__(self, members: list[dict[float, Network]]) -> None:
        super().__init__()
        self.anchors = tuple(members[0])
        self.members = nn.ModuleList(nn.ModuleList(member.values()) for member in members)
        self.eval().requires_grad_(False)
        self.born = digest(self)
        digests = "".join(digest(network) for network in self.converged)
        self.weights = hashlib.sha256(digests.encode()).hexdigest()

    @property
    def converged(self) -> list[Network]:
        """The final network of each member."""
        return [member[-1] for member in self.members]  # type: ignore[index]  # a ModuleList of Networks

    @property
    def hints(self) -> tuple[Hint, ...]:
        """Feature maps of a single teacher; an ensemble has none."""
        return self.converged[0].port().hints if len(self.members) == 1 else ()

    def pick(self, hints: tuple[int, ...]) -> None:
        """Give only these feature maps from now on."""
        if len(self.members) == 1:
            for network in self.members[0]:  # type: ignore[attr-defined]  # as above
                network.pick(hints)

    def port(self) -> Port:
        """What a method's `init` sees of the teacher."""
        ports = [network.port() for network in self.converged]
        if len(ports) == 1:
            return replace(ports[0], model=self)
        return Port(model=self, pooled_dim=sum(port.pooled_dim for port in ports), hints=())

    def copy(self) -> Network:
        """A trainable copy of the converged network.

        Raises:
            Unsupported: An ensemble has no single network.
        """
        if len(self.members) > 1:
            raise Unsupported(
                "an ensemble cannot be trained further here",
                "the method trains its teacher",
                "name a single one",
            )
        return copy.deepcopy(self.converged[0]).requires_grad_(True)

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,
        maps: Maps = Maps(),  # noqa: B008 - frozen
        anchor: float = 1.0,
        statistics: str = "running",
    ) -> Outputs:
        """Outputs at this anchor.

        Those of an ensemble are the log of the mean probabilities, pooled side by side, no maps.

        Args:
            images: In [0, 1].
            maps: Which maps a single teacher is to say.
            anchor: Share of the teacher's own training.
            statistics: Whose its batch norms use, "running" or the "batch"'s; see `Needs`.
        """
        place = self.place(anchor)
        with batch_statistics(self) if statistics == "batch" else nullcontext():
            said: list[Outputs] = [
                member[place](images, maps if len(self.members) == 1 else Maps())  # type: ignore[index]  # a ModuleList of Networks
                for member in self.members
            ]
        if len(said) == 1:
            return said[0]
        logs = torch.stack([F.log_softmax(outputs.logits, 1) for outputs in said])
        return Outputs(
            logits=logs.logsumexp(0) - math.log(len(said)),
            pooled=torch.cat([o.pooled for o in said], 1),
        )

    def place(self, anchor: float) -> int:
        """Place of this share of the training among `anchors`.

        Raises:
            Unsupported: There is no such anchor.
        """
        for place, share in enumerate(self.anchors):
            if abs(share - anchor) < 1e-9:
                return place
        kept = ", ".join(f"{share:g}" for share in self.anchors)
        raise Unsupported(
            f"the teacher has no anchor at {anchor:g}", f"here: {kept}", "set [teacher] anchors"
        )

    def check_unmoved(self) -> None:
        """Raise where a weight or a buffer is not what it was."""
        if digest(self) != self.born:
            raise DataError(
                "the teacher's weights moved during the cohort",
                "a method wrote into it, so no result of this cohort counts",
                "run its methods one at a time with -m to see which",
            )


def folder(job: TeacherJob, cache: Path) -> Path:
    """Where this teacher lies in the cache."""
    return cache / "teachers" / job.key


def ensure(
    job: TeacherJob,
    splits: Splits,
    cache: Path,
    device: torch.device,
    watch: Callable[[str, int], None] = lambda name, step: None,
) -> None:
    """Train the teacher and its anchors, unless they are there already.

    Raises:
        DataError: The training diverged; StoreError: the cache cannot be written.
    """
    home, protocol = folder(job, cache), job.protocol
    if protocol is None or (home / "card.json").exists():
        return
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {home}", str(error), "set KDBENCH_CACHE") from error
    with FileLock(home / "lock"):
        if (home / "card.json").exists():  # trained by another process meanwhile
            return
        seed = derive_seed(int(protocol.seed), "teacher", str(job.network))
        rows = range(protocol.rows or len(splits.train))
        views = Views(
            splits.train, rows, shift=protocol.shift, flip=protocol.flip, device=device, seed=seed
        )
        seed_torch(device, seed, "init")
        network = build(job.network, job.dataset, device)
        port, total = network.port(), protocol.total_steps(len(views))
        classes = job.dataset.num_classes
        setup = Setup(student=port, teacher=port, num_classes=classes, num_train=len(views))
        runner = Runner(
            _CrossEntropy(), network, setup, protocol, seed=seed, total=total, device=device
        )
        marks: dict[int, list[str]] = {}  # a short training passes several anchors in one step
        for i in range(1, protocol.anchors + 1):
            step = max(1, round(total * i / protocol.anchors))
            marks.setdefault(step, []).append(f"{i / protocol.anchors:.6f}")
        hashes: dict[str, str] = {}

        def keep(done: int, active: object) -> None:
            for name in marks.get(done, ()):
                state = network.model.state_dict()
                content = save({n: t.detach().cpu().contiguous() for n, t in state.items()})
                hashes[name] = hashlib.sha256(content).hexdigest()
                write_atomically(home / f"anchor-{name}.safetensors", content)

        _, failures = lockstep(
            {"": runner}, views, protocol, total, lambda *_: _nothing(), watch=watch, after=keep
        )
        if failed := failures.get(""):
            if not isinstance(failed, Diverged):
                raise failed
            what = f"the teacher {job.network} could not be trained"
            raise DataError(what, str(failed), "lower [teacher] learning_rate") from failed
        write_atomically(home / "card.json", json.dumps({"anchors": hashes}, indent=1).encode())


def open_teacher(
    jobs: tuple[TeacherJob, ...], anchors: set[float], cache: Path, device: torch.device
) -> Teacher:
    """The frozen teacher with those of the anchors that there are, from cache or given weights.

    Raises:
        DataError: A file is not what was written.
    """
    members = []
    for job in jobs:
        if job.protocol is None:
            members.append({1.0: build(job.given or job.network, job.dataset, device)})
            continue
        card = json.loads((folder(job, cache) / "card.json").read_bytes())
        hashes: Mapping[str, str] = card["anchors"]
        kept = {s: f"{s:.6f}" for s in sorted(anchors | {1.0}) if f"{s:.6f}" in hashes}
        members.append({s: _load(job, n, hashes[n], cache, device) for s, n in kept.items()})
    return Teacher(members)


def _load(job: TeacherJob, name: str, content: str, cache: Path, device: torch.device) -> Network:
    path = folder(job, cache) / f"anchor-{name}.safetensors"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != content:
        why, then = "its content hash differs", f"remove {path.parent} to train it again"
        raise DataError(f"{path} is not what was written", why, then)
    network = build(job.network, job.dataset, device)
    network.model.load_state_dict(load_file(path), strict=True)
    return network


def _nothing() -> Outputs:
    raise AssertionError("the cross-entropy objective asks no teacher")
