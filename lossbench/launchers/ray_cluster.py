"""Ray itself: one of this machine's own, or a cluster that this machine belongs to, and whether it can train here."""

from __future__ import annotations

import atexit
import logging
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

import lossbench
from lossbench import stopping
from lossbench.domains import NON_NEGATIVE, POSITIVE, UNIT
from lossbench.errors import ConfigError, one_line
from lossbench.store import Store

REACHED_WITHIN = 5.0  # seconds; Ray itself tries for minutes
SPEAKS_WITHIN = 20.0  # seconds; Ray's own answers at once, but to import it may take a while
ANSWERED_WITHIN = 120.0  # seconds that a node has to import torch, perhaps from a network's disk
LEAST_PART = 0.0001  # of a CPU or GPU, for Ray
# Does not return where something else listens. A refusal, such as for a wrong token, is left to `ray.init` to explain.
GREET = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


@dataclass(frozen=True)
class Settings:
    """Of `hydra.launcher`."""

    address: str | None
    num_cpus: float
    num_gpus: float | None
    max_retries: int


def connect(settings: Settings) -> None:
    """Connect to Ray until the process ends, or start one on this machine.

    Raises:
        ConfigError: if it is not installed, cannot be reached, or has no node for a run.
    """
    _check_values(settings)
    if settings.address is not None:
        _check_reachable(settings.address)
    # Read when Ray is imported: no statistics to its makers, and nothing of a lost node's log among our results.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS_SKIP_REGEX=".")
    try:
        import ray
    except ImportError as error:
        raise ConfigError(f"hydra/launcher=ray needs Ray ({error}): pip install 'lossbench[ray]'") from error
    if not ray.is_initialized():
        with stopping.kept():  # Ray answers SIGTERM by ending the process
            if settings.address is None:
                _start()
            else:
                _join(settings.address)
    # No GPUs are none too few yet: which runs take one is known when they are launched.
    if not fits(settings.num_cpus, settings.num_gpus or 0):
        raise ConfigError(
            f"hydra.launcher.num_cpus={settings.num_cpus:g} and num_gpus={settings.num_gpus or 0:g}: "
            f"no node of Ray has as many for a run; {there()}"
        )


def _check_values(settings: Settings) -> None:
    if settings.num_cpus not in POSITIVE or settings.num_cpus < LEAST_PART or not _is_part(settings.num_cpus):
        raise ConfigError(f"hydra.launcher.num_cpus must be a part of a CPU or a whole number; got {settings.num_cpus}")
    if settings.num_gpus is not None and settings.num_gpus not in UNIT:
        raise ConfigError(
            f"hydra.launcher.num_gpus must lie in {UNIT}, for a run is trained on one GPU; got {settings.num_gpus}"
        )
    if settings.max_retries not in NON_NEGATIVE:
        raise ConfigError(f"hydra.launcher.max_retries must lie in {NON_NEGATIVE}; got {settings.max_retries}")


def _is_part(amount: float) -> bool:
    return amount < 1 or float(amount).is_integer()


def _start() -> None:
    """Start Ray on this machine: nothing of it is left behind, and nobody else can send it tasks."""
    folder = tempfile.mkdtemp(prefix="lossbench-ray-")  # a socket's path has 107 characters at most
    atexit.register(_end, folder)
    # Ray would write a token into the home folder. This one dies with the process.
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        _init("local", include_dashboard=False, _temp_dir=folder)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"Ray does not start on this machine: {one_line(str(error)).partition('. ')[0]}") from error


