"""How the process of a command ends: with its exit code, and all that it said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAINED = """
import atexit, sys, threading, time, types
from lossbench import __main__ as own
sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: False))  # as if imported
"""


def ended(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TRAINED + code]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=buffered)


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_its_exit_code_and_output_are_those_of_the_command(tmp_path: Path, code: int) -> None:
    answer = ended(f"own.main = lambda: (print('x' * 10**6, end=''), sys.exit({code}))\nown.run()", tmp_path)
    assert answer.returncode == code
    assert answer.stdout == "x" * 10**6
    assert answer.stderr == ""


def test_python_does_not_take_apart_what_is_imported(tmp_path: Path) -> None:
    code = (
        "class Last:\n    def __del__(self): print('taken apart', flush=True)\n"
        "own.kept = Last()\nown.main = lambda: sys.exit(0)\n"
    )
    assert ended(f"{code}own.run()", tmp_path).stdout == ""
    assert ended(f"{code}own.main()", tmp_path).stdout == "taken apart\n"


def test_what_is_to_be_done_at_the_end_is_done_in_its_order(tmp_path: Path) -> None:
    code = "for word in 'last', 'first': atexit.register(print, word)\nown.main = lambda: sys.exit(0)\nown.run()"
    assert ended(code, tmp_path).stdout == "first\nlast\n"


def test_a_thread_that_is_at_work_is_waited_for(tmp_path: Path) -> None:
    code = (
        "def work():\n    time.sleep(0.5)\n    print('done')\n"
        "threading.Thread(target=work).start()\nown.main = lambda: sys.exit(3)\nown.run()"
    )
    answer = ended(code, tmp_path)
    assert (answer.returncode, answer.stdout) == (3, "done\n")


def test_what_is_not_the_commands_own_end_is_python_s(tmp_path: Path) -> None:
    answer = ended("own.main = lambda: 1 / 0\nown.run()", tmp_path)
    assert answer.returncode == 1
    assert "ZeroDivisionError" in answer.stderr


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_without_a_place_to_print_to_it_succeeds(tmp_path: Path, closed: str) -> None:
    answer = ended(f"sys.{closed} = None\nown.main = lambda: sys.exit(0)\nown.run()", tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_who_looks_on_sees_the_end(tmp_path: Path) -> None:
    code = "import os\nsys.setprofile(lambda *_: None)\nos._exit = None\nown.main = lambda: sys.exit(4)\nown.run()"
    assert ended(code, tmp_path).returncode == 4


def test_where_nobody_reads_python_says_so_as_ever(tmp_path: Path) -> None:
    code = "import os\nos.close(1)\nown.main = lambda: sys.exit(0)\nprint('x')\n"
    ours, theirs = ended(f"{code}own.run()", tmp_path), ended(f"{code}own.main()", tmp_path)
    assert ours.returncode == theirs.returncode == 120
    assert ours.stderr == theirs.stderr
