"""Links turn logits into log-probabilities."""

import numpy as np
import pytest
import torch

from lossbench import links
from lossbench.errors import DataError, ShapeError


def test_softmax_of_log_odds_is_the_odds():
    # exp(log 1), exp(log 3) = 1, 3; over their sum: 1/4, 3/4
    log_probs = links.softmax(np.log([[1.0, 3.0]]))
    np.testing.assert_allclose(np.exp(log_probs), [[0.25, 0.75]], rtol=1e-15)


def test_softmax_at_temperature_two_takes_the_square_root_of_the_odds():
    # 9^(1/2) : 1 = 3 : 1
    log_probs = links.softmax(np.log([[9.0, 1.0]]), temperature=2.0)
    np.testing.assert_allclose(np.exp(log_probs), [[0.75, 0.25]], rtol=1e-15)


def test_sigmoid_asks_each_class_alone():
    # σ(log 3) = 3/4 and σ(0) = 1/2; they do not sum to 1
    log_probs = links.sigmoid([[np.log(3.0), 0.0]])
    np.testing.assert_allclose(np.exp(log_probs), [[0.75, 0.5]], rtol=1e-15)


def test_both_links_are_finite_at_huge_logits():
    # softmax: the loser is 2e4 nats behind; log σ(-1e4) = -1e4 - log(1 + e^-1e4) = -1e4
    np.testing.assert_array_equal(links.softmax([[1e4, -1e4]]), [[0.0, -2e4]])
    np.testing.assert_array_equal(links.sigmoid([[1e4, -1e4]]), [[0.0, -1e4]])


@pytest.mark.parametrize("link", [links.softmax, links.sigmoid])
def test_both_links_keep_the_shape_and_return_float64(link):
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    log_probs = link(logits)
    assert log_probs.shape == (2, 3, 4, 5)
    assert log_probs.dtype == np.float64


def test_softmax_of_a_segmentation_sums_to_one_over_the_class_axis():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(np.exp(links.softmax(logits)).sum(axis=1), np.ones((2, 4, 5)), rtol=1e-12)


@pytest.mark.parametrize("link", [links.softmax, links.sigmoid])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), (3, 1), (2, 2, 0, 4)])
def test_both_links_refuse_other_shapes_and_name_them(link, shape):
    with pytest.raises(ShapeError, match=rf"\[N, K\].*got \[{', '.join(map(str, shape))}\]"):
        link(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_is_named_by_its_row(bad):
    logits = np.zeros((5, 3))
    logits[3, 1] = bad
    with pytest.raises(DataError, match="logits row 3 is not finite"):
        links.softmax(logits)


@pytest.mark.parametrize("logits", [[["a", "b"]], [[0.0, 1.0], [0.0]], [[None, {}]]])
def test_logits_that_are_not_numbers_are_refused(logits):
    with pytest.raises(DataError, match="logits must be an array of real numbers"):
        links.softmax(logits)
