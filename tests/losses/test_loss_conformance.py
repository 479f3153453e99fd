"""What holds for every loss: each yaml in conf/loss goes through `lossbench check`, with no list to edit."""

import functools
import inspect
import typing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from lossbench import conformance
from lossbench.checking import EXTRAS
from lossbench.conformance import Mark
from lossbench.conformance.batch import value, value_and_gradient

FILES = sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))
NAMES = [file.stem for file in FILES]
GIVEN = {"logits", "targets", "class_counts", "num_classes", "epoch", *EXTRAS}  # what the program passes itself


class Case:
    """One yaml: its header and keys, the function it names and that function's parameters."""

    def __init__(self, path):
        config = OmegaConf.to_container(OmegaConf.load(path))
        self.header = path.read_text().splitlines()[0]
        self.function = get_object(config["_target_"])
        self.keys = {key for key in config if key not in ("_target_", "defaults")}
        self.parameters = {
            name: parameter
            for name, parameter in inspect.signature(self.function).parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        }


@pytest.fixture(params=FILES, ids=NAMES)
def case(request):
    return Case(request.param)


@functools.cache
def subject_of(name):
    ((_, subject),) = conformance.subjects(name, [])
    return subject


@functools.cache
def results_of(name):
    return {result.name: result for result in conformance.examine(subject_of(name))}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_there_are_losses():
    assert "cross_entropy" in NAMES


def test_the_header_is_formula_and_source(case):
    formula, source = case.header.removeprefix("# ").split(" · ", 1)
    assert case.header.startswith("# ")
    assert formula
    assert source[0].isupper()
    assert any(word.isdigit() and len(word) == 4 for word in source.replace(",", " ").split())  # a year


def test_every_key_is_a_parameter_and_every_hyperparameter_is_a_key(case):
    hints = typing.get_type_hints(case.function.__init__ if inspect.isclass(case.function) else case.function)
    # A loss within a loss comes from the defaults list.
    nested = {name for name in case.parameters if typing.get_origin(hints[name]) is typing.get_origin(typing.Callable)}
    assert case.keys <= case.parameters.keys() - GIVEN
    assert case.parameters.keys() - GIVEN - nested <= case.keys


def test_hyperparameters_are_keyword_only_and_have_defaults(case):
    for name, parameter in case.parameters.items():
        if name not in GIVEN:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
            assert parameter.default is not inspect.Parameter.empty, name


def test_it_passes_lossbench_check(name):
    broken = [str(result) for result in results_of(name).values() if result.mark is Mark.FAILS]
    assert not broken, "\n".join(broken)


def test_it_takes_examples_and_pixels_alike(name):
    assert results_of(name)["pixels"].mark is Mark.HOLDS
    assert subject_of(name).forms == ((), (2, 2))


def test_a_loss_through_a_sigmoid_is_not_invariant_to_a_constant(name):
    subject = subject_of(name)
    if getattr(subject.function, "link", "softmax") == "sigmoid":
        batch = subject.batch()
        shifted = conformance.batch.Batch(batch.logits + 1, batch.targets, batch.extras)
        assert not torch.allclose(value(subject.loss(), shifted), value(subject.loss(), batch))


def test_the_link_is_named_where_a_temperature_of_the_logits_would_bind_to_it():
    links = {file.stem: getattr(Case(file).function, "link", None) for file in FILES}
    assert links["cross_entropy"] == links["temperature"] == links["dice_cross_entropy"] == "softmax"
    assert links["binary_cross_entropy"] == "sigmoid"
    assert links["distillation"] is None  # its temperature softens the teacher's term alone
    assert links["dice"] is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_no_digit_that_matters(name, dtype):
    """A model's half-precision logits are lifted, and no sum within the loss is lowered again."""
    subject = subject_of(name)
    for batch in subject.batches():
        half = batch.to(dtype)
        plain = value(subject.loss(), half)
        with torch.autocast("cpu", dtype=dtype):
            lowered = value(subject.loss(), half)
        torch.testing.assert_close(lowered, plain, rtol=1e-5, atol=1e-6)


def test_what_all_logits_have_in_common_costs_no_digits(name):
    """Where a constant changes nothing, float32 gives at logits around 1e4 what float64 gives."""
    subject = subject_of(name)
    if not subject.claims.shift_invariant:
        return
    for batch in subject.batches():
        # multiples of 1/128, which float32 holds at 1e4 too
        rounded = replace(batch, logits=(batch.logits * 128).round() / 128 + 1e4)
        if "teacher_logits" in batch.extras:
            teacher = (batch.extras["teacher_logits"] * 128).round() / 128 + 1e4
            rounded = replace(rounded, extras={**batch.extras, "teacher_logits": teacher})
        (single, slope), (double, slope_in_double) = (
            value_and_gradient(subject.loss(), rounded.to(to)) for to in (torch.float32, torch.float64)
        )
        # What these add to a logit of 1e4 is rounded to 1/1024.
        adds = name in ("balanced_softmax", "logit_adjusted", "ldam")
        torch.testing.assert_close(single.double(), double, rtol=1e-4 if adds else 2e-5, atol=1e-6)
        size = slope_in_double.abs().max().item()
        torch.testing.assert_close(slope.double(), slope_in_double, rtol=0, atol=(1e-3 if adds else 1e-5) * size)
