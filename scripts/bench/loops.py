"""One epoch in four ways, on the same examples, from the same initial weights, with the same optimizer and schedule.

An epoch is a pass over the training examples and a look at the validation examples, loss and accuracy, after it.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from lossbench import checking, config
from lossbench.build import Experiment, build
from lossbench.data.dataset import Dataset, Examples
from lossbench.training import step_flops, train

RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4  # conf/optimizer/sgd.yaml


@dataclass(frozen=True)
class Task:
    """What is trained."""

    model: str = "cnn"
    precision: str = "fp32"
    images: int = 54_000  # to train on; a ninth as many to validate on
    batch_size: int = 128
    epochs: int = 1
    seed: int = 0
    device: str = "cpu"
    cifar_shaped: bool = False  # random images, 3×32×32, in place of Fashion-MNIST
    threads: int | None = None
    processor_time: bool = False  # in place of the clock: for one thread on a busy machine

    def experiment(self, *, set_up: bool = True) -> Experiment:
        """Build it, and set torch up for it as lossbench does, or have nothing but the same threads."""
        overrides = [
            "dataset=fashion_mnist", f"model={self.model}", f"seed={self.seed}", f"batch_size={self.batch_size}",
            f"device={self.device}", f"device.precision={self.precision}", f"device.threads={self.threads or 'null'}",
        ]  # fmt: skip
        with config.session() as hydra:
            (only,) = list(hydra.plan(overrides).runs or [])
        settings = checking.check(only)
        if self.cifar_shaped:
            settings = {**settings, "dataset": {**settings["dataset"], "_target_": f"{__name__}.cifar_shaped"}}
            settings["dataset"].pop("root")
        built = build(settings)
        whole = built.dataset
        few = replace(
            whole,
            train=whole.train.select(torch.arange(min(self.images, len(whole.train)), device=built.device.name)),
            val=whole.val.select(torch.arange(min(self.images // 9, len(whole.val)), device=built.device.name)),
        )
        experiment = replace(built, dataset=few)
        if set_up:
            experiment.device.use(step_flops(experiment, self.batch_size))
        elif self.threads:
            torch.set_num_threads(self.threads)
        return experiment


def cifar_shaped() -> Any:
    """Return 60,000 and 1,000 random images, [3, 32, 32], of 10 classes."""
    from lossbench.data.dataset import Source

    generator = torch.Generator().manual_seed(0)

    def draw(number: int) -> Examples:
        images = torch.randint(256, (number, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return Examples(images, torch.randint(10, (number,), generator=generator))

    return Source(draw(60_000), tuple(f"class {k}" for k in range(10)), test=draw(1_000))


@dataclass(frozen=True)
class Epochs:
    """What a loop gives."""

    seconds: float  # of all epochs
    test_accuracy: float = float("nan")  # where it was asked for


def lossbench(experiment: Experiment, task: Task, *, test: bool = False) -> Epochs:
    """As `lossbench train` does it."""
    few = experiment if test else replace(experiment, dataset=replace(experiment.dataset, test=experiment.dataset.val))
    ends: list[float] = []
    started = _now(task)
    trained = train(
        few,
        epochs=task.epochs,
        batch_size=task.batch_size,
        seed=task.seed,
        keep="last",
        on_epoch=lambda state: ends.append(_now(task)),
    )
    accuracy = (trained.test_logits.argmax(1) == trained.test_targets).double().mean().item() if test else float("nan")
    return Epochs(ends[-1] - started, accuracy)


def bare(experiment: Experiment, task: Task, *, test: bool = False) -> Epochs:
    """The floor: a loop over tensors in memory, normalised beforehand, with all that is fast and nothing else."""
    model, dataset = experiment.network, experiment.dataset
    optimizer = _sgd(model, fused=True)
    device = experiment.device.name

    def ready(examples: Examples) -> Tensor:
        inputs = dataset.normalise(examples.resident)
        return inputs.contiguous(memory_format=torch.channels_last) if experiment.device.channels_last else inputs

    inputs, targets = ready(dataset.train), dataset.train.targets
    val_inputs, val_targets = ready(dataset.val), dataset.val.targets
    total = task.epochs * -(-len(targets) // task.batch_size)
    step = 0
    torch.manual_seed(task.seed)
    started = _now(task)
    for _ in range(task.epochs):
        model.train()
        for batch in torch.randperm(len(targets)).to(device).split(task.batch_size):
            optimizer.param_groups[0]["lr"] = RATE * experiment.schedule(step, total)
            optimizer.zero_grad(set_to_none=True)
            with experiment.device.autocast():
                logits = model(inputs.index_select(0, batch))
            loss = F.cross_entropy(logits.float(), targets.index_select(0, batch))
            loss.backward()
            optimizer.step()
            step += 1
        model.eval()
        with torch.no_grad(), experiment.device.autocast():
            logits = torch.cat([model(part).float() for part in val_inputs.split(1024)])
            F.cross_entropy(logits, val_targets).item()
            (logits.argmax(1) == val_targets).float().mean().item()
    return Epochs(_now(task) - started)


class Images(TorchDataset[tuple[Tensor, int]]):
    """As torchvision's data sets hold images: an example becomes a picture, then a tensor, when it is asked for."""

    def __init__(self, examples: Examples, dataset: Dataset) -> None:
        """Keep images and labels."""
        self.images, self.labels = (
            examples.resident.cpu().permute(0, 2, 3, 1).squeeze(-1).numpy(),
            examples.targets.cpu(),
        )
        mean, std = (values.flatten().cpu() / 255 for values in (dataset.mean, dataset.scale))
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean.tolist(), std.tolist())])

    def __len__(self) -> int:
        """Count them."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image [C, H, W], normalised, and its label."""
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def textbook(experiment: Experiment, task: Task, *, workers: int = 0, test: bool = False) -> Epochs:
    """The loop of PyTorch's tutorials."""
    device = experiment.device.name
    model = experiment.network.to(memory_format=torch.contiguous_format)
    train_loader, val_loader, test_loader = _loaders(experiment.dataset, task, workers)
    optimizer = _sgd(model)
    scheduler = _cosine(optimizer, task.epochs * len(train_loader))
    criterion = nn.CrossEntropyLoss()
    torch.manual_seed(task.seed)

    def evaluate(loader: DataLoader[Any]) -> float:
        model.eval()
        loss = correct = count = 0.0
        with torch.no_grad():
            for inputs, targets in loader:
                inputs, targets = inputs.to(device), targets.to(device)
                with experiment.device.autocast():
                    logits = model(inputs)
                    loss += criterion(logits, targets).item() * len(targets)
                correct += (logits.argmax(1) == targets).sum().item()
                count += len(targets)
        return correct / count

    started = _now(task)
    for _ in range(task.epochs):
        model.train()
        running = 0.0
        for inputs, targets in train_loader:
            inputs, targets = inputs.to(device), targets.to(device)
            optimizer.zero_grad()
            with experiment.device.autocast():
                loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            scheduler.step()
            running += loss.item()
        evaluate(val_loader)
    seconds = _now(task) - started
    return Epochs(seconds, evaluate(test_loader) if test else float("nan"))


