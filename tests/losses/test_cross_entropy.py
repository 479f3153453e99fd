import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import vmap

from lossbench.errors import ConfigError, ShapeError
from lossbench.losses import cross_entropy

# softmax of these logits is (1/2, 1/4, 1/4) in the first row and (1/8, 1/8, 3/4) in the second.
LOGITS = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]], dtype=torch.float64).log()
TARGETS = torch.tensor([0, 2])
LOG2, LOG3 = math.log(2), math.log(3)
LOSSES = [LOG2, 2 * LOG2 - LOG3]  # -log 1/2 and -log 3/4


def random_logits(*shape, seed=0, scale=2.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_targets(*shape, num_classes, seed=1):
    return torch.randint(num_classes, shape, generator=torch.Generator().manual_seed(seed))


def test_plain_cross_entropy_is_the_mean_of_minus_log_p():
    assert cross_entropy(LOGITS, TARGETS).item() == pytest.approx(sum(LOSSES) / 2)


def test_smoothing_gives_epsilon_of_the_target_to_all_classes_alike():
    # First row: H(u, p) = (log 2 + log 4 + log 4)/3 = 5/3 log 2, so (1 - 0.3) log 2 + 0.3 · 5/3 log 2 = 1.2 log 2.
    assert cross_entropy(LOGITS[:1], TARGETS[:1], epsilon=0.3).item() == pytest.approx(1.2 * LOG2)


def test_a_prior_says_which_classes_get_epsilon():
    # H(u, p) with u = (0, 1/2, 1/2) is log 4, so 0.7 log 2 + 0.3 · 2 log 2 = 1.3 log 2.
    loss = cross_entropy(LOGITS[:1], TARGETS[:1], epsilon=0.3, prior=[0.0, 0.5, 0.5])
    assert loss.item() == pytest.approx(1.3 * LOG2)


def test_temperature_divides_the_logits():
    # At T = 1/2 the odds 2 : 1 : 1 become 4 : 1 : 1, so p_y = 2/3.
    assert cross_entropy(LOGITS[:1], TARGETS[:1], temperature=0.5).item() == pytest.approx(math.log(1.5))


def test_class_weights_weigh_the_example_by_its_true_class_and_normalise():
    # (3 log 2 + 1 (2 log 2 - log 3)) / (3 + 1)
    loss = cross_entropy(LOGITS, TARGETS, class_weights=[3.0, 100.0, 1.0])
    assert loss.item() == pytest.approx((3 * LOSSES[0] + LOSSES[1]) / 4)


def test_class_weights_of_soft_targets_are_their_expectation():
    # First row: p_y = 3/4 and weight 1. Second row: p = (1/2, 1/2), loss log 2 and weight (1 + 3)/2 = 2.
    logits = torch.tensor([[3.0, 1.0], [1.0, 1.0]], dtype=torch.float64).log()
    targets = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    loss = cross_entropy(logits, targets, class_weights=[1.0, 3.0])
    assert loss.item() == pytest.approx((1 * (2 * LOG2 - LOG3) + 2 * LOG2) / 3)


def test_sample_weights_normalise():
    loss = cross_entropy(LOGITS, TARGETS, sample_weights=torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx((LOSSES[0] + 3 * LOSSES[1]) / 4)


def test_sample_and_class_weights_multiply():
    loss = cross_entropy(LOGITS, TARGETS, sample_weights=torch.tensor([1.0, 3.0]), class_weights=[5.0, 1.0, 2.0])
    assert loss.item() == pytest.approx((5 * LOSSES[0] + 6 * LOSSES[1]) / 11)


def test_an_example_weight_counts_for_each_of_its_pixels():
    logits, targets = random_logits(2, 3, 4, 5), random_targets(2, 4, 5, num_classes=3)
    of_examples = torch.tensor([1.0, 3.0], dtype=torch.float64)
    of_pixels = of_examples.reshape(2, 1, 1).expand(2, 4, 5)
    by_hand = (cross_entropy(logits[:1], targets[:1]) + 3 * cross_entropy(logits[1:], targets[1:])) / 4
    assert torch.allclose(cross_entropy(logits, targets, sample_weights=of_examples), by_hand)
    assert torch.allclose(cross_entropy(logits, targets, sample_weights=of_pixels), by_hand)


def test_ignored_positions_count_in_neither_sum_and_neither_term():
    kept = {"epsilon": 0.3, "class_weights": [3.0, 1.0, 2.0], "prior": [0.2, 0.3, 0.5]}
    logits = torch.cat([LOGITS, random_logits(1, 3)]).requires_grad_()
    targets = torch.tensor([0, 2, 255])
    loss = cross_entropy(logits, targets, ignore_index=255, sample_weights=torch.tensor([1.0, 2.0, 4.0]), **kept)
    alone = cross_entropy(LOGITS, TARGETS, sample_weights=torch.tensor([1.0, 2.0]), **kept)
    assert loss.item() == pytest.approx(alone.item())
    loss.backward()
    assert logits.grad[2].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "options",
    [
        {"ignore_index": 0},
        {"sample_weights": torch.zeros(2)},
        {"class_weights": [0.0, 1.0, 1.0]},
        {"epsilon": 0.5, "ignore_index": 0},
    ],
    ids=["all ignored", "zero sample weights", "zero class weight", "all ignored, smoothed"],
)
def test_where_nothing_counts_the_loss_and_its_gradient_are_zero(options):
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, torch.tensor([0, 0]), **options)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(LOGITS))


