"""`lossbench check`, from the library and from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
import torch.nn.functional as F
from support import Lossbench
from torch import Tensor, nn

from lossbench import losses
from lossbench.conformance import Mark, Result, Subject, check
from lossbench.conformance.contract import agreement
from lossbench.conformance.examination import PROPERTIES
from lossbench.conformance.request import subjects
from lossbench.conformance.screen import print_results
from lossbench.domains import Interval
from lossbench.errors import ShapeError
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim

Loss = Callable[..., Tensor]
NAMES = [prop.__name__ for prop in PROPERTIES]


def by_name(loss: Loss, **hyperparameters: Any) -> dict[str, Result]:
    return {result.name: result for result in check(loss, **hyperparameters)}


def marked(results: dict[str, Result], mark: Mark) -> set[str]:
    return {name for name, result in results.items() if result.mark is mark}


def sound(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of examples and pixels, of class indices alone."""
    check_shapes(logits, targets, soft=False)
    return F.cross_entropy(logits, targets)


def unequal_devices(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets) * (2 if logits.is_cuda else 1)


def unchecked(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets)


def test_an_index_outside_the_classes_may_be_the_ignored_one() -> None:
    assert by_name(losses.cross_entropy, ignore_index=-1)["targets_out_of_range"].mark is Mark.HOLDS


def test_a_teacher_of_old_classes_is_given_where_a_loss_wants_one() -> None:
    def new_classes(logits: Tensor, targets: Tensor, *, teacher_logits: Tensor) -> Tensor:
        check_shapes(logits, targets, soft=False)
        if teacher_logits.shape[1] >= logits.shape[1] or len(teacher_logits) != len(logits):
            raise ShapeError("teacher_logits must have fewer classes")
        matched = (logits[:, : teacher_logits.shape[1]] - teacher_logits).square().mean()
        return sound(logits, targets) + matched

    results = by_name(new_classes)
    assert marked(results, Mark.FAILS) == set()
    assert results["pixels"].mark is Mark.HOLDS


@pytest.mark.cuda
def test_a_loss_that_differs_between_devices_fails_that_line_alone() -> None:
    assert marked(by_name(unequal_devices), Mark.FAILS) == {"devices"}
    assert marked(by_name(sound), Mark.FAILS) == set()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_the_line_says_so() -> None:
    assert str(by_name(unequal_devices)["devices"]) == "– CPU and CUDA agree: no CUDA device"


