"""`hydra/launcher=ray`: settings that cannot be are refused without Ray; the slow tests start one, and two nodes."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from support import Lossbench, files_below

from lossbench.errors import ConfigError
from lossbench.launchers import ray_cluster
from lossbench.store import Store

ROOT = Path(__file__).parent.parent
SMALL = ("dataset=digits", "model=mlp", "device=cpu", "device.threads=1")
# Not importorskip: what Ray reads when it is imported is set later.
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="there is no Ray: pip install 'lossbench[ray]'"
)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("num_cpus=0", "num_cpus must be a part of a CPU or a whole number; got 0"),
        ("num_cpus=1.5", "num_cpus must be a part of a CPU or a whole number; got 1.5"),
        ("num_cpus=nan", "num_cpus must be a part of a CPU or a whole number; got nan"),
        ("num_gpus=2", "num_gpus must lie in [0, 1], for a run is trained on one GPU; got 2"),
        ("max_retries=-1", "max_retries must lie in [0, ∞); got -1"),
        ("address=head", "address must be null (this machine), auto (the cluster that it belongs to) or the host:6379"),
        ("address=ray://localhost:10001", "address must be null (this machine), auto (the cluster that it belongs to)"),
        ("address=localhost:1", "address=localhost:1 cannot be reached ("),  # nothing listens on TCP's port 1
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_ray_is_asked(
    setting: str, said: str, lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    answer = lossbench("train", *SMALL, "hydra/launcher=ray", f"hydra.launcher.{setting}")
    assert (answer.returncode, list(tmp_path.iterdir())) == (2, [])
    assert answer.stderr.startswith(f"lossbench: hydra.launcher.{said}")
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize("greet", ["import time; time.sleep(60)", None])
def test_an_address_where_something_else_listens_is_refused_in_time(
    greet: str | None, lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Ray, what asks it is played by a process that waits as Ray would."""
    if greet is None and importlib.util.find_spec("ray") is None:
        pytest.skip("there is no Ray: pip install 'lossbench[ray]'")
    monkeypatch.setattr(ray_cluster, "GREET", greet or ray_cluster.GREET)
    monkeypatch.setattr(ray_cluster, "SPEAKS_WITHIN", 0.2 if greet else 5.0)
    with socket.create_server(("127.0.0.1", 0)) as server:  # which says nothing
        address = f"127.0.0.1:{server.getsockname()[1]}"
        answer = lossbench("train", *SMALL, "hydra/launcher=ray", f"hydra.launcher.address={address}")
    assert (answer.returncode, list(tmp_path.iterdir())) == (2, [])
    assert answer.stderr.startswith(f"lossbench: hydra.launcher.address={address} must be that of Ray (its port is ")
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda", "device.name=cuda, but no node of Ray has 1 CPUs and a GPU for a run"),
        ("cuda:1", "device.name=cuda:1: with Ray, which chooses the GPU, it must be auto, cpu or cuda"),
    ],
)
@pytest.mark.parametrize("sweep", [["seed=0,1"], ["hydra/sweeper=optuna", "optimizer.learning_rate=interval(0.1,1)"]])
def test_a_device_that_no_node_has_is_refused_with_nothing_written(
    sweep: list[str], device: str, said: str, lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "connect", lambda settings: None)
    monkeypatch.setattr(ray_cluster, "nodes", lambda: [{"Resources": {"CPU": 2.0}}])
    answer = lossbench("train", *SMALL[:2], f"device.name={device}", "hydra/launcher=ray", *sweep)
    assert (answer.returncode, list(tmp_path.iterdir())) == (2, [])
    assert answer.stderr == f"lossbench: {said}\n"


