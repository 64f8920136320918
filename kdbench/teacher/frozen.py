"""A frozen teacher with its anchors, single or an ensemble, that never moves."""

import copy
import hashlib
import math
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdbench.api import Hint, Maps, Outputs, Port
from kdbench.errors import DataError, Unsupported
from kdbench.models import Network, batch_statistics
from kdbench.record import TrainingProtocol
from kdbench.teacher.folding import folded
from kdbench.train import Asked, Teach


def digest(module: nn.Module) -> str:
    """SHA-256 over names and bytes of all weights and buffers, hex."""
    total = hashlib.sha256()
    for name, tensor in sorted([*module.named_parameters(), *module.named_buffers()]):
        total.update(name.encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


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
        self.folded = nn.ModuleList(
            nn.ModuleList(map(folded, member.values())) for member in members
        ).eval()
        self.born = digest(self)
        digests = "".join(digest(network) for network in self.converged)
        self.weights = hashlib.sha256(digests.encode()).hexdigest()

    @property
    def converged(self) -> list[Network]:
        """The final network of each member."""
        return [member[-1] for member in self.members]  # type: ignore[index]  # a ModuleList of Networks

    @property
    def hints(self) -> tuple[Hint, ...]:
        """Feature maps that a single teacher gives; an ensemble has none."""
        return self.converged[0].port().hints if len(self.members) == 1 else ()

    @property
    def every_hint(self) -> tuple[Hint, ...]:
        """All feature maps that a single teacher has, picked or not."""
        return self.converged[0].reading.hints if len(self.members) == 1 else ()

    def pick(self, hints: tuple[int, ...]) -> None:
        """Give only these feature maps from now on."""
        if len(self.members) == 1:
            for network in (*self.members[0], *self.folded[0]):  # type: ignore[misc]  # as above
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
        place, batch = self.place(anchor), statistics == "batch"
        networks = self.members if batch else self.folded
        with batch_statistics(self) if batch else nullcontext():
            said: list[Outputs] = [
                member[place](images, maps if len(self.members) == 1 else Maps())  # type: ignore[index]  # a ModuleList of Networks
                for member in networks
            ]
        if len(said) == 1:
            return said[0]
        logs = torch.stack([F.log_softmax(outputs.logits, 1) for outputs in said])
        return Outputs(
            logits=logs.logsumexp(0) - math.log(len(said)),
            pooled=torch.cat([o.pooled for o in said], 1),
        )

    def answering(self, maps: Maps, protocol: TrainingProtocol) -> Teach:
        """This teacher with these maps, as a protocol has the loop ask it.

        A smaller batch than the protocol's is filled up: a kernel for few rows may round in another
        way, and what the teacher says of a row is not to depend on the rows beside it.
        """
        narrow, kept = protocol.precision == "bfloat16", getattr(torch, protocol.answers)

        def answer(asked: Asked) -> Outputs:
            images, count = asked.images, len(asked.images)
            if asked.statistics == "running" and count < protocol.batch_size:
                images = torch.cat([images] * -(-protocol.batch_size // count))
                images = images[: protocol.batch_size]
            with torch.autocast(images.device.type, torch.bfloat16, enabled=narrow):
                said: Outputs = self(images, maps, asked.anchor, asked.statistics)
            said = said.float()
            if len(images) > count:
                said = said.map(lambda tensor: tensor[:count])
            logits, pooled = (part.to(kept).float() for part in (said.logits, said.pooled))
            return replace(said, logits=logits, pooled=pooled)

        return answer

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
                "the teacher's weights moved while it taught another teacher",
                "the method by which that one learns wrote into it",
                "mend the method, or set another [teacher] method",
            )
