"""The field's usual distillation loop, stated plainly: the yardstick of kdbench's speed.

    python tests/benchmarks/usual_loop.py --pair resnet56:resnet20 --workers 0,2 --threads 1,2

Images are kept as bytes; a DataLoader's workers make each one a PIL image, crop, mirror, scale and
normalise it by torchvision's transforms, and stack them. The teacher answers in the step, without a
graph. Cross-entropy and softened KL divergence are two losses with softmaxes of their own; SGD is
torch's; every step reads its loss from the device and counts top-1 and top-5. The test set is
evaluated once an epoch. Networks are timm's as they are: activations in place, memory as torch has
it.

A block is timed after some steps of warm-up, when every worker runs. Charged: batches, both
networks, losses, update, meters, and evaluation in proportion: a block of n rows pays n / (rows of
an epoch) of it, measured on as many whole batches as that takes. Not charged: loading of data,
building of networks, start of workers (the field starts them again every epoch), logs, checkpoints,
a teacher's evaluation. The loaders run on from block to block, so that their queues are as full
after a block as before it.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from pyarrow import parquet
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from kdbench.record import Pair, Spec

CLASSES, TEMPERATURE, SOFT = 100, 4.0, 0.9
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
FAMILIES = ("mobilenet", "preresnet", "resnet", "resnet50", "shufflenet", "vgg", "wrn")


@dataclass(frozen=True, slots=True)
class Block:
    """What a block took. `evaluation_seconds` are its share of an epoch's evaluation."""

    images: int
    train_seconds: float
    evaluation_seconds: float
    cpu_seconds: float  # of this process in training; workers are others

    @property
    def images_per_second(self) -> float:
        return self.images / (self.train_seconds + self.evaluation_seconds)


class Rows(Dataset[tuple[Tensor, int]]):
    """Images and labels; augmented for training."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, train: bool) -> None:
        self.images, self.labels = images, labels
        views = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        plain = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        self.transform = transforms.Compose([*views, *plain] if train else plain)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), int(self.labels[row])


class Meter:
    """A running average."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, value: float, count: int) -> None:
        self.total, self.count = self.total + value * count, self.count + count


class UsualLoop:
    """A teacher and a student that learns from it."""

    def __init__(self, pair: str, train: Rows, test: Rows, *, batch: int, workers: int) -> None:
        asked = Pair.parse(pair)
        self.teacher = network(asked.teacher.network).eval()
        self.student = network(asked.student)
        self.optimizer = torch.optim.SGD(
            self.student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4
        )
        self.meters = {name: Meter() for name in ("loss", "top1", "top5")}
        self.train_rows = len(train)
        self.training = endless(DataLoader(train, batch, shuffle=True, num_workers=workers))
        self.testing = endless(DataLoader(test, batch, num_workers=min(workers, 1)))

    def step(self, images: Tensor, target: Tensor) -> None:
        logits = self.student(images)
        with torch.no_grad():
            taught = self.teacher(images)
        loss = kd_loss(logits, taught, target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.count(loss, logits, target)

    def count(self, loss: Tensor, logits: Tensor, target: Tensor) -> None:
        self.meters["loss"].update(loss.item(), len(target))
        hits = logits.detach().topk(5, 1, True, True).indices.t().eq(target)
        for k in (1, 5):
            self.meters[f"top{k}"].update(hits[:k].sum().item() / len(target), len(target))

    @torch.no_grad()
    def evaluate(self, images: Tensor, target: Tensor) -> None:
        logits = self.student(images)
        self.count(F.cross_entropy(logits, target), logits, target)

    def block(self, steps: int, evaluated: int = 10_000) -> Block:
        """So many steps, and their share of an evaluation of that many images an epoch."""
        start, cpu = time.perf_counter(), time.process_time()
        self.student.train()
        trained = 0
        for images, target in itertools.islice(self.training, steps):
            self.step(images, target)
            trained += len(target)
        train, cpu = time.perf_counter() - start, time.process_time() - cpu
        share = evaluated * trained / self.train_rows
        start, tested = time.perf_counter(), 0
        self.student.eval()
        while tested < share:
            images, target = next(self.testing)
            self.evaluate(images, target)
            tested += len(target)
        test = (time.perf_counter() - start) * share / max(tested, 1)
        return Block(trained, train, test, cpu)


def network(spec: Spec) -> nn.Module:
    """timm's network, its activations in place."""
    for family in FAMILIES:  # whose networks timm then knows
        import_module(f"kdbench_models.{family}")
    found = timm.create_model(spec.name, num_classes=CLASSES, **dict(spec.options))
    for module in found.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    return found


def kd_loss(logits: Tensor, taught: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and softened divergence from the teacher, weighted."""
    hard = F.cross_entropy(logits, target)
    guess = F.log_softmax(logits / TEMPERATURE, 1)
    soft = F.kl_div(guess, F.softmax(taught / TEMPERATURE, 1), reduction="batchmean")
    return (1 - SOFT) * hard + SOFT * TEMPERATURE**2 * soft


def endless(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch, ragged last batches included."""
    while True:
        yield from loader


def rows(data: str, train: bool) -> Rows:
    """CIFAR-100's rows from a folder of Parquet files, or noise of their shape."""
    if data == "noise":
        draw, count = np.random.default_rng(train), 50_000 if train else 10_000
        pixels = draw.integers(0, 256, (count, 32, 32, 3), np.uint8)
        return Rows(pixels, draw.integers(0, CLASSES, count), train)
    files = sorted(Path(data).glob("train-*" if train else "test-*"))
    table = parquet.read_table(files, columns=["img", "fine_label"])
    images = (Image.open(BytesIO(one["bytes"])) for one in table["img"].to_pylist())
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return Rows(pixels, table["fine_label"].to_numpy(), train)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pair", default="resnet56:resnet20")
    parser.add_argument("--images", type=int, default=6400, help="of a block")
    parser.add_argument("--workers", default="0,2")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--warm-up", type=int, default=5, help="steps")
    parser.add_argument("--evaluate", type=int, default=10_000, help="test images an epoch")
    parser.add_argument("--data", default="noise", help="a folder of CIFAR-100's Parquet files")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    train, test, found = rows(asked.data, True), rows(asked.data, False), []
    for workers, threads in itertools.product(
        map(int, asked.workers.split(",")), map(int, asked.threads.split(","))
    ):
        torch.set_num_threads(threads)
        loop = UsualLoop(asked.pair, train, test, batch=asked.batch, workers=workers)
        loop.block(asked.warm_up)
        block = loop.block(-(-asked.images // asked.batch), asked.evaluate)
        speed = block.images_per_second
        found.append({"workers": workers, "threads": threads, "images_per_second": speed})
        found[-1] |= asdict(block)
        print(f"{workers} workers, {threads} threads: {speed:.1f} images/s", flush=True)
    best = max(found, key=lambda one: one["images_per_second"])
    print(f"best: {best['workers']} workers, {best['threads']} threads")
    if asked.json:
        facts = {"pair": asked.pair, "batch": asked.batch, "torch": torch.__version__}
        asked.json.write_text(json.dumps(facts | {"settings": found, "best": best}, indent=1))


if __name__ == "__main__":
    main()
