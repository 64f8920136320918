"""A teacher's network before its training, and the frozen teacher from what was kept of it."""

import hashlib
import json
from pathlib import Path

import torch

from kdbench.data import derive_seed
from kdbench.errors import DataError
from kdbench.models import Network, create
from kdbench.models.weights import load as load_weights
from kdbench.plan import TeacherJob
from kdbench.record import Spec
from kdbench.registry import DataFacts
from kdbench.teacher.frozen import Teacher
from kdbench.train import seed_torch


def build(network: Spec, facts: DataFacts, device: torch.device) -> Network:
    """A network for this data set, initialised from torch's generator."""
    return create(
        network,
        num_classes=facts.num_classes,
        image_shape=facts.image_shape,
        mean=facts.mean,
        std=facts.std,
    ).to(device)


def seed_of(job: TeacherJob) -> int:
    """From which all that is random in a teacher's training derives."""
    assert job.protocol is not None, "given weights are not trained"
    return derive_seed(int(job.protocol.seed), "teacher", str(job.network))


def initial(job: TeacherJob, device: torch.device) -> Network:
    """The teacher's network as it is before its first step."""
    seed_torch(device, seed_of(job), "init")
    return build(job.network, job.dataset, device)


def folder(job: TeacherJob, cache: Path) -> Path:
    """Where this teacher lies in the cache."""
    return cache / "teachers" / job.key


def open_teacher(
    jobs: tuple[TeacherJob, ...], anchors: set[float], cache: Path, device: torch.device
) -> Teacher:
    """The frozen teacher with those of the anchors that there are, from cache or given weights.

    Args:
        jobs: Its members, trained.
        anchors: Shares of its training, which ends at the anchor that its protocol says.
        cache, device: Where it is kept, and where it is to be.

    Raises:
        DataError: A file is not what was written.
    """
    members = []
    for job in jobs:
        if job.protocol is None:
            members.append({1.0: build(job.given or job.network, job.dataset, device)})
            continue
        path = folder(job, cache) / "card.json"
        if not path.is_file():
            why = "it was removed since it was trained"
            raise DataError(f"{path} is not there", why, "run again: the teacher is trained anew")
        hashes = _hashes(path)
        end = job.protocol.anchor
        named = {share: f"{share * end:.6f}" for share in sorted(anchors | {1.0})}
        kept = {share: name for share, name in named.items() if name in hashes}
        members.append({s: _load(job, n, hashes[n], cache, device) for s, n in kept.items()})
    return Teacher(members)


def _hashes(card: Path) -> dict[str, str]:
    """Content hashes of the anchors by their names.

    Raises:
        DataError: The card is not what was written.
    """
    try:
        return dict(json.loads(card.read_bytes())["anchors"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        then = f"remove {card.parent} to train it again"
        raise DataError(f"{card} is not what was written", str(error), then) from error


def _load(job: TeacherJob, name: str, content: str, cache: Path, device: torch.device) -> Network:
    path = folder(job, cache) / f"anchor-{name}.safetensors"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != content:
        why, then = "its content hash differs", f"remove {path.parent} to train it again"
        raise DataError(f"{path} is not what was written", why, then)
    network = build(job.network, job.dataset, device)
    load_weights(network.model, path)
    return network
