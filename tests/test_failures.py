"""A run that fails says why, what to do about it, and does not fail again in silence."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import Lossbench, compose, read_json
from torch import Tensor

from lossbench import claims, run, store
from lossbench.progress import Silent
from lossbench.store import Store
from lossbench.teacher import with_teacher

QUICK = ("device=cpu", "device.threads=1", "model=mlp", "model.hidden=[8]", "dataset=wine", "epochs=3")


def config(folder: Path, *overrides: str) -> dict[str, Any]:
    return compose(*QUICK, *overrides, f"results_dir={folder}")


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise error

    return fail


def test_a_loss_that_goes_astray_says_at_which_step_and_what_it_was_before(tmp_path: Path) -> None:
    settings = config(tmp_path, "batch_size=32", "schedule=constant", "optimizer.learning_rate=0.01")
    experiment = run.build(settings)
    calls: list[float] = []
    function = experiment.loss.function

    def astray(logits: Tensor, targets: Tensor, **extras: Any) -> Tensor:
        loss = function(logits, targets, **extras)
        if not torch.is_grad_enabled() or not logits.requires_grad:
            return loss
        calls.append(loss.item())
        return loss * torch.inf if len(calls) == steps + 2 else loss  # the second step of the second epoch

    steps = -(-len(experiment.dataset.train) // 32)
    object.__setattr__(experiment.loss, "function", astray)
    with pytest.raises(run.RunError) as caught:
        run.train(experiment, epochs=3, batch_size=32, seed=0)
    assert str(caught.value).startswith(
        f"the loss became inf at step 2 of {steps} in epoch 2, at learning rate 0.01; it was {calls[steps]:.4g} a step "
        "before; "
    )


def test_where_the_first_step_goes_astray_there_is_nothing_before_it(tmp_path: Path) -> None:
    outcome = run.execute(config(tmp_path, "optimizer.learning_rate=1e30", "schedule=constant", "batch_size=1000"))
    assert outcome.message.startswith("the loss became ")
    assert " at step 1 of 1 in epoch 2, at learning rate 1e+30; its mean was " in outcome.message


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_out_of_memory_says_what_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(run, "train", failing(error))
    outcome = run.execute(config(tmp_path))
    assert outcome.message.startswith("out of memory; a smaller batch_size than 64 or a smaller model needs less")
    failure = read_json(Store(tmp_path).partial(outcome.run_id) / "failure.json")
    assert failure["message"] == outcome.message
    assert failure["error"] == type(error).__name__


def test_a_full_disk_leaves_what_was_complete_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = run.execute(config(tmp_path)).run_id
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(store.np, "savez_compressed", failing(full))
        outcome = run.execute(config(tmp_path, "seed=1"))
    assert outcome.message == f"no space left where {tmp_path / 'runs'} is; what was complete is kept"
    with monkeypatch.context() as patch:  # nor can anything be said in failure.json
        patch.setattr(Path, "write_text", failing(full))
        outcome = run.execute(config(tmp_path, "seed=2"))
    assert outcome.message.startswith("no space left")
    with monkeypatch.context() as patch:  # nor can the run be claimed
        patch.setattr(claims, "claim", failing(full))
        outcome = run.execute(config(tmp_path, "seed=2"))
    assert outcome.message == f"no space left where {tmp_path / 'runs'} is; what was complete is kept"
    assert Store(tmp_path).run_ids() == [complete]
    assert run.execute(config(tmp_path, "seed=1"), retry_failed=True).status == "finished"


def test_what_failed_is_not_trained_again_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lossbench: Lossbench
) -> None:
    request = ("train", *QUICK, "seed=0,1")
    original = run.train

    def once(experiment: Any, **settings: Any) -> Any:
        if settings["seed"] == 1:
            raise RuntimeError("a hiccup")
        return original(experiment, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(run, "train", once)
        first = lossbench(*request)
    assert first.returncode == 1
    assert "1 of 2 runs failed" in first.stderr
    second = lossbench(*request)
    assert second.returncode == 1
    assert "a hiccup (it failed before; --retry-failed trains it again)" in second.stderr
    third = lossbench(*request, "--retry-failed")
    assert third.returncode == 0, third.stderr
    assert lossbench(*request).returncode == 0


def test_a_teacher_that_failed_is_not_trained_again_for_each_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def fail(experiment: Any, **settings: Any) -> Any:
        tried.append(settings["seed"])
        raise RuntimeError("a hiccup")

    with monkeypatch.context() as patch:
        patch.setattr(run, "train", fail)
        for temperature in (1, 2):
            outcome = run.execute(config(tmp_path, "loss=distillation", f"loss.temperature={temperature}"))
            assert outcome.status == "failed"
            assert "a hiccup" in outcome.message
    assert len(tried) == 1
    assert run.execute(config(tmp_path, "loss=distillation"), retry_failed=True).status == "finished"


def test_with_force_what_failed_is_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run, "train", failing(RuntimeError("a hiccup")))
        assert run.execute(config(tmp_path)).status == "failed"
    assert run.execute(config(tmp_path), force=True).status == "finished"


def test_a_student_is_trained_when_its_teacher_has_been_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = config(tmp_path, "loss=distillation")
    with monkeypatch.context() as patch:
        patch.setattr(run, "train", failing(RuntimeError("a hiccup")))
        first = run.execute(student)
        again = run.execute(student)
    assert first.message.endswith("failed: RuntimeError: a hiccup")
    assert again.message.endswith("failed: RuntimeError: a hiccup (it failed before; --retry-failed trains it again)")
    assert again.message.count("--retry-failed") == 1
    run.train_teacher(student, with_teacher(student, Store(tmp_path)), Silent(), retry_failed=True)
    assert run.execute(student).status == "finished"


def test_a_finished_run_that_is_damaged_fails_by_itself_and_force_mends_it(
    tmp_path: Path, lossbench: Lossbench
) -> None:
    request = ("train", *QUICK, "seed=0,1")
    assert lossbench(*request).returncode == 0
    (damaged,) = (tmp_path / "results/runs").glob("*-s0-*")
    (damaged / "metrics.json").unlink()
    answer = lossbench("train", *QUICK, "seed=range(3)")
    assert answer.returncode == 1
    said = "metrics.json is missing); lossbench evaluate makes it again from the predictions, or --force trains"
    assert answer.stderr.count(said) == 2  # as it goes, and at the end
    assert "1 of 3 runs failed" in answer.stderr
    assert len(Store(tmp_path / "results").run_ids()) == 3
    assert lossbench("train", *QUICK, "seed=0", "--force").returncode == 0
    assert lossbench(*request).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "-o", "."), "--output must name a file; . is a folder"),
        (("curve", "reliability", "-o", "."), "--output must name a file; . is a folder"),
        (("report", "-o", "table.pdf"), "--output table.pdf must end in .md, .csv, .json, .tex, .html, .txt"),
    ],
)
def test_an_output_that_is_no_file_of_a_known_kind_is_refused(
    lossbench: Lossbench, arguments: tuple[str, ...], message: str
) -> None:
    assert lossbench("train", *QUICK, "--quiet").returncode == 0
    answer = lossbench(*arguments)
    assert answer.returncode == 2
    assert message in answer.stderr


def test_what_a_users_own_code_raises_is_told_with_its_kind_and_place(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fussy_losses.py").write_text(
        "import torch.nn.functional as F\n\ndef fussy(logits, targets):\n    if len(targets) > 2:\n        {}['foo']\n"
        "    return F.cross_entropy(logits, targets)\n"
    )
    (tmp_path / "own/loss").mkdir(parents=True)
    (tmp_path / "own/loss/fussy.yaml").write_text("_target_: fussy_losses.fussy\n")
    monkeypatch.syspath_prepend(tmp_path)
    answer = lossbench("train", "--config-dir", "own", *QUICK, "loss=fussy")
    assert answer.returncode == 1
    assert "KeyError at fussy_losses.py:5: 'foo'" in answer.stderr