def test_without_ray_one_line_names_the_extra(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    answer = lossbench("train", *SMALL, "hydra/launcher=ray")
    assert (answer.returncode, list(tmp_path.iterdir())) == (2, [])
    assert answer.stderr.endswith("pip install 'lossbench[ray]'\n")
    assert answer.stderr.count("\n") == 1


def test_a_node_that_has_not_the_folder_the_locks_or_the_versions_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store, here, versions = Store("results/.ray-1-x"), str(tmp_path), ray_cluster._versions()
    assert ray_cluster._look("/not/here", "results/.ray-1-x", "ray-1", versions).startswith("it has no /not/here;")
    said = ray_cluster._look(here, "results/.ray-1-x", "ray-1", versions)
    assert said.startswith("it does not see the locks in results;")
    store.claims.mkdir(parents=True)
    with (store.claims / "ray-1").open("w") as claim:  # an own descriptor: as a claim of another process
        fcntl.flock(claim, fcntl.LOCK_EX)
        assert ray_cluster._look(here, "results/.ray-1-x", "ray-1", versions) == ""
        older = ray_cluster._look(here, "results/.ray-1-x", "ray-1", {**versions, "torch": "2.0"})
        assert older == f"it has torch {versions['torch']}, not 2.0"


def test_looking_at_the_nodes_leaves_nothing_in_the_results_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module that plays Ray has one node, which looks from here and has another torch."""
    seen: list[str] = []

    class Remote:
        def __init__(self, function: Any) -> None:
            self.function = function

        def options(self, **_: Any) -> Remote:
            return self

        def remote(self, folder: str, claimed_in: str, *rest: Any) -> str:
            seen.extend(path.name for path in tmp_path.rglob("*") if path.is_file())
            return str(self.function(folder, claimed_in, rest[0], {**rest[1], "torch": "2.0"}))

    node = {"Alive": True, "NodeID": "1", "NodeManagerHostname": "far"}
    strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: None)
    errors = SimpleNamespace(RayError=RuntimeError)
    ray = SimpleNamespace(remote=Remote, nodes=lambda: [node], get=lambda answer, timeout: answer, exceptions=errors)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    (tmp_path / "results").mkdir()
    with pytest.raises(ConfigError, match=r"far, a node of Ray, cannot train these runs: it has torch"):
        ray_cluster.check_nodes(Store(tmp_path / "results"))
    assert seen == [f"ray-{os.getpid()}"]  # the claim was there
    assert list((tmp_path / "results").iterdir()) == []


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files with a short name: those of Ray's sockets have 107 characters at most."""
    with TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def started(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """The command with a home of its own."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "lossbench", "train", *SMALL, *arguments],
        cwd=tmp_path, env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT), **variables}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def weights(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("runs/*/model.safetensors")}


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@needs_ray
@pytest.mark.slow
def test_a_sweep_on_this_machine_has_the_bits_of_one_process_and_leaves_nothing_behind(
    tmp_path: Path, short: Path
) -> None:
    sweep = ("loss=cross_entropy,distillation", "epochs=3", "seed=range(3)")
    assert ended(started(tmp_path, *sweep, "results_dir=one", "-q"))[0] == 0
    code, stdout, stderr = ended(started(tmp_path, *sweep, "results_dir=ray", "hydra/launcher=ray", TMPDIR=str(short)))
    assert code == 0, stderr
    # Three students share no teacher, for a teacher has its student's seed; it is the run of cross-entropy.
    assert len(stdout.splitlines()) == 6
    assert weights(tmp_path / "ray") == weights(tmp_path / "one")
    assert [line for line in stderr.splitlines() if "-s" not in line] == ["6 runs"]  # nothing of Ray's own
    assert (files_below(tmp_path / "home"), [path.name for path in short.glob("lossbench*")]) == ([], [])
    assert list((tmp_path / "ray/claims").iterdir()) == []
    code, _, stderr = ended(started(tmp_path, *sweep, "results_dir=ray", "hydra/launcher=ray"))
    assert (code, stderr.count(": skipped")) == (0, 6)


@needs_ray
@pytest.mark.slow
def test_more_gpus_or_cpus_than_there_are_is_a_wrong_request(tmp_path: Path) -> None:
    for setting in ("num_cpus=4096", "num_gpus=1"):
        code, _, stderr = ended(
            started(tmp_path, "hydra/launcher=ray", f"hydra.launcher.{setting}", CUDA_VISIBLE_DEVICES="")
        )
        assert code == 2
        assert stderr.startswith("lossbench: hydra.launcher.num_cpus=")
        assert "no node of Ray has as many for a run; there is " in stderr
        assert stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_what_is_trained_and_the_same_command_goes_on_to_the_same_bits(
    number: signal.Signals, expected: int, tmp_path: Path
) -> None:
    if number == signal.SIGTERM:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell has it for what it starts in the background
    sweep = ("epochs=300", "seed=range(2)", "checkpoint_seconds=1000")  # so that none is there but for the signal
    sweep = (*sweep, "hydra/launcher=ray", "results_dir=ray")
    process = started(tmp_path, *sweep)
    if number == signal.SIGTERM:
        signal.signal(signal.SIGINT, before)
    store = Store(tmp_path / "ray")
    wait_until(lambda: len(list(store.runs.glob("*.partial/config.yaml"))) >= 1, process)
    process.send_signal(number)
    code, _, stderr = ended(process)
    assert code == expected, stderr
    assert "interrupted; finished runs are kept, the same command goes on:" in stderr
    assert "Traceback" not in stderr
    partial = list(store.runs.glob("*.partial"))
    assert partial
    assert all((folder / "checkpoint.pt").exists() for folder in partial)
    assert list(store.claims.iterdir()) == []
    assert ended(started(tmp_path, *sweep))[0] == 0
    assert ended(started(tmp_path, *sweep[:2], "results_dir=one"))[0] == 0
    assert weights(tmp_path / "ray") == weights(tmp_path / "one")


@contextmanager
def two_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Any, Any, str]]:
    """A cluster whose nodes are processes of this machine, each with one CPU; the second can be lost."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of this test alone")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield cluster, cluster.add_node(num_cpus=1), cluster.address
    finally:
        cluster.shutdown()


@needs_ray
@pytest.mark.slow
def test_a_node_that_is_lost_costs_no_run_and_none_is_trained_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ("epochs=40", "seed=range(8)")
    store = Store(tmp_path / "ray")
    with two_nodes(monkeypatch, tmp_path) as (cluster, lost, address):
        process = started(
            tmp_path, *sweep, "results_dir=ray", "checkpoint_seconds=0.2",
            "hydra/launcher=ray", f"hydra.launcher.address={address}",
        )  # fmt: skip
        wait_until(
            lambda: len(store.run_ids()) >= 2 and len(list(store.runs.glob("*.partial/checkpoint.pt"))) >= 2, process
        )
        finished = {name: store.path(name).stat().st_ino for name in store.run_ids()}
        cluster.remove_node(lost, allow_graceful=False)
        code, stdout, stderr = ended(process)
    assert code == 0, stderr
    assert len(stdout.splitlines()) == 8
    assert len(store.run_ids()) == 8
    assert list(store.runs.glob("*.partial")) == list(store.claims.iterdir()) == []
    assert {name: store.path(name).stat().st_ino for name in finished} == finished
    assert stderr.count(": finished") == 8
    assert ended(started(tmp_path, *sweep, "results_dir=one", "-q"))[0] == 0
    assert weights(tmp_path / "ray") == weights(tmp_path / "one")
