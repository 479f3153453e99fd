import functools

import pytest
import torch
from torch.func import vmap

from lossbench.errors import ConfigError
from lossbench.losses import cross_entropy, dice, distillation, focal, weighted_sum

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TEACHER = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGETS = torch.arange(6) % 3


def test_it_adds_two_losses_by_their_weights():
    loss = weighted_sum(LOGITS, TARGETS, first=focal, second=dice, first_weight=2.0, second_weight=0.5)
    assert loss.item() == pytest.approx((2 * focal(LOGITS, TARGETS) + dice(LOGITS, TARGETS) / 2).item())


def test_two_weights_of_zero_are_refused():
    with pytest.raises(ConfigError, match="first_weight and second_weight are both 0: nothing would be learned"):
        weighted_sum(LOGITS, TARGETS, first_weight=0, second_weight=0.0)
    assert weighted_sum(LOGITS, TARGETS, first_weight=0.0, second_weight=torch.tensor(0.0)) == 0


def test_either_may_be_a_sum_itself():
    inner = functools.partial(weighted_sum, first=focal, second=dice)
    loss = weighted_sum(LOGITS, TARGETS, first=cross_entropy, second=inner)
    expected = cross_entropy(LOGITS, TARGETS) + focal(LOGITS, TARGETS) + dice(LOGITS, TARGETS)
    assert loss.item() == pytest.approx(expected.item())


def test_each_loss_gets_the_extras_it_declares():
    # Dice declares neither, distillation the teacher, cross-entropy the weights; the inner sum hands both on.
    extras = {"teacher_logits": TEACHER, "sample_weights": torch.arange(6.0)}
    inner = functools.partial(weighted_sum, first=cross_entropy, second=dice)
    loss = weighted_sum(LOGITS, TARGETS, first=distillation, second=inner, **extras)
    expected = (
        distillation(LOGITS, TARGETS, teacher_logits=TEACHER)
        + cross_entropy(LOGITS, TARGETS, sample_weights=torch.arange(6.0))
        + dice(LOGITS, TARGETS)
    )
    assert loss.item() == pytest.approx(expected.item())


def test_vmap_over_a_weight_is_a_loop():
    weights = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    stacked = vmap(lambda weight: weighted_sum(LOGITS, TARGETS, second_weight=weight))(weights)
    loop = [weighted_sum(LOGITS, TARGETS, second_weight=weight) for weight in weights.tolist()]
    assert torch.allclose(stacked, torch.stack(loop))
