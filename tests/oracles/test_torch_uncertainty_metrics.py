import math

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lossbench.metrics import (
    adaptive_ece,
    aurc,
    brier_score,
    classwise_ece,
    failure_fpr95,
    mean_entropy,
    nll,
    optimal_temperature,
)

NUM_EXAMPLES = 1003  # no multiple of the number of bins


@pytest.fixture
def predictions():
    """Logits [1003, 5], overconfident, targets [1003] and probabilities [1003, 5]."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(NUM_EXAMPLES, 5, generator=generator, dtype=torch.float64)
    targets = torch.multinomial((logits / 1.5).softmax(1), 1, generator=generator).squeeze(1)
    return logits, targets, logits.softmax(1)


def computed(metric, *inputs):
    metric.update(*inputs)
    return metric.compute().item()


@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_adaptive_ece_agrees_where_no_confidences_are_equal(uncertainty_metrics, predictions, n_bins):
    logits, targets, probs = predictions
    metric = uncertainty_metrics.AdaptiveCalibrationError(task="multiclass", num_classes=5, num_bins=n_bins)
    assert adaptive_ece(logits, targets, n_bins=n_bins) == pytest.approx(computed(metric, probs, targets), abs=1e-6)


def test_its_adaptive_ece_depends_on_the_order_of_equal_confidences(uncertainty_metrics):
    # Four of confidence 0.8, two right, two bins. Right first: (|1 - 0.8| + |0 - 0.8|)/2 = 0.5; mixed: |1/2 - 0.8|,
    # which is ours whatever the order.
    probs = torch.tensor([[0.8, 0.2]] * 4, dtype=torch.float64)
    for targets, theirs in (([0, 0, 1, 1], 0.5), ([0, 1, 0, 1], 0.3)):
        metric = uncertainty_metrics.AdaptiveCalibrationError(task="multiclass", num_classes=2, num_bins=2)
        assert computed(metric, probs, torch.tensor(targets)) == pytest.approx(theirs)
        assert adaptive_ece(probs.log(), targets, n_bins=2) == pytest.approx(0.3)


@pytest.mark.parametrize("n_bins", [5, 15])
def test_classwise_ece_agrees(uncertainty_metrics, predictions, n_bins):
    logits, targets, probs = predictions
    metric = uncertainty_metrics.ClasswiseCalibrationError(num_classes=5, num_bins=n_bins)
    assert classwise_ece(logits, targets, n_bins=n_bins) == pytest.approx(computed(metric, probs, targets), abs=1e-6)


def test_its_aurc_is_ours_with_half_the_first_and_the_last_risk_left_out(uncertainty_metrics, predictions):
    # It integrates from coverage 1/N to 1 by trapezia and divides by 1 - 1/N; ours is the mean of the N risks. With a
    # most confident example that is right and r the share of errors: theirs·(N - 1) + (0 + r)/2 = ours·N.
    logits, targets, probs = predictions
    theirs = computed(uncertainty_metrics.AURC(), probs, targets)
    correct = probs.argmax(1) == targets
    assert correct[probs.max(1).values.argmax()]
    errors = 1 - correct.double().mean().item()
    expected = (theirs * (NUM_EXAMPLES - 1) + errors / 2) / NUM_EXAMPLES
    assert aurc(logits, targets) == pytest.approx(expected, abs=1e-6)
    assert aurc(logits, targets) == pytest.approx(theirs, abs=1 / NUM_EXAMPLES)


def test_its_aurc_of_three_examples_by_hand(uncertainty_metrics):
    # right, wrong, right: risks 0, 1/2, 1/3. Ours is their mean, 5/18; theirs (0/2 + 1/2 + 1/6)/2 = 1/3.
    probs, targets = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]), torch.tensor([0, 1, 0])
    assert computed(uncertainty_metrics.AURC(), probs, targets) == pytest.approx(1 / 3)
    assert aurc(probs.log(), targets) == pytest.approx(5 / 18)


@pytest.mark.filterwarnings("ignore:Metric `FPR95` will save all targets")
def test_failure_fpr95_agrees_with_right_predictions_as_the_positive_label(uncertainty_metrics, predictions):
    logits, targets, probs = predictions
    confidence, predicted = probs.max(1)
    metric = uncertainty_metrics.FPR95(pos_label=1)
    theirs = computed(metric, confidence, (predicted == targets).long())
    assert failure_fpr95(logits, targets) == pytest.approx(theirs, abs=1e-6)


def test_nll_brier_score_and_entropy_agree(uncertainty_metrics, predictions):
    logits, targets, probs = predictions
    assert nll(logits, targets) == pytest.approx(
        computed(uncertainty_metrics.CategoricalNLL(), probs, targets), abs=1e-6
    )
    assert brier_score(logits, targets) == pytest.approx(
        computed(uncertainty_metrics.BrierScore(num_classes=5), probs, targets), abs=1e-6
    )
    assert mean_entropy(logits, targets) == pytest.approx(computed(uncertainty_metrics.Entropy(), probs), abs=1e-6)


def test_temperature_scaling_agrees(uncertainty_metrics, predictions):
    from torch_uncertainty.post_processing import TemperatureScaler

    logits, targets, _ = predictions
    scaler = TemperatureScaler(lr=1.0, max_iter=200)
    scaler.inv_temp.data = scaler.inv_temp.data.double()
    scaler.fit(DataLoader(TensorDataset(logits, targets), batch_size=NUM_EXAMPLES), progress=False)
    # Its L-BFGS stops where a step changes the NLL by less than 1e-9, which is quadratic in the error of T.
    ours, theirs = optimal_temperature(logits, targets), scaler.temperature[0].item()
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert nll(logits / theirs, targets) - 1e-9 < nll(logits / ours, targets) <= nll(logits / theirs, targets)


def test_its_temperature_turns_negative_where_every_prediction_is_wrong_and_ours_stays_within_bounds():
    from torch_uncertainty.post_processing import TemperatureScaler

    # Logits -1, 1 for y = 0: the NLL log(1 + e^(2/T)) falls until 1/T is minus infinity; T > 0 gets to log 2 at best.
    logits, targets = torch.tensor([[-1.0, 1.0]] * 4), torch.zeros(4, dtype=torch.int64)
    scaler = TemperatureScaler(lr=1.0, max_iter=200)
    scaler.fit(DataLoader(TensorDataset(logits, targets), batch_size=4), progress=False)
    assert scaler.temperature[0].item() < 0
    assert optimal_temperature(logits, targets) == 10_000
    assert math.isfinite(nll(logits / 10_000, targets))