def test_devices_are_compared_by_value_and_gradient() -> None:
    # The CPU stands for the GPU here: the second call is the CPU's own.
    calls: list[int] = []

    def another_number_each_time(logits: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        return sound(logits, targets) * len(calls)

    assert agreement(Subject.of_callable(sound, {}), "cpu").mark is Mark.HOLDS
    assert agreement(Subject.of_callable(Remembering, {}), "cpu").mark is Mark.HOLDS
    outcome = agreement(Subject.of_callable(another_number_each_time, {}), "cpu")
    assert outcome.mark is Mark.FAILS
    assert outcome.detail.startswith("on cpu ")


def test_a_loss_that_is_sound_breaks_nothing_and_is_not_asked_what_it_does_not_take() -> None:
    results = by_name(sound)
    assert list(results) == NAMES
    assert marked(results, Mark.FAILS) == set()
    assert marked(results, Mark.DOES_NOT_APPLY) - {"devices"} == {
        *("constant_added", "mean_of_examples", "identity"),  # not claimed
        *("ignored_targets", "all_ignored", "sample_weights"),  # not accepted
        *("soft_targets", "targets_that_do_not_sum_to_one"),  # refused
    }
    assert marked(results, Mark.NOTE) == {"scale_audit"}


def test_cross_entropy_claims_and_keeps_everything() -> None:
    results = by_name(losses.cross_entropy)
    assert marked(results, Mark.HOLDS) >= {*NAMES} - {"devices", "scale_audit"}
    assert results["stacked"].detail == "epsilon, temperature"


def test_a_loss_without_a_number_is_not_asked_anything_else() -> None:
    def refuses(logits: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("not today\nnor tomorrow")

    results = by_name(refuses)
    assert results["finite_scalar"].detail == "RuntimeError: not today"
    assert marked(results, Mark.DOES_NOT_APPLY) == {*NAMES[1:]}


@pytest.mark.parametrize(
    ("factor", "sentence"),
    [
        # cross-entropy times a factor has a gradient times that factor; 3 and 1/3 are where the advice begins
        (2.9, "2.9 × cross-entropy's"),
        (4.0, "4 × cross-entropy's; one learning rate is not fair to both: try ×0.25 for this loss"),
        (0.1, "0.1 × cross-entropy's; one learning rate is not fair to both: try ×10 for this loss"),
    ],
)
def test_the_scale_audit_says_by_what_to_change_the_learning_rate(factor: float, sentence: str) -> None:
    def scaled(logits: Tensor, targets: Tensor, *, factor: float) -> Tensor:
        return factor * sound(logits, targets)

    assert by_name(scaled, factor=factor)["scale_audit"].detail == sentence


def test_what_becomes_of_targets_that_sum_to_a_half_is_said() -> None:
    @claim(soft_targets=True)
    def trusting(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets)

    taken = by_name(trusting)["targets_that_do_not_sum_to_one"]
    assert taken.detail.startswith("taken as they are: ")
    refused = by_name(losses.cross_entropy)["targets_that_do_not_sum_to_one"]
    assert refused.mark is Mark.HOLDS
    assert refused.detail == "refused (targets given as probabilities must sum to 1 over the classes; got a sum of 0.5)"


def test_probabilities_a_loss_does_not_claim_must_be_refused_in_words() -> None:
    def indexes(logits: Tensor, targets: Tensor) -> Tensor:
        check_shapes(logits, targets)
        return F.nll_loss(logits.log_softmax(1), targets)  # torch's own error for probabilities

    assert by_name(indexes)["soft_targets"].mark is Mark.FAILS
    assert by_name(unchecked)["soft_targets"].detail == "not claimed (soft_targets)"


def test_a_loss_of_pixels_alone_and_one_of_examples_alone_are_both_taken() -> None:
    def of_pixels(logits: Tensor, targets: Tensor) -> Tensor:
        if logits.ndim != 4:
            raise ShapeError("pixels alone")
        return sound(logits, targets)

    def of_examples(logits: Tensor, targets: Tensor) -> Tensor:
        if logits.ndim != 2:
            raise ShapeError("examples alone")
        return sound(logits, targets)

    for loss, reason in ((of_pixels, "pixels alone"), (of_examples, "examples alone")):
        results = by_name(loss)
        assert marked(results, Mark.FAILS) == set()
        assert results["pixels"].detail == f"refused ({reason})"
    assert by_name(of_pixels)["scale_audit"].mark is Mark.DOES_NOT_APPLY


def test_sums_over_each_example_are_not_held_against_pixels_in_a_row() -> None:
    results = by_name(losses.dice, over="example")
    assert results["pixels"].mark is Mark.DOES_NOT_APPLY
    assert marked(results, Mark.FAILS) == set()


def test_numbers_per_class_fix_how_many_classes_there_are() -> None:
    results = by_name(losses.cross_entropy, class_weights=[1.0, 2.0])
    assert marked(results, Mark.FAILS) == set()
    assert results["many_classes"].detail == "a hyperparameter has numbers for 2 classes"
    assert results["mean_of_examples"].detail == "class weights make it a weighted mean"
    twelve = by_name(losses.cross_entropy, class_weights=[1.0] * 12)
    assert twelve["scale_audit"].mark is Mark.DOES_NOT_APPLY


def test_hyperparameters_are_stacked_within_their_domain() -> None:
    seen: list[float] = []

    def tenth(logits: Tensor, targets: Tensor, *, share: Annotated[float | Tensor, Interval(0.0, 0.1)] = 0.1) -> Tensor:
        seen.extend([share] if isinstance(share, float) else [])
        return (1 - share) * sound(logits, targets)

    assert by_name(tenth)["stacked"].mark is Mark.HOLDS
    assert sorted({round(share, 3) for share in seen}) == [0.0, 0.07, 0.1]  # 0.1 - 0.1, 0.1 - 0.03, 0.1


def test_a_loss_within_a_loss_limits_what_is_claimed() -> None:
    assert by_name(losses.distillation)["constant_added"].mark is Mark.HOLDS
    binary = by_name(losses.distillation, hard=losses.binary_cross_entropy)
    assert binary["constant_added"].mark is Mark.DOES_NOT_APPLY  # a sigmoid's logits are absolute
    assert marked(binary, Mark.FAILS) == set()


class Remembering(nn.Module):
    """Cross-entropy that counts what it has seen, as losses with state do."""

    seen: Tensor

    def __init__(self, num_classes: int, *, factor: float = 1.0, slip: float = 0.0) -> None:
        super().__init__()
        self.factor, self.slip = factor, slip
        self.register_buffer("seen", torch.zeros(num_classes))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        slip = self.slip * self.seen.sum()
        self.seen += 1
        return self.factor * sound(logits, targets) + slip


def test_a_loss_with_state_is_made_anew_for_every_look_at_it() -> None:
    assert marked(by_name(Remembering, factor=2.0), Mark.FAILS) == set()
    # What it gives the second time is another number; finite differences alone call it more than once.
    assert marked(by_name(Remembering, slip=1.0), Mark.FAILS) == {"gradient_of_finite_differences"}


def test_class_counts_are_given_where_a_loss_declares_them() -> None:
    assert marked(by_name(losses.balanced_softmax), Mark.FAILS) == set()


def test_a_hyperparameter_that_is_not_there_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"has no parameter 'epsilom'; it has logits, targets, epsilon"):
        check(losses.cross_entropy, epsilom=0.1)


# ---- the command line ----


def test_check_prints_a_line_per_property_and_the_scale(lossbench: Lossbench) -> None:
    answer = lossbench("check", "label_smoothing", "epsilon=0.3")
    assert (answer.returncode, answer.stderr) == (0, "")
    title, *lines = answer.stdout.splitlines()
    assert title.startswith("label_smoothing epsilon=0.3 prior=None")
    assert lines.pop() == ""
    assert len(lines) == len(NAMES)
    assert {line[0] for line in lines} <= {"✓", "–", "·"}
    assert "cross-entropy's" in lines[-1]
    assert "\x1b[" not in answer.stdout
    assert lossbench("check", "label_smoothing", "loss.epsilon=0.3").stdout == answer.stdout


def test_check_is_in_colour_on_a_terminal(lossbench: Lossbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # what Rich takes for a terminal
    assert "\x1b[32m✓" in lossbench("check", "brier").stdout


def test_several_losses_and_several_values_are_checked_one_after_another(lossbench: Lossbench) -> None:
    answer = lossbench("check", "cross_entropy,label_smoothing", "epsilon=0,0.3")
    titles = [line.split(" prior")[0] for line in answer.stdout.splitlines() if " prior=" in line]
    assert titles == [
        f"{name} epsilon={epsilon}" for name in ("cross_entropy", "label_smoothing") for epsilon in (0, 0.3)
    ]


def test_a_loss_within_the_loss_is_chosen_by_name(lossbench: Lossbench) -> None:
    answer = lossbench("check", "distillation", "hard=focal", "alpha=0.5")
    assert answer.returncode == 0, answer.stdout
    assert "– A constant" not in answer.stdout


OWN = """
from typing import Annotated

from lossbench.domains import UNIT
from lossbench.losses import cross_entropy

def tilted(logits, targets, *, share: Annotated[float, UNIT] = 0.5):
    return (1 + share) * cross_entropy(logits, targets)

def summed(logits, targets):
    return targets.numel() * cross_entropy(logits, targets)
"""


def test_a_function_of_ones_own_is_checked_by_its_path_or_by_its_yaml(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "checked_losses.py").write_text(OWN)
    good = lossbench("check", "checked_losses.tilted", "share=0.25")
    assert good.returncode == 0, good.stdout
    assert good.stdout.startswith("checked_losses.tilted share=0.25\n")

    bad = lossbench("check", "checked_losses.summed")
    assert (bad.returncode, bad.stderr) == (1, "")
    (broken,) = [line for line in bad.stdout.splitlines() if line.startswith("✗")]
    assert broken.startswith("✗ A batch beside its copy has the same loss")

    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "conf/loss/tilted.yaml").write_text("# CE\n_target_: checked_losses.tilted\nshare: 0.1\n")
    named = lossbench("check", "tilted", "--config-dir", "conf")
    assert named.stdout.startswith("tilted share=0.1\n")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (["label_smothing"], "no loss named 'label_smothing'; did you mean label_smoothing?"),
        (["label_smoothing", "epsilon=1.2"], "loss.epsilon must lie in [0, 1]; got 1.2"),
        (["label_smoothing", "epsilom=0.1"], "'loss.epsilom'; did you mean loss.epsilon?"),
        (["label_smoothing", "epsilon"], "cannot read 'loss.epsilon'"),
        (["lossbench.losses.focl"], "cannot be used: lossbench.losses has no 'focl'; did you mean focal?"),
        (["lossbench.losses.focal", "gama=1"], "loss has no key 'gama'; did you mean gamma?"),
        (["nowhere.loss"], "cannot be used: no module 'nowhere' is installed, or in this folder"),
        (["torch.nn.functional"], "cannot be used: it is a module: name a function in it"),
        (["brier", "--config-dir", "nowhere"], "--config-dir must name a folder"),
    ],
)
def test_a_wrong_request_is_one_message(lossbench: Lossbench, request_: list[str], message: str) -> None:
    answer = lossbench("check", *request_)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert message in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_what_a_users_module_raises_as_it_is_imported_is_said(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "unlicensed.py").write_text("import torch\nraise ValueError('no licence')\n")
    (tmp_path / "needy.py").write_text("import no_such_package\n")
    answer = lossbench("check", "unlicensed.loss")
    assert "cannot be used: importing it raises ValueError: no licence" in answer.stderr
    answer = lossbench("check", "needy.loss")
    assert "importing it raises ModuleNotFoundError: No module named 'no_such_package'" in answer.stderr


