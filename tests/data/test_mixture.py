import math

import pytest
import torch
from scipy.stats import norm

from lossbench.data import gaussian_log_posterior, gaussian_means, gaussians
from lossbench.errors import ShapeError


def drawn(count=100_000):
    """Many examples of three overlapping classes, with their true log-posterior."""
    test = gaussians(num_classes=3, dimensions=4, separation=1.5, n_test=count).test
    assert test is not None
    return gaussian_log_posterior(test.inputs, gaussian_means(3, 4, 1.5)), test.targets


def test_two_means_lie_half_the_separation_from_the_origin():
    assert gaussian_means(2, 3, 4.0).tolist() == pytest.approx(
        [pytest.approx([2.0, 0.0, 0.0]), pytest.approx([-2.0, 0.0, 0.0], abs=1e-6)]
    )


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_neighbouring_means_are_the_separation_apart(num_classes, dimensions):
    means = gaussian_means(num_classes, dimensions, 1.5)
    assert means.shape == (num_classes, dimensions)
    assert means.sum(0).tolist() == pytest.approx([0.0] * dimensions, abs=1e-5)
    distances = torch.cdist(means, means)
    assert distances[torch.arange(num_classes - 1), torch.arange(1, num_classes)].tolist() == pytest.approx(
        [1.5] * (num_classes - 1)
    )
    # Neighbours are the nearest there are.
    assert float(distances[~torch.eye(num_classes, dtype=torch.bool)].min()) == pytest.approx(1.5)


def test_the_log_posterior_by_hand():
    # Means ±1 on a line: log p(+1|x) - log p(-1|x) = -½(x-1)² + ½(x+1)² = 2x, so p(+1 | 0.5) = σ(1).
    posterior = gaussian_log_posterior(torch.tensor([[0.5]]), torch.tensor([[-1.0], [1.0]])).exp()
    expected = 1 / (1 + math.exp(-1))
    assert posterior.tolist() == [pytest.approx([1 - expected, expected])]


def test_the_posterior_is_calibrated():
    log_posterior, targets = drawn()
    confidence, prediction = log_posterior.exp().max(1)
    correct = (prediction == targets).double()
    for low in torch.arange(0.35, 1.0, 0.05).tolist():
        inside = (confidence > low) & (confidence <= low + 0.05)
        n = int(inside.sum())
        assert n > 100
        # The accuracy within a bin is a mean of n Bernoulli draws whose probabilities are the confidences.
        deviation = float((confidence * (1 - confidence))[inside].sum().sqrt()) / n
        gap = float(correct[inside].mean() - confidence[inside].mean())
        assert abs(gap) < 4 * deviation


def test_no_temperature_beats_the_posterior():
    log_posterior, targets = drawn()

    def nll(temperature):
        return float(torch.nn.functional.cross_entropy(log_posterior / temperature, targets))

    for temperature in (0.5, 0.8, 0.9, 1.1, 1.25, 2.0):
        assert nll(1.0) < nll(temperature)


def test_the_best_accuracy_for_two_classes_is_that_of_the_normal_distribution():
    test = gaussians(n_test=100_000).test
    assert test is not None
    prediction = gaussian_log_posterior(test.inputs, gaussian_means(2, 2, 2.0)).argmax(1)
    accuracy = float((prediction == test.targets).double().mean())
    # Φ(separation/2) = Φ(1); Binomial(10⁵, 0.841) has a standard deviation of 0.00116; four of them.
    assert abs(accuracy - float(norm.cdf(1.0))) < 0.0047


def test_classes_have_equal_priors():
    # Binomial(2000, ½): 1000, standard deviation 22; five of them.
    assert abs(int(gaussians().train.targets.sum()) - 1000) < 110


def test_the_draw_follows_the_data_seed_alone():
    first, second, other = gaussians(), gaussians(), gaussians(data_seed=1)
    assert torch.equal(first.train.inputs, second.train.inputs)
    assert not torch.equal(first.train.inputs, other.train.inputs)


def test_training_and_test_examples_are_different_draws():
    source = gaussians(n_train=100, n_test=100)
    assert source.test is not None
    assert not torch.equal(source.train.inputs, source.test.inputs)


def test_means_of_another_dimension_are_refused():
    with pytest.raises(ShapeError, match=r"got \[5, 3\] and \[2, 2\]"):
        gaussian_log_posterior(torch.zeros(5, 3), torch.zeros(2, 2))
