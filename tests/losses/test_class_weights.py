import pytest
import torch

from lossbench.errors import ConfigError, DataError
from lossbench.losses import cross_entropy
from lossbench.losses.weights import check_class_weights, check_prior, class_frequencies, class_weights


def test_inverse_weights_are_n_over_k_times_the_count():
    # N = 12, K = 3: 12/(3·2), 12/(3·4), 12/(3·6)
    assert class_weights("inverse", torch.tensor([2, 4, 6])).tolist() == pytest.approx([2.0, 1.0, 2 / 3])


def test_effective_weights_have_mean_one_and_the_ratio_of_effective_numbers():
    # 1 - β² = (1 - β)(1 + β): the weights stand as 1 to 1/1.999, and sum to 2.
    weights = class_weights("effective", torch.tensor([1, 2])).tolist()
    assert weights == pytest.approx([2 * 1.999 / 2.999, 2 / 2.999])


@pytest.mark.parametrize("kind", ["inverse", "effective"])
def test_equal_counts_weigh_one_each(kind):
    assert class_weights(kind, torch.tensor([7, 7, 7])).tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_inverse_weights_make_the_loss_the_mean_over_classes():
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    targets = torch.tensor([0, 1, 1])
    by_class = [cross_entropy(logits[targets == k], targets[targets == k]).item() for k in (0, 1)]
    loss = cross_entropy(logits, targets, class_weights=class_weights("inverse", torch.bincount(targets)))
    assert loss.item() == pytest.approx(sum(by_class) / 2)


def test_an_empty_class_is_an_error_that_names_it():
    with pytest.raises(DataError, match=r"class_weights=inverse .* there is none of cat, owl"):
        class_weights("inverse", torch.tensor([0, 3, 0]), ["cat", "dog", "owl"])
    with pytest.raises(DataError, match=r"class_weights=effective .* there is none of 2$"):
        class_weights("effective", torch.tensor([1, 3, 0]))


def test_class_frequencies_are_shares_of_the_whole():
    assert class_frequencies(torch.tensor([1, 0, 3])).tolist() == [0.25, 0.0, 0.75]


def test_class_frequencies_of_nothing_are_an_error():
    with pytest.raises(DataError, match="at least one example"):
        class_frequencies(torch.tensor([0, 0]))


def test_what_the_counts_give_passes_the_checks():
    counts = torch.tensor([1, 2, 3000])
    for kind in ("inverse", "effective"):
        check_class_weights(class_weights(kind, counts), 3)
    check_prior(class_frequencies(counts), 3)
    check_class_weights([0.0, 1.0, 5.0], 3)
    check_prior([0.2, 0.3, 0.5], 3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], r"class_weights must have one entry per class \(3\); got 2"),
        ([1.0, -2.0, 1.0], "class_weights must be finite and not negative; got -2 for class 1"),
        ([1.0, 1.0, float("nan")], "got nan for class 2"),
        ([1.0, 1.0, float("inf")], "got inf for class 2"),
        ([0.0, 0.0, 0.0], "class_weights must not all be zero"),
    ],
)
def test_class_weights_that_cannot_weigh_are_an_error(weights, message):
    with pytest.raises(ConfigError, match=message):
        check_class_weights(weights, 3)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([0.5, 0.5], r"prior must have one entry per class \(3\); got 2"),
        ([0.5, 0.5, 0.5], "prior must sum to 1; got a sum of 1.5"),
        ([1.5, -0.5, 0.0], "prior must be finite and not negative; got -0.5 for class 1"),
    ],
)
def test_a_prior_that_is_no_distribution_is_an_error(prior, message):
    with pytest.raises(ConfigError, match=message):
        check_prior(prior, 3)