def _init(address: str, **options: Any) -> None:
    """Set Ray up to say nothing but errors: what runs and nodes do is told by us."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)


def _end(folder: str) -> None:
    import ray

    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def _join(address: str) -> None:
    import ray

    try:
        _init(address)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        said = one_line(str(error)).partition(". ")[0]
        raise ConfigError(f"hydra.launcher.address={address}: {said}") from error


def _check_reachable(asked: str) -> None:
    address = os.environ.get("RAY_ADDRESS", asked) if asked == "auto" else asked
    if address == "auto":
        return  # Ray looks for its own processes
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ConfigError(
            "hydra.launcher.address must be null (this machine), auto (the cluster that it belongs to) or the "
            f"host:6379 of a cluster's head; got {address}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=REACHED_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"hydra.launcher.address={address} cannot be reached ({error}); is `ray start` done?"
        ) from error
    try:
        subprocess.run([sys.executable, "-c", GREET, address], capture_output=True, timeout=SPEAKS_WITHIN, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"hydra.launcher.address={address} must be that of Ray (its port is 6379 by default); what listens there "
            f"did not answer as Ray does within {SPEAKS_WITHIN:g} s"
        ) from error


def gpus_of(config: Mapping[str, Any], settings: Settings) -> float:
    """Return how much of a GPU a run takes.

    Raises:
        ConfigError: if it wants one by number, or one where there is none.
    """
    name = config["device"]["name"]
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device.name={name}: with Ray, which chooses the GPU, it must be auto, cpu or cuda")
    share = settings.num_gpus
    if share is None:
        share = float(name != "cpu" and fits(settings.num_cpus, 1))
    if name == "cuda" and (not share or not fits(settings.num_cpus, share)):
        raise ConfigError(f"device.name=cuda, but no node of Ray has {settings.num_cpus:g} CPUs and a GPU for a run")
    return share


def nodes() -> list[dict[str, Any]]:
    """Return Ray's nodes that are alive, as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def fits(cpus: float, gpus: float) -> bool:
    """Whether a node is there that has so much, free or not."""
    parts = [node["Resources"] for node in nodes()]
    return any(part.get("CPU", 0) >= cpus and part.get("GPU", 0) >= gpus for part in parts)


def there() -> str:
    """Say what the nodes have."""
    return "there is " + ", ".join(
        f"{node['NodeManagerHostname']} with {node['Resources'].get('CPU', 0):g} CPUs and "
        f"{node['Resources'].get('GPU', 0):g} GPUs"
        for node in nodes()
    )


def check_nodes(store: Store) -> None:
    """Look whether every node has this folder and the same versions, and sees who claims a run.

    Raises:
        ConfigError: if one does not.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = f"ray-{os.getpid()}"
    results_dir = store.claims.parent
    results_dir.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f".{name}-", dir=results_dir, ignore_cleanup_errors=True) as folder,
        Store(folder).claim(name, wait=True),
    ):
        answers = []
        for node in nodes():
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = ray.remote(_look).options(num_cpus=0, scheduling_strategy=place)
            answer = look.remote(os.getcwd(), folder, name, _versions())
            answers.append((node["NodeManagerHostname"], answer))
        for host, answer in answers:
            try:
                wrong = ray.get(answer, timeout=ANSWERED_WITHIN)
            except (ray.exceptions.RayError, TimeoutError) as error:
                wrong = why(error)
            if wrong:
                raise ConfigError(f"{host}, a node of Ray, cannot train these runs: {wrong}")


def _look(folder: str, claimed_in: str, name: str, versions: Mapping[str, str]) -> str:
    """On a node: say what is wrong with it, if anything is."""
    if not os.path.isdir(folder):
        return f"it has no {folder}; all nodes must share the folder that the sweep is asked for in"
    os.chdir(folder)
    if not Store(claimed_in).held(name):
        results_dir = os.path.dirname(claimed_in)
        return f"it does not see the locks in {results_dir}; that must be on a file system that all nodes share (flock)"
    other = [f"{key} {has}, not {versions[key]}" for key, has in _versions().items() if versions[key] != has]
    return f"it has {' and '.join(other)}" if other else ""


def _versions() -> dict[str, str]:
    return {"lossbench": lossbench.__version__, "torch": torch.__version__, "Python": platform.python_version()}


def why(error: Exception) -> str:
    """Why a task gave nothing back, in words."""
    import ray

    known = {
        ray.exceptions.GetTimeoutError: f"it did not answer within {ANSWERED_WITHIN:g} s",
        ray.exceptions.OutOfMemoryError: "Ray ended its process, for the node ran out of memory: a larger num_cpus "
        "lets fewer runs train side by side",
        ray.exceptions.WorkerCrashedError: "its process was killed, on every try, perhaps for lack of memory",
        ray.exceptions.NodeDiedError: "its node was lost, on every try",
    }
    for kind, text in known.items():
        if isinstance(error, kind):
            return text
    return one_line(str(getattr(error, "cause", None) or error))
