"""Cross-entropy: label smoothing, priors, temperature and weights in one function."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import POSITIVE, UNIT
from lossbench.losses.checks import check_shapes, per_class
from lossbench.losses.claims import claim
from lossbench.losses.inplace import has_memory
from lossbench.losses.link import link
from lossbench.losses.log_probs import falls, log_probs
from lossbench.losses.parts import known
from lossbench.losses.targets import at_least_float32, at_target, is_labelled, mean_over_labelled


@link("softmax")
@claim(
    shift_invariant=True, cross_entropy_at={"epsilon": 0, "temperature": 1}, soft_targets=True, mean_of_examples=True
)
def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: Annotated[float | Tensor, UNIT] = 0.0,
    prior: Tensor | list[float] | Literal["train"] | None = None,
    temperature: Annotated[float | Tensor, POSITIVE] = 1.0,
    class_weights: Tensor | list[float] | Literal["inverse", "effective"] | None = None,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy with smoothed targets, a softmax temperature and weights.

        p      = softmax(z / T)
        loss_i = (1 - ε) · H(t_i, p_i) + ε · H(u, p_i) = -Σ_k [(1 - ε) t_ik + ε u_k] log p_ik
        loss   = Σ_i w_i s_i loss_i / Σ_i w_i s_i

    t_i is the target: one-hot at y_i, or the probabilities given. w_i = Σ_k t_ik w_k is the weight of the
    target's class, s_i the sample weight; i runs over examples, or over their pixels, that are not ignored.

    `class_weights` weighs the example by its true class. `torch.nn.functional.cross_entropy` weighs each
    class of the smoothed target instead, which moves the optimum off that target (pytorch issue 104776).
    The two agree at ε = 0 and wherever there are no class weights.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits that
            sum to 1 over the classes.
        epsilon: ε in [0, 1], the share of the target that goes to u.
        prior: u, K probabilities; None is uniform. The config's name `train` is resolved into the training
            split's class frequencies before the loss is called.
        temperature: T > 0. It scales the gradient by about 1/T.
        class_weights: w, K numbers ≥ 0; None is all 1. The config's names `inverse` and `effective` are
            resolved by `lossbench.losses.weights.class_weights` before the loss is called.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree, or `prior` or `class_weights` has not K entries.
        ConfigError: if a name reaches the function unresolved.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7 (ε, u);
    Agarwala et al. 2020, "Temperature check" (T).
    """
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    if (
        logits.ndim == 2  # of pixels, torch's own is not deterministic on a GPU
        and not targets.is_floating_point()
        and prior is class_weights is sample_weights is None
    ):
        # The same but for rounding: what follows takes four times as long on a batch of 128 × 10, a fifth of a small
        # mlp's step.
        return _of_indices(logits, targets, epsilon, temperature, ignore_index)
    log_p = log_probs(logits, targets, ignore_index, scale=1 / temperature)
    losses = smoothed_cross_entropy(log_p.target, log_p.total, logits, epsilon, prior, temperature)
    weights = None if class_weights is None else weights_of_targets(class_weights, logits, targets, ignore_index)
    return mean_over_labelled(losses, targets, ignore_index, sample_weights, weights)


def _of_indices(
    logits: Tensor, targets: Tensor, epsilon: float | Tensor, temperature: float | Tensor, ignore_index: int
) -> Tensor:
    """Cross-entropy of class indices, [N], that all weigh the same, by torch's own kernels."""
    scaled = softened(logits, temperature)
    # Under vmap torch's takes no tensor for ε, and is small operations of torch's own, which import its compiler.
    if isinstance(epsilon, Tensor) or not (has_memory(scaled) and has_memory(targets)):
        return mean_of_indices(scaled, targets, epsilon, ignore_index)
    if epsilon == 0 and scaled.device.type == "cpu":
        loss = F.cross_entropy(scaled, targets, ignore_index=ignore_index)
        if not math.isnan(known(loss)):  # as it is where there is no label; the same bits as below, with less around
            return loss
    total = F.cross_entropy(scaled, targets, ignore_index=ignore_index, label_smoothing=epsilon, reduction="sum")
    return total / is_labelled(targets, ignore_index).sum().clamp(min=1)


def mean_of_indices(logits: Tensor, targets: Tensor, epsilon: float | Tensor, ignore_index: int) -> Tensor:
    """Return the mean cross-entropy of class indices, by operations that any tensor can take part in.

    Args:
        logits: z / T, float32 or wider, [N, K]; or of R models [R, K, N], with the positions last.
        targets: class indices, int64 [N] or [R, N].
        epsilon: ε, which for R models may be [R, 1].
        ignore_index: positions with this class index do not count.

    Returns:
        Scalar or [R]; 0 where all is ignored.
    """
    labelled = is_labelled(targets, ignore_index)
    log_p = F.log_softmax(logits, 1)
    of_target = log_p.gather(1, targets.where(labelled, 0).unsqueeze(1)).squeeze(1)
    if isinstance(epsilon, Tensor) or epsilon > 0:  # 0 times the minus infinity of a masked class would be nan
        losses = (epsilon - 1) * of_target - epsilon * log_p.mean(1)
    else:
        losses = -of_target
    return losses.where(labelled, 0.0).sum(-1) / labelled.sum(-1).clamp(min=1)


def softened(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return z / T less what all have in common; by the number 1, most losses' default, without a pass over memory."""
    return falls(logits) / temperature if isinstance(temperature, Tensor) or temperature != 1 else logits


def smoothed_cross_entropy(
    of_target: Tensor,
    of_all: Tensor,
    logits: Tensor,
    epsilon: float | Tensor,
    prior: Tensor | list[float] | str | None,
    temperature: float | Tensor,
) -> Tensor:
    """Return (1 - ε) · H(t, p) + ε · H(u, p) of each position, [N] or [N, H, W].

    Args:
        of_target: Σ_k t_k log p_k at p = softmax(z / T), [N] or [N, H, W].
        of_all: Σ_k log p_k.
        logits: z.
        epsilon: ε.
        prior: u; None is uniform.
        temperature: T.
    """
    u = None if prior is None else per_class("prior", prior, logits)
    if not isinstance(epsilon, Tensor) and epsilon == 0:  # times the infinity of a masked class it would be nan
        return -of_target
    if u is None:
        prior_term = -of_all / logits.shape[1]
    else:
        # Σ_k u_k log p_k by its difference from the uniform one, in which log Σ exp z is not needed. A product and a
        # sum rather than matmul or einsum, which autocast would run in half precision.
        difference = ((u - u.mean()) * falls(logits)).sum(1) / temperature
        prior_term = -u.sum() * of_all / logits.shape[1] - difference
    return (epsilon - 1) * of_target + epsilon * prior_term


def weights_of_targets(
    class_weights: Tensor | list[float] | str, logits: Tensor, targets: Tensor, ignore_index: int
) -> Tensor:
    """Return w = Σ_k t_k w_k of each position, [N] or [N, H, W]."""
    return at_target(per_class("class_weights", class_weights, logits).expand_as(logits), targets, ignore_index)
