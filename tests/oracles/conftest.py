"""Independent code that computes what ours does: where definitions agree, so do numbers.

One file for each library. Where a definition differs, a test says how, with both numbers derived by hand.
They are imported by fixtures, when a test asks for one: together that takes as long as all other imports.
"""

from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="session")
def monai() -> ModuleType:
    import monai.losses

    return monai.losses


@pytest.fixture(scope="session")
def smp() -> ModuleType:
    import segmentation_models_pytorch.losses

    return segmentation_models_pytorch.losses


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    import timm.loss

    return timm.loss


@pytest.fixture(scope="session")
def uncertainty() -> ModuleType:
    import torch_uncertainty.losses

    return torch_uncertainty.losses


@pytest.fixture(scope="session")
def uncertainty_metrics() -> ModuleType:
    import torch_uncertainty.metrics.classification

    return torch_uncertainty.metrics.classification


@pytest.fixture(scope="session")
def torchmetrics() -> ModuleType:
    import torchmetrics.functional.classification

    return torchmetrics.functional.classification


@pytest.fixture(scope="session")
def relplot() -> ModuleType:
    import relplot

    return relplot


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [4, 3, 8, 8] and targets [4, 8, 8] with pixels of each class in each example."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 8, 8, generator=generator)
    targets = torch.randint(3, (4, 8, 8), generator=generator)
    assert all(len(example.unique()) == 3 for example in targets)
    return logits, targets


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [16, 5] and targets [16]."""
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(16, 5, generator=generator), torch.randint(5, (16,), generator=generator)
