"""Losses count logarithms in nats or in bits, whichever the processor is quicker with; they are the same."""

import json
import os
import subprocess
import sys

import pytest
import torch

from lossbench import losses
from lossbench.losses.powers import NATS, antilog, log

VALUES = """
import json, torch
from lossbench import losses
from lossbench.losses.powers import NATS
generator = torch.Generator().manual_seed(0)
logits = 5 * torch.randn(64, 10, generator=generator)
targets = torch.randint(10, (64,), generator=generator)
teacher = torch.randn(64, 10, generator=generator)
def of(name):
    logits.requires_grad_().grad = None
    extras = {"teacher_logits": teacher} if "distillation" in name else {}
    if name == "incremental_distillation":
        extras = {"teacher_logits": teacher[:, :6]}
    loss = getattr(losses, name)(logits, targets, **extras)
    loss.backward()
    return [loss.item(), *logits.grad.flatten().tolist()]
"""
NAMES = [
    "distillation",
    "decoupled_distillation",
    "incremental_distillation",
    "virtual_teacher",
    "confidence_penalty",
    "margin_smoothing",
    "logit_norm",
    "bi_tempered",
    "binary_cross_entropy",
]


def test_a_logarithm_undoes_a_power():
    values = torch.tensor([-3.0, 0.0, 2.5], dtype=torch.float64)
    torch.testing.assert_close(antilog(values).log(), NATS * values)
    torch.testing.assert_close(log(antilog(values)), values)


def test_a_processor_without_avx_512_counts_in_bits_and_gets_the_same():
    printed = subprocess.run(
        [sys.executable, "-c", f"{VALUES}\nprint(json.dumps([NATS, {{name: of(name) for name in {NAMES}}}]))"],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "avx2"},
        capture_output=True,
        text=True,
        check=True,
    )
    nats, elsewhere = json.loads(printed.stdout)
    assert nats == pytest.approx(0.693147)
    here: dict[str, object] = {}
    exec(VALUES, here)
    for name in NAMES:
        assert hasattr(losses, name)
        assert elsewhere[name] == pytest.approx(here["of"](name), rel=2e-5, abs=1e-7), name  # type: ignore[operator]
