"""One training as a tutorial writes it: a DataLoader, a loop, three numbers. What lossbench is compared with.

    python scripts/bench/textbook.py --dataset digits --epsilon 0.1 --seed 0

Model, split sizes, optimizer, schedule, batch size and epochs are those of
`lossbench train dataset=digits model=mlp loss=label_smoothing`, or of `dataset=fashion_mnist` with either model.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
from collections.abc import Sized
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, random_split

BINS = 15


class Images(Dataset[tuple[Tensor, int]]):
    """Images and labels; an example is a float tensor, converted when it is asked for."""

    def __init__(self, images: Tensor, labels: Tensor, largest: float) -> None:
        """Keep images [N, H, W], labels [N] and the value that stands for white."""
        self.images, self.labels, self.largest = images, labels, largest

    def __len__(self) -> int:
        """Count them."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image [1, H, W] in [0, 1], and its label."""
        return self.images[index].float().div(self.largest).unsqueeze(0), int(self.labels[index])


def digits() -> tuple[Dataset[tuple[Tensor, int]], Dataset[tuple[Tensor, int]]]:
    """The images of scikit-learn, a fifth of them for the test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = Images(torch.tensor(bunch.images), torch.tensor(bunch.target), 16.0)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    held_out = len(images) // 5
    return Subset(images, order[held_out:]), Subset(images, order[:held_out])


def fashion_mnist(folder: Path) -> tuple[Dataset[tuple[Tensor, int]], Dataset[tuple[Tensor, int]]]:
    """The four files of Fashion-MNIST in a folder."""

    def read(name: str, header: int) -> Tensor:
        return torch.frombuffer(bytearray(gzip.decompress((folder / name).read_bytes())[header:]), dtype=torch.uint8)

    def part(name: str) -> Images:
        images, labels = read(f"{name}-images-idx3-ubyte.gz", 16), read(f"{name}-labels-idx1-ubyte.gz", 8)
        return Images(images.view(-1, 28, 28), labels.long(), 255.0)

    return part("train"), part("t10k")


def mlp(pixels: int) -> nn.Module:
    """As `model=mlp`."""
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn() -> nn.Module:
    """As `model=cnn` for images of 28 × 28 pixels."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        *block(1, 16), *block(16, 32), *block(32, 64),
        nn.Flatten(), nn.Linear(64 * 3 * 3, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


@torch.no_grad()
def logits_of(model: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Logits [N, K] and targets [N]."""
    model.eval()
    pairs = [(model(inputs), targets) for inputs, targets in loader]
    return torch.cat([logits for logits, _ in pairs]), torch.cat([targets for _, targets in pairs])


def ece(probs: Tensor, targets: Tensor) -> float:
    """Expected calibration error over bins of equal width."""
    confidence, predicted = probs.max(1)
    total = torch.zeros(())
    edges = torch.linspace(0, 1, BINS + 1)
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = (predicted[inside] == targets[inside]).float().mean() - confidence[inside].mean()
            total += gap.abs() * inside.float().mean()
    return total.item()


def main() -> None:
    """Train, choose the epoch on validation, print accuracy, NLL and ECE on test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=["digits", "fashion_mnist"], default="digits")
    parser.add_argument("--model", choices=["mlp", "cnn"], default="mlp", help="cnn is for Fashion-MNIST alone")
    parser.add_argument("--folder", type=Path, help="of Fashion-MNIST")
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    small = arguments.dataset == "digits"
    examples, test = digits() if small else fashion_mnist(arguments.folder)
    count = len(cast(Sized, examples))
    train, val = random_split(examples, [count - count // 10, count // 10])
    train_loader = DataLoader(train, batch_size=arguments.batch_size, shuffle=True)
    val_loader, test_loader = (DataLoader(part, batch_size=1024) for part in (val, test))
    model = cnn() if arguments.model == "cnn" else mlp(64 if small else 784)
    loss_function = nn.CrossEntropyLoss(label_smoothing=arguments.epsilon)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.epochs * len(train_loader))

    best: dict[str, Tensor] = {}
    best_accuracy = -1.0
    for _ in range(arguments.epochs):
        model.train()
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = loss_function(model(inputs), targets)
            loss.backward()
            optimizer.step()
            schedule.step()
        logits, targets = logits_of(model, val_loader)
        accuracy = (logits.argmax(1) == targets).float().mean().item()
        if accuracy >= best_accuracy:
            best, best_accuracy = {name: tensor.clone() for name, tensor in model.state_dict().items()}, accuracy
    model.load_state_dict(best)
    logits, targets = logits_of(model, test_loader)
    accuracy = (logits.argmax(1) == targets).float().mean().item()
    nll = nn.functional.cross_entropy(logits, targets).item()
    print(f"accuracy {accuracy:.4f}  nll {nll:.4f}  ece {ece(logits.softmax(1), targets):.4f}")


if __name__ == "__main__":
    main()
