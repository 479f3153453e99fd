"""The Lovász extension of the Jaccard loss."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.targets import as_probabilities, at_least_float32, is_labelled, weighted_mean


@claim(shift_invariant=True)
def lovasz_softmax(
    logits: Tensor,
    targets: Tensor,
    *,
    over: Literal["batch", "example"] = "batch",
    include_absent: bool = False,
    ignore_index: int = -100,
) -> Tensor:
    """A convex surrogate of one minus the intersection over union, averaged over classes.

        e_k    = |g_k - p_k|, sorted from the largest: e_(1) ≥ e_(2) ≥ …
        loss_k = Σ_i e_(i) · [J({1..i}) - J({1..i-1})]

    J(M) = 1 - (n - Σ_M g) / (n + Σ_M (1 - g)), n = Σ g, is one minus the IoU of a prediction that errs on the positions
    in M and on no other. Where p is certain, loss_k is one minus class k's IoU.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W].
        over: `batch` takes all positions together and averages over the classes present; `example` each example's
            own, averaged over all pairs of an example and a class present.
        include_absent: average over classes without a target too, where any position of the scope is labelled.
        ignore_index: positions with this class index are left out. They have no error, which is the same.

    Returns:
        Mean over classes in [0, 1], without unit, scalar; 0 with zero gradient where all is ignored.

    Raises:
        ShapeError: if shapes or dtypes disagree, or the targets are probabilities.

    Source: Berman et al. 2018, "The Lovász-Softmax loss", eq. 11 and algorithm 1.
    """
    check_shapes(logits, targets, soft=False)
    num_examples, num_classes = logits.shape[:2]
    num_pixels = math.prod(logits.shape[2:])
    labelled = is_labelled(targets, ignore_index)
    probs = F.softmax(at_least_float32(logits), dim=1)
    goal = as_probabilities(targets, probs, labelled)
    errors = (goal - probs * labelled.unsqueeze(1)).abs()

    scopes = 1 if over == "batch" else num_examples
    shape = (num_examples, num_classes, num_pixels)
    errors, goal = (values.reshape(shape).transpose(0, 1).reshape(num_classes, scopes, -1) for values in (errors, goal))
    errors, order = errors.sort(dim=-1, descending=True)
    goal_sum = goal.sum(-1, keepdim=True)
    goal = goal.gather(-1, order)
    union = goal_sum + (1 - goal).cumsum(-1)  # at least 1
    jaccard = 1 - (goal_sum - goal.cumsum(-1)) / union
    losses = (errors * torch.diff(jaccard, dim=-1, prepend=torch.zeros_like(goal_sum))).sum(-1)  # [K, scopes]
    counted = labelled.reshape(scopes, -1).any(-1) if include_absent else goal_sum.squeeze(-1) > 0
    return weighted_mean(losses, counted.expand_as(losses).to(losses.dtype))
