"""Where a trial ran: what decides its bits, and what its times depend on."""

from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from kdbench.record.canonical import Count, Frozen, fingerprint


class Environment(Frozen):
    """Where a trial ran; no host, no user, no path.

    Attributes:
        capability: Instruction set of the CPU as torch sees it, or compute capability of the GPU.
        threads: Compute threads of the worker.
        tf32: What a GPU does in TF32 where float32 is asked for ("convolutions", as is torch's
            default); empty for nothing, and on a CPU.
        varies: What a GPU may compute with other bits from one run to the next; empty on a CPU,
            where nothing does, and in older records, which do not say.
        kernels: Moves when the host itself chooses other kernels for the same mathematics, which
            moves results within rounding.
    """

    python: str
    torch: str
    timm: str
    kdbench: str
    device: str
    device_name: str
    capability: str
    threads: Count
    platform: str
    tf32: str = ""
    varies: str = ""
    kernels: Count = 1

    @model_serializer(mode="wrap")
    def _plain(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing is said of the first kernels, and of nothing: older records keep their bytes."""
        found: dict[str, Any] = dump(self)
        silent = (("kernels", 1), ("tf32", ""), ("varies", ""))
        return {k: v for k, v in found.items() if (k, v) not in silent}

    @property
    def group(self) -> str:
        """Fingerprint of what decides bits: equal groups give equal weights, but for what varies.

        The device's name decides too: of one instruction set, processors of two makers differ.
        """
        return fingerprint(self.model_dump(exclude={"python", "kdbench", "varies"}))

    @property
    def hardware(self) -> str:
        """What times depend on: two records that differ here are never compared in time."""
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        device = f"{self.device_name} ({self.device}, {self.capability})"
        kernels = f", kernels {self.kernels}" * (self.kernels > 1)
        narrow = f", {self.tf32} in TF32" if self.tf32 else ""
        return f"{device}{narrow}, {threads}, {self.platform}, torch {self.torch}{kernels}"