def test_epsilon_zero_is_plain_cross_entropy():
    logits, targets = random_logits(64, 10).float().requires_grad_(), random_targets(64, num_classes=10)
    plain = cross_entropy(logits, targets)
    zero = cross_entropy(logits, targets, epsilon=0.0, prior=[0.1] * 10)
    # But for rounding: a prior goes another way through the function.
    assert plain.item() == pytest.approx(zero.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(plain, logits)
    (other,) = torch.autograd.grad(zero, logits)
    assert torch.allclose(gradient, other, atol=1e-8)


@pytest.mark.parametrize("ignored", [0, 5, 64])
@pytest.mark.parametrize(("epsilon", "temperature"), [(0.0, 1.0), (0.1, 1.0), (0.3, 2.5)])
def test_numbers_and_tensors_as_hyperparameters_give_the_same(epsilon, temperature, ignored):
    # Numbers go through torch's own kernel, tensors do not.
    logits, targets = random_logits(64, 10).requires_grad_(), random_targets(64, num_classes=10)
    targets[:ignored] = -100
    one = cross_entropy(logits, targets, epsilon=epsilon, temperature=temperature)
    other = cross_entropy(logits, targets, epsilon=torch.tensor(epsilon), temperature=torch.tensor(temperature))
    assert torch.allclose(one, other, rtol=1e-6)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (one, other)]
    assert torch.allclose(*gradients, atol=1e-8)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("prior", [None, [0.1, 0.2, 0.3, 0.4]], ids=["uniform", "prior"])
def test_cross_entropy_to_the_smoothed_target_is_the_mixture_of_two_cross_entropies(epsilon, prior):
    logits, targets = random_logits(8, 4), random_targets(8, num_classes=4)
    u = torch.tensor(prior or [0.25] * 4, dtype=torch.float64)
    to_labels = cross_entropy(logits, targets)
    to_prior = cross_entropy(logits, u.expand(8, 4))
    smoothed = (1 - epsilon) * F.one_hot(targets, 4) + epsilon * u
    loss = cross_entropy(logits, targets, epsilon=epsilon, prior=prior)
    assert torch.allclose(loss, (1 - epsilon) * to_labels + epsilon * to_prior)
    assert torch.allclose(loss, cross_entropy(logits, smoothed))


def test_soft_targets_that_are_one_hot_are_the_indices():
    logits, targets = random_logits(8, 4), random_targets(8, num_classes=4)
    options = {
        "epsilon": 0.2,
        "temperature": 1.5,
        "class_weights": [1.0, 2.0, 3.0, 4.0],
        "sample_weights": torch.arange(8.0),
    }
    soft = F.one_hot(targets, 4).double()
    assert torch.allclose(cross_entropy(logits, soft, **options), cross_entropy(logits, targets, **options))


WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 4.0])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"epsilon": 0.1}, {"label_smoothing": 0.1}),
        ({"class_weights": WEIGHTS}, {"weight": WEIGHTS}),
        ({"ignore_index": 2}, {"ignore_index": 2}),
        ({"epsilon": 0.3, "ignore_index": 2}, {"label_smoothing": 0.3, "ignore_index": 2}),
        ({"class_weights": WEIGHTS, "ignore_index": 2}, {"weight": WEIGHTS, "ignore_index": 2}),
    ],
    ids=["plain", "smoothed", "weighted", "ignoring", "smoothed and ignoring", "weighted and ignoring"],
)
@pytest.mark.parametrize("pixels", [(), (5, 3)], ids=["classification", "segmentation"])
def test_torch_agrees_where_the_definitions_do(ours, theirs, pixels):
    logits = random_logits(16, 4, *pixels).float().requires_grad_()
    targets = random_targets(16, *pixels, num_classes=4)
    loss, reference = cross_entropy(logits, targets, **ours), F.cross_entropy(logits, targets, **theirs)
    assert loss.item() == pytest.approx(reference.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    (expected,) = torch.autograd.grad(reference, logits)
    assert torch.allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_torch_agrees_on_soft_targets(epsilon):
    logits, soft = random_logits(16, 4, 5, 3), random_logits(16, 4, 5, 3, seed=2).softmax(1)
    reference = F.cross_entropy(logits, soft, label_smoothing=epsilon)
    # torch divides the sum by N · H · W, which is our sum of weights where all are 1
    assert cross_entropy(logits, soft, epsilon=epsilon).item() == pytest.approx(reference.item(), abs=1e-6)


def test_torch_disagrees_on_class_weights_with_smoothing():
    # p = (1/2, 1/2), weights (1, 3), y = 0. Ours: w_0 log 2 / w_0 = log 2 at any ε.
    # torch's: (0.9 w_0 log 2 + 0.1/2 (w_0 + w_1) log 2) / w_0 = (0.9 + 0.2) log 2.
    logits, targets, weights = torch.zeros(1, 2), torch.tensor([0]), torch.tensor([1.0, 3.0])
    assert cross_entropy(logits, targets, epsilon=0.1, class_weights=weights).item() == pytest.approx(LOG2)
    reference = F.cross_entropy(logits, targets, weight=weights, label_smoothing=0.1)
    assert reference.item() == pytest.approx(1.1 * LOG2)


def test_the_optimum_under_class_weights_is_the_smoothed_target():
    # At logits whose softmax is q = (1 - ε) δ + ε/K the gradient is p - q = 0, whatever the weights.
    logits = torch.tensor([[0.95, 0.05]], dtype=torch.float64).log().requires_grad_()
    cross_entropy(logits, torch.tensor([0]), epsilon=0.1, class_weights=[1.0, 3.0]).backward()
    assert logits.grad.abs().max() < 1e-12


def test_vmap_over_epsilon_temperature_weights_and_prior_is_a_loop():
    logits, targets = random_logits(3, 8, 4), random_targets(8, num_classes=4)
    epsilon, temperature = torch.tensor([0.0, 0.1, 1.0]).double(), torch.tensor([0.5, 1.0, 4.0]).double()
    weights, prior = random_logits(3, 4, seed=3).exp(), random_logits(3, 4, seed=4).softmax(1)

    def loss(z, e, t, w, u):
        return cross_entropy(z, targets, epsilon=e, temperature=t, class_weights=w, prior=u)

    stacked = vmap(loss)(logits, epsilon, temperature, weights, prior)
    loop = [
        loss(logits[r], epsilon[r].item(), temperature[r].item(), weights[r].tolist(), prior[r].tolist())
        for r in range(3)
    ]
    assert torch.allclose(stacked, torch.stack(loop))


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_vmap_over_models_with_one_epsilon_is_a_loop(epsilon):
    logits = random_logits(3, 8, 4)
    targets = torch.stack([random_targets(8, num_classes=4, seed=seed) for seed in range(3)])
    targets[1, :3], targets[2] = -100, -100
    stacked = vmap(lambda z, y: cross_entropy(z, y, epsilon=epsilon))(logits, targets)
    loop = [cross_entropy(z, y, epsilon=epsilon) for z, y in zip(logits, targets, strict=True)]
    assert torch.allclose(stacked, torch.stack(loop))


def test_vmap_with_a_masked_class_that_gets_no_epsilon_is_finite():
    logits, targets = random_logits(3, 8, 4), random_targets(8, num_classes=3)
    logits[..., 3] = -torch.inf
    stacked = vmap(cross_entropy)(logits, targets.expand(3, 8))
    assert torch.allclose(stacked, torch.stack([cross_entropy(z[:, :3], targets) for z in logits]))


@pytest.mark.filterwarnings("ignore")  # of torch.jit.trace: that it is old, and that shapes are taken for granted
@pytest.mark.parametrize("how", ["traced", "compiled"])
def test_what_torch_writes_down_holds_where_all_is_ignored(how):
    logits, targets = random_logits(8, 4), random_targets(8, num_classes=4)
    if how == "traced":
        written = torch.jit.trace(lambda z, y: cross_entropy(z, y), (logits, targets))
    else:
        written = torch.compile(lambda z, y: cross_entropy(z, y), backend="eager", fullgraph=True)
    assert torch.allclose(written(logits, targets), cross_entropy(logits, targets))
    assert written(logits, torch.full_like(targets, -100)) == 0


def test_half_precision_logits_are_computed_in_float32():
    logits, targets = random_logits(16, 4).bfloat16(), random_targets(16, num_classes=4)
    loss = cross_entropy(logits, targets, epsilon=0.1, temperature=3.0)
    assert loss.dtype == torch.float32
    assert loss.item() == cross_entropy(logits.float(), targets, epsilon=0.1, temperature=3.0).item()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": [1.0, 2.0]}, r"class_weights must have one entry per class \(3\); got 2"),
        ({"prior": torch.ones(1, 3)}, r"prior must have one entry per class \(3\); got shape \[1, 3\]"),
        ({"sample_weights": torch.ones(3)}, r"sample_weights must have shape \[2\]; got \[3\]"),
    ],
)
def test_numbers_that_do_not_fit_are_a_shape_error(options, message):
    with pytest.raises(ShapeError, match=message):
        cross_entropy(LOGITS, TARGETS, **options)


