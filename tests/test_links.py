"""Links turn logits into log-probabilities."""

import numpy as np
import pytest
import torch

from lossbench import links, losses
from lossbench.errors import DataError, ShapeError


def test_softmax_of_log_odds_is_the_odds():
    # exp(log 1), exp(log 3) = 1, 3; over their sum: 1/4, 3/4
    log_probs = links.softmax(np.log([[1.0, 3.0]]))
    np.testing.assert_allclose(np.exp(log_probs), [[0.25, 0.75]], rtol=1e-15)


def test_softmax_at_scale_two_squares_the_odds():
    log_probs = links.softmax(np.log([[1.0, 3.0]]), scale=2.0)
    np.testing.assert_allclose(np.exp(log_probs), [[0.1, 0.9]], rtol=1e-12)


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


@pytest.mark.parametrize("link", [links.softmax, links.sigmoid, links.normalized, links.tempered_softmax])
def test_all_links_keep_the_shape_and_return_float64(link):
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    log_probs = link(logits)
    assert log_probs.shape == (2, 3, 4, 5)
    assert log_probs.dtype == np.float64


def test_softmax_of_a_segmentation_sums_to_one_over_the_class_axis():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(np.exp(links.softmax(logits)).sum(axis=1), np.ones((2, 4, 5)), rtol=1e-12)


@pytest.mark.parametrize("link", [links.softmax, links.sigmoid, links.normalized, links.tempered_softmax])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), (3, 1), (2, 2, 0, 4)])
def test_all_links_refuse_other_shapes_and_name_them(link, shape):
    with pytest.raises(ShapeError, match=rf"\[N, K\].*got \[{', '.join(map(str, shape))}\]"):
        link(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_is_named_by_its_row(bad):
    logits = np.zeros((5, 3))
    logits[3, 1] = bad
    with pytest.raises(DataError, match="logits row 3 is not finite"):
        links.softmax(logits)


def test_a_logit_whose_square_is_no_number_is_named_by_its_row():
    logits = np.zeros((5, 3))
    logits[2, 1] = -1e150
    assert np.isfinite(links.normalized(logits)).all()
    logits[3, 0] = -1e151
    for link in links.LINKS.values():
        with pytest.raises(DataError, match=r"logits row 3 is above 1e\+150 in size"):
            link(logits)


@pytest.mark.parametrize("logits", [[["a", "b"]], [[0.0, 1.0], [0.0]], [[None, {}]], np.eye(2) * 1j, [[1j, 0], [0, 1]]])
def test_logits_that_are_not_numbers_are_refused(logits):
    with pytest.raises(DataError, match="logits must be an array of real numbers"):
        links.softmax(logits)


def test_the_normalized_link_forgets_the_size_of_the_logits():
    # (3, 4)/5 = (0.6, 0.8); at τ = 0.2 the difference is 1, so the odds are e
    for scale in (1.0, 1e3):
        log_probs = links.normalized([[3.0 * scale, 4.0 * scale]], temperature=0.2)
        np.testing.assert_allclose(log_probs[0, 1] - log_probs[0, 0], 1.0, rtol=1e-6)


def test_the_normalized_link_of_zero_logits_is_uniform():
    np.testing.assert_allclose(np.exp(links.normalized([[0.0, 0.0]])), [[0.5, 0.5]])


def test_the_tempered_softmax_at_2_solves_a_quadratic():
    # p = 1/(1 + λ - z), z = (0, -3/2): 1/a + 1/(a + 3/2) = 1 has a = 3/2, so p = (2/3, 1/3)
    np.testing.assert_allclose(np.exp(links.tempered_softmax([[0.0, -1.5]], t2=2.0)), [[2 / 3, 1 / 3]], rtol=1e-12)


def test_the_tempered_softmax_at_1_is_the_softmax():
    logits = np.random.default_rng(0).normal(size=(4, 5))
    np.testing.assert_array_equal(links.tempered_softmax(logits, t2=1.0), links.softmax(logits))
    np.testing.assert_allclose(links.tempered_softmax(logits, t2=1 + 1e-9), links.softmax(logits), atol=1e-7)


@pytest.mark.parametrize("t2", [1.01, 1.2, 2.0, 4.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_the_tempered_softmax_sums_to_1_and_keeps_the_order(t2, scale):
    logits = scale * np.random.default_rng(0).normal(size=(3, 1000))
    log_probs = links.tempered_softmax(logits, t2=t2)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), np.ones(3), rtol=1e-12)
    np.testing.assert_array_equal(log_probs.argmax(axis=1), logits.argmax(axis=1))


def test_the_tempered_softmax_has_a_heavier_tail():
    assert links.tempered_softmax([[10.0, 0.0]], t2=1.2)[0, 1] > links.softmax([[10.0, 0.0]])[0, 1] + 1


def test_a_recorded_link_is_the_function_of_its_name_with_its_arguments():
    logits = [[1.0, 3.0]]
    np.testing.assert_array_equal(
        links.through({"name": "softmax", "temperature": 2.0}, logits), links.softmax(logits, temperature=2.0)
    )
    np.testing.assert_array_equal(links.through({"name": "sigmoid"}, logits), links.sigmoid(logits))


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"name": "sofmax"}, "no link named 'sofmax'; did you mean softmax"),
        ({"name": "finite_logits"}, "no link named 'finite_logits'"),
        ({}, "no link named None"),
        ({"name": "sigmoid", "temperature": 2.0}, "the link sigmoid cannot be given"),
        ({"name": "softmax", "temperature": "hot"}, "the link softmax cannot be given"),
    ],
)
def test_a_record_that_is_no_link_is_refused(link, message):
    with pytest.raises(DataError, match=message):
        links.through(link, [[1.0, 3.0]])


def test_the_link_of_every_loss_can_be_recorded():
    functions = [getattr(losses, name) for name in losses.__all__]
    named = {function.link for function in functions if hasattr(function, "link")}
    assert "sigmoid" in named
    assert named <= set(links.LINKS)
