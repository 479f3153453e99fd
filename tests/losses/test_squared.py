import pytest
import torch
import torch.nn.functional as F

from lossbench.losses import brier, squared_error
from lossbench.metrics import brier_score

# softmax of these logits is (1/2, 1/4, 1/4) and (1/8, 1/8, 3/4).
LOGITS = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]], dtype=torch.float64).log()
TARGETS = torch.tensor([0, 2])


def test_brier_sums_the_squares_over_the_classes():
    # 1/4 + 1/16 + 1/16 = 3/8 and 1/64 + 1/64 + 1/16 = 3/32
    assert brier(LOGITS, TARGETS).item() == pytest.approx((3 / 8 + 3 / 32) / 2)


def test_brier_is_the_metric():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(32, 5, generator=generator), torch.randint(5, (32,), generator=generator)
    assert brier(logits, targets).item() == pytest.approx(brier_score(logits, targets), rel=1e-5)


def test_torchs_mean_squared_error_divides_by_the_number_of_classes_and_brier_does_not():
    # K = 3: a third of (3/8 + 3/32)/2
    reference = F.mse_loss(LOGITS.softmax(1), F.one_hot(TARGETS, 3).double())
    assert reference.item() == pytest.approx((3 / 8 + 3 / 32) / 2 / 3)
    assert brier(LOGITS, TARGETS).item() == pytest.approx(3 * reference.item())


def test_brier_is_2_for_a_certain_mistake():
    assert brier(torch.tensor([[1e4, -1e4]]), torch.tensor([1])).item() == pytest.approx(2.0)


def test_squared_error_weighs_and_scales_the_target_class():
    # M = 3, c = 5: (5 (1 - 3)² + 2² + 1²)/3
    logits = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    loss = squared_error(logits, torch.tensor([0]), target_weight=5.0, target_value=3.0)
    assert loss.item() == pytest.approx(25 / 3)


def test_squared_error_at_its_defaults_is_torchs_mean_squared_error_to_the_one_hot_target():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(8, 4, generator=generator), torch.randint(4, (8,), generator=generator)
    reference = F.mse_loss(logits, F.one_hot(targets, 4).float())
    assert squared_error(logits, targets).item() == pytest.approx(reference.item())
