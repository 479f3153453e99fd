from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import torch
from support import Answer, Lossbench

from lossbench.cli import main

LONG = {
    "test_readme", "test_pages", "test_reproduce", "test_trackers", "test_training", "test_search", "test_parallel",
    "test_stacked_sweep", "test_determinism", "test_jobs",
}  # fmt: skip


def pytest_configure() -> None:
    # Small tensors: a second thread only waits for the first, and here also for whoever else uses the machine.
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest files first, so that no worker is left with one alone at the end.
    items.sort(key=lambda item: item.path.stem not in LONG)
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


@pytest.fixture(autouse=True)
def _signals() -> None:
    """Whatever a test or a fixture makes of Ctrl-C and SIGTERM, each test finds them as a process does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture
def lossbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Lossbench:
    """The command line, in an empty folder. In this process, which has paid for importing torch."""

    def call(*arguments: str) -> Answer:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["lossbench", *arguments])
        monkeypatch.setattr(sys, "path", list(sys.path))
        for name in ("my_losses", "their_losses"):  # of another test's folder
            sys.modules.pop(name, None)
        monkeypatch.setenv("COLUMNS", "120")
        capfd.readouterr()
        signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with pytest.raises(SystemExit) as caught:
            main()
        for number, handler in signals.items():  # of a process that ends none is answered any more
            signal.signal(number, handler)
        stdout, stderr = capfd.readouterr()
        return Answer(int(caught.value.code or 0), stdout, stderr)

    return call
