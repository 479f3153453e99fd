"""torch's libraries are loaded while a request is planned, by a thread that nobody has to wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are loaded as torch is imported")


def said(code: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-c", f"import sys\nfrom lossbench import libraries\n{code}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_they_are_there_before_torch_is_and_torch_takes_these() -> None:
    code = """
def loaded(): return {line.split()[-1] for line in open("/proc/self/maps") if "libtorch" in line}
libraries.loading().join()
before = loaded()
assert "torch" not in sys.modules
import torch
assert any(path.endswith("libtorch_cpu.so") for path in before), before
assert before <= loaded() and len(loaded()) < len(before) + 5
print(torch.ones(3).sum().item())
"""
    assert said(code) == "3.0\n"


def test_where_they_lie_elsewhere_nothing_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    code = 'sys.path.insert(0, sys.argv[1])\nlibraries.loading().join()\nprint("goes on")'
    assert said(code, tmp_path) == "goes on\n"


def test_where_torch_is_imported_already_there_is_nothing_to_load() -> None:
    assert said('sys.modules["torch"] = sys\nprint(libraries.loading().is_alive())') == "False\n"


def test_a_mistake_is_answered_without_waiting_for_them(tmp_path: Path) -> None:
    code = """
import threading
libraries._load = threading.Event().wait  # as if for ever
from lossbench.__main__ import run
sys.argv = ["lossbench", "train", "dataset=digts", "results_dir=" + sys.argv[1]]
run()
"""
    command = [sys.executable, "-c", f"import sys\nfrom lossbench import libraries\n{code}", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2
    assert "did you mean digits?" in answer.stderr