def test_pixel_weights_that_do_not_fit_name_both_shapes():
    with pytest.raises(ShapeError, match=r"sample_weights must have shape \[2\] or \[2, 4, 5\]; got \[2, 4\]"):
        cross_entropy(
            random_logits(2, 3, 4, 5), random_targets(2, 4, 5, num_classes=3), sample_weights=torch.ones(2, 4)
        )


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (
            torch.zeros(3),
            torch.tensor([0, 1, 2]),
            r"logits must be float \[N, K\] or \[N, K, H, W\]; got float32 \[3\]",
        ),
        (torch.zeros(2, 3, dtype=torch.int64), TARGETS, r"logits must be float .* got int64 \[2, 3\]"),
        (
            LOGITS,
            torch.tensor([0, 1, 2]),
            r"int64 class indices \[2\] or float probabilities \[2, 3\]; got int64 \[3\]",
        ),
        (LOGITS, torch.tensor([0, 1], dtype=torch.uint8), r"got uint8 \[2\]"),
        (LOGITS, torch.zeros(2, 2), r"got float32 \[2, 2\]"),
        (LOGITS, torch.tensor([[0], [1]]), r"got int64 \[2, 1\]"),
    ],
)
def test_logits_and_targets_that_disagree_are_a_shape_error(logits, targets, message):
    with pytest.raises(ShapeError, match=message):
        cross_entropy(logits, targets)


@pytest.mark.parametrize("options", [{"class_weights": "inverse"}, {"prior": "train"}])
def test_a_name_that_was_not_resolved_says_how_to_resolve_it(options):
    with pytest.raises(ConfigError, match=r"class_weights and class_frequencies in lossbench\.losses\.weights"):
        cross_entropy(LOGITS, TARGETS, **options)


def test_what_all_logits_have_in_common_takes_no_digits_from_what_the_temperature_divides():
    logits, targets = torch.tensor([[0.25, 0.5, -0.25], [1.0, 0.0, -1.0]]), torch.tensor([2, 0])
    for more in ({}, {"sample_weights": torch.ones(2)}):  # by torch's own kernels, and written out
        found = []
        for common in (0.0, 2.0**20):
            z, temperature = (logits + common).requires_grad_(), torch.tensor(3.0, requires_grad=True)
            loss = cross_entropy(z, targets, temperature=temperature, **more)
            found.append((loss, *torch.autograd.grad(loss, (z, temperature))))
        torch.testing.assert_close(*found, rtol=1e-6, atol=0)


@pytest.mark.parametrize("more", [{}, {"sample_weights": torch.ones(2)}, {"class_weights": torch.ones(3)}])
def test_a_masked_class_that_gets_no_epsilon_is_as_if_it_were_not_there(more):
    logits = torch.tensor([[0.5, -math.inf, 1.0], [0.2, -math.inf, -0.3]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0, 2]), **more)
    expected = cross_entropy(logits.detach()[:, ::2], torch.tensor([0, 1]))
    torch.testing.assert_close(loss, expected)
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()
