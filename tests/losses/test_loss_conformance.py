"""What holds for every loss: each yaml in conf/loss is put through all of this, with no list to edit."""

import functools
import inspect
import typing
from pathlib import Path

import pytest
import torch
from hydra.utils import get_method
from omegaconf import OmegaConf
from torch import Tensor
from torch.func import vmap

from lossbench.losses.weights import class_frequencies, class_weights

FILES = sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))
EXTRAS = {"teacher_logits", "sample_weights", "features"}
N, K = 6, 3
TARGETS = torch.tensor([0, 1, 2, 0, 1, 1])


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Case:
    """One yaml: the function, its settings with names resolved from the targets' counts, and the extras it declares."""

    def __init__(self, path):
        config = OmegaConf.to_container(OmegaConf.load(path))
        self.header = path.read_text().splitlines()[0]
        self.function = get_method(config["_target_"])
        # What the defaults list fills in, such as another loss, is a mapping and keeps the function's own default here.
        self.keys = {key for key in config if key not in ("_target_", "_partial_", "defaults")}
        self.settings = {key: config[key] for key in self.keys if not isinstance(config[key], dict)}
        self.parameters = {
            name: parameter
            for name, parameter in inspect.signature(self.function).parameters.items()
            if name not in ("logits", "targets")
        }
        self.extras = {name for name in self.parameters if name in EXTRAS}
        counts = torch.bincount(TARGETS)
        if self.settings.get("prior") == "train":
            self.settings["prior"] = class_frequencies(counts)
        if isinstance(self.settings.get("class_weights"), str):
            self.settings["class_weights"] = class_weights(self.settings["class_weights"], counts)

    def inputs(self, pixels=()):
        """Logits, targets and extras of N examples, in float64."""
        logits = randn(N, K, *pixels, seed=0)
        targets = TARGETS.reshape(N, *(1 for _ in pixels)).expand(N, *pixels).clone()
        extras = {
            "teacher_logits": randn(N, K, *pixels, seed=1),
            "sample_weights": randn(N, seed=2).exp(),
            "features": randn(N, 5, seed=3),
        }
        return logits, targets, {name: extras[name] for name in self.extras}

    def __call__(self, logits, targets, extras, **settings):
        return self.function(logits, targets, **{**self.settings, **settings}, **extras)


@functools.cache
def case_of(path):
    return Case(path)


@pytest.fixture(params=FILES, ids=[file.stem for file in FILES])
def case(request):
    return case_of(request.param)


@pytest.fixture(params=[(), (2, 2)], ids=["classification", "segmentation"])
def inputs(request, case):
    return case.inputs(request.param)


def test_there_are_losses():
    assert "cross_entropy" in {file.stem for file in FILES}


def test_the_header_is_formula_and_source(case):
    formula, source = case.header.removeprefix("# ").split(" · ", 1)
    assert case.header.startswith("# ")
    assert formula
    assert source[0].isupper()
    assert any(word.isdigit() and len(word) == 4 for word in source.replace(",", " ").split())  # a year


def test_every_key_is_a_parameter_and_every_hyperparameter_is_a_key(case):
    hints = typing.get_type_hints(case.function)
    # A loss within a loss comes from the defaults list.
    nested = {name for name in case.parameters if typing.get_origin(hints[name]) is typing.get_origin(typing.Callable)}
    assert case.keys <= case.parameters.keys() - case.extras
    assert case.parameters.keys() - case.extras - nested <= case.keys


def test_hyperparameters_are_keyword_only_and_have_defaults(case):
    for name, parameter in case.parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
        assert name in EXTRAS or parameter.default is not inspect.Parameter.empty, name


def test_it_is_a_finite_scalar_with_a_finite_gradient(case, inputs):
    logits, targets, extras = inputs
    for scale in (1.0, 1e4):
        for dtype in (torch.float32, torch.float64):
            extreme = (scale * logits.sign()).to(dtype).requires_grad_()
            loss = case(extreme, targets, extras)
            (gradient,) = torch.autograd.grad(loss, extreme)
            assert loss.shape == ()
            assert loss.dtype == dtype
            assert loss.isfinite()
            assert gradient.isfinite().all()


def test_the_order_of_the_examples_does_not_matter(case, inputs):
    logits, targets, extras = inputs
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    shuffled = case(logits[order], targets[order], {name: extra[order] for name, extra in extras.items()})
    assert torch.allclose(shuffled, case(logits, targets, extras))


def test_a_batch_beside_itself_has_the_same_loss(case, inputs):
    logits, targets, extras = inputs
    doubled = case(
        torch.cat([logits] * 2), torch.cat([targets] * 2), {k: torch.cat([v] * 2) for k, v in extras.items()}
    )
    # Dice's smooth of 1e-5 shifts the quotient by about as much.
    assert doubled.item() == pytest.approx(case(logits, targets, extras).item(), rel=1e-5)


def test_a_constant_added_to_an_examples_logits_changes_nothing(case, inputs):
    logits, targets, extras = inputs
    shift = torch.arange(1.0, N + 1).double().reshape(N, *(1 for _ in logits.shape[1:]))
    shifted, loss = case(logits + shift, targets, extras), case(logits, targets, extras)
    if getattr(case.function, "link", "softmax") == "sigmoid":
        assert not torch.allclose(shifted, loss)  # each logit is an absolute log-odds
    else:
        assert torch.allclose(shifted, loss)


def test_the_gradient_is_that_of_finite_differences(case, inputs):
    logits, targets, extras = inputs
    assert torch.autograd.gradcheck(lambda z: case(z, targets, extras), logits.clone().requires_grad_())


def test_vmap_over_the_models_and_each_real_hyperparameter_is_a_loop(case, inputs):
    _, targets, extras = inputs
    stacked = torch.stack([case.inputs(targets.shape[1:])[0] + seed for seed in range(3)]) * randn(3, seed=4).reshape(
        3, *(1 for _ in range(targets.ndim + 1))
    )
    hints = typing.get_type_hints(case.function)
    real = [name for name in case.settings if {float, Tensor} <= set(typing.get_args(hints[name]))]
    for name in [None, *real]:
        values = torch.tensor([0.0, 0.03, 0.1], dtype=torch.float64) + (case.settings[name] if name else 0.0)

        def loss(logits, value, name=name):
            return case(logits, targets, extras, **({name: value} if name else {}))

        loop = torch.stack([loss(stacked[r], values[r].item()) for r in range(3)])
        assert torch.allclose(vmap(loss)(stacked, values), loop), name
        gradients = vmap(torch.func.grad(loss))(stacked, values)
        alone = torch.stack([torch.func.grad(loss)(stacked[r], values[r].item()) for r in range(3)])
        assert torch.allclose(gradients, alone), name


def test_the_link_is_named_where_a_temperature_of_the_logits_would_bind_to_it():
    links = {file.stem: getattr(case_of(file).function, "link", None) for file in FILES}
    assert links["cross_entropy"] == links["temperature"] == links["dice_cross_entropy"] == "softmax"
    assert links["binary_cross_entropy"] == "sigmoid"
    assert links["distillation"] is None  # its temperature softens the teacher's term alone
    assert links["dice"] is None


def test_an_empty_class_in_the_batch_is_no_trouble(case, inputs):
    logits, targets, extras = inputs
    assert case(logits, torch.zeros_like(targets), extras).isfinite()