def test_what_torch_says_of_a_loss_that_writes_over_its_logits_is_put_in_words_of_losses() -> None:
    def in_place(logits: Tensor, targets: Tensor) -> Tensor:
        logits -= logits.mean(1, keepdim=True)
        return sound(logits, targets)

    def detached(logits: Tensor, targets: Tensor) -> Tensor:
        return sound(logits.detach(), targets)

    for loss, words in ((in_place, "it writes over its logits"), (detached, "it is detached from the logits")):
        first = next(iter(by_name(loss).values()))
        assert first.mark is Mark.FAILS
        assert words in first.detail


def test_a_loss_that_draws_random_numbers_is_said_to() -> None:
    def noisy(logits: Tensor, targets: Tensor) -> Tensor:
        return sound(logits + torch.randn_like(logits), targets)

    results = by_name(noisy)
    assert results["repeats"].mark is Mark.NOTE
    assert "it draws random numbers" in results["repeats"].detail
    assert by_name(sound)["repeats"].mark is Mark.HOLDS


def test_of_a_loss_that_gives_no_number_the_rest_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(logits: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("no")

    print_results("broken", check(broken))
    title, failure, rest = capsys.readouterr().out.splitlines()
    assert (title, failure.split(": ", 1)[1]) == ("broken", "RuntimeError: no")
    assert rest == f"– The other {len(PROPERTIES) - 1} properties: there is no finite scalar to look at"


def test_the_title_names_the_losses_within_a_loss() -> None:
    ((title, _),) = subjects("sum", ["second=focal", "first_weight=0.5"])
    assert title == "sum first=cross_entropy second=focal first_weight=0.5 second_weight=1.0"