def lightning(experiment: Experiment, task: Task, *, workers: int = 0, test: bool = False) -> Epochs:
    """Lightning's Trainer with progress bar, logging and checkpoints off."""
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, index: int) -> Tensor:
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch: Any, index: int) -> None:
            logits = self.model(batch[0])
            self.log("val_loss", F.cross_entropy(logits, batch[1]))
            self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            optimizer = _sgd(self.model)
            scheduler = _cosine(optimizer, task.epochs * len(train_loader))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    train_loader, val_loader, _ = _loaders(experiment.dataset, task, workers)
    trainer = pl.Trainer(
        max_epochs=task.epochs,
        accelerator="cpu" if task.device == "cpu" else "gpu",
        devices=1,
        precision="bf16-mixed" if task.precision == "bf16" else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    module = Module(experiment.network.to(memory_format=torch.contiguous_format))
    started = _now(task)
    trainer.fit(module, train_loader, val_loader)
    return Epochs(_now(task) - started)


LOOPS: dict[str, Callable[[Experiment, Task], Epochs]] = {
    "lossbench": lossbench,
    "bare": bare,
    "textbook": textbook,
    "textbook, 2 workers": lambda experiment, task: textbook(experiment, task, workers=2),
    "lightning": lightning,
    "lightning, 2 workers": lambda experiment, task: lightning(experiment, task, workers=2),
}


def _sgd(model: nn.Module, **options: Any) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY, **options)


def _cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _loaders(dataset: Dataset, task: Task, workers: int) -> tuple[DataLoader[Any], ...]:
    options: dict[str, Any] = {"batch_size": task.batch_size, "num_workers": workers}
    options["persistent_workers"] = workers > 0
    return tuple(
        DataLoader(Images(examples, dataset), shuffle=examples is dataset.train, **options)
        for examples in (dataset.train, dataset.val, dataset.test)
    )


def _now(task: Task) -> float:
    if task.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.process_time() if task.processor_time else time.perf_counter()
