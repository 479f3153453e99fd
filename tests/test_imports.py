"""Imports point one way, and the heavy ones happen only where they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lossbench"

# Lower may not import higher. What is in one layer may import within it.
LAYERS = [
    {"errors", "domains", "randomness", "claims", "folders", "stopping", "processes", "memory", "libraries"},
    {"signature", "links", "settings", "identity"},
    {"record"},
    {"checksums"},
    {
        "losses",
        "metrics",
        "calibration",
        "curves",
        "statistics",
        "models",
        "data",
        "optimization",
        "device",
        "data_parallel",
        "corruptions",
        "beside",
        "trackers",
    },
    {
        "catalogue",
        "explain",
        "config",
        "build",
        "given",
        "checking",
        "training",
        "pixels",
        "index",
        "store",
        "progress",
        "report",
        "search",
        "predictions",
        "evaluation",
    },
    {"checkpoints", "stacked", "teacher", "rehearsal", "stored_model", "shift", "pictures", "verification"},
    {"tracking"},
    {"run", "export"},
    {"sweep", "following", "launchers", "screen", "conformance", "library"},
    {"request"},
    {"recipes"},
    {"cli"},
    {"__main__"},
]
PURE = ["losses", "metrics", "links", "calibration", "curves", "statistics", "domains"]
FORBIDDEN_IN_PURE = {"hydra", "omegaconf", "rich", "pandas", "pathlib", "typer"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, at its top or within a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer_of(name: str) -> int:
    return next(level for level, layer in enumerate(LAYERS) if name in layer)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    parts = {module.name.removesuffix(".py") for module in PACKAGE.iterdir()}
    used = {name.split(".")[1] for name in imported(path) if name.startswith("lossbench.")} & parts
    upwards = sorted(name for name in used if layer_of(name) > layer_of(part))
    assert not upwards, f"{part} must not import {upwards}"


@pytest.mark.parametrize("part", PURE)
def test_pure_code_imports_no_files_configs_or_screens_and_prints_nothing(part: str) -> None:
    for path in [*PACKAGE.glob(f"{part}.py"), *PACKAGE.glob(f"{part}/**/*.py")]:
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & FORBIDDEN_IN_PURE, path
        if part != "losses":
            assert "torch" not in roots, path
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls), path


def test_only_config_and_explain_touch_hydra_and_only_checking_instantiates() -> None:
    users = {part_of(path) for path in modules() if any(name.split(".")[0] == "hydra" for name in imported(path))}
    assert users == {"config", "explain", "checking"}
    internals = {part_of(path) for path in modules() if any("hydra._internal" in name for name in imported(path))}
    assert internals == {"config"}
    callers = {part_of(path) for path in modules() if "hydra.utils.instantiate" in imported(path)}
    assert callers == {"checking"}


def loaded_by(code: str, *suspects: str) -> set[str]:
    """Which of the suspects a fresh interpreter has loaded after running some code."""
    script = f"import sys\n{code}\nprint(*(name for name in {suspects!r} if name in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(answer.stdout.splitlines()[-1].split()) if answer.stdout.strip() else set()


def command(*arguments: str) -> str:
    return (
        f"sys.argv = {['lossbench', *arguments]!r}\n"
        "from lossbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded_by("import json", "json", "torch") == {"json"}


def test_help_loads_neither_torch_nor_pandas_nor_hydra() -> None:
    assert not loaded_by(command("--help"), "torch", "pandas", "hydra", "omegaconf")
    assert not loaded_by(command("--version"), "torch", "pandas", "hydra", "omegaconf")
    assert not loaded_by(command("train", "--help"), "torch", "pandas", "hydra", "omegaconf")


@pytest.mark.parametrize("kind", ["losses", "models", "datasets", "metrics", "experiments"])
def test_list_does_not_load_torch(kind: str) -> None:
    assert "torch" not in loaded_by(command("list", kind), "torch")


def test_the_list_of_recipes_does_not_load_torch_or_hydra() -> None:
    assert not loaded_by(command("reproduce", "--list"), "torch", "hydra", "vl_convert")


def test_the_library_and_its_metrics_load_neither_torch_nor_pandas_nor_hydra() -> None:
    assert not loaded_by("import lossbench; lossbench.__version__", "torch", "pandas", "hydra", "numpy")
    assert loaded_by("from lossbench.metrics import ece", "numpy", "torch", "pandas", "hydra") == {"numpy"}


def test_train_answers_a_typing_mistake_and_shows_how_many_runs_there_are_before_it_imports_torch(
    tmp_path: Path,
) -> None:
    assert loaded_by(command("train", "loss=label_smothing"), "hydra", "torch") == {"hydra"}
    shown = (
        "from lossbench import progress\ndef stop(self, total):\n    assert total == 2\n    raise SystemExit\n"
        "progress.Silent.plan = stop\n"
    )
    sweep = command("train", "dataset=digits", "model=mlp", "seed=0,1", f"results_dir={tmp_path}")
    assert loaded_by(shown + sweep, "hydra", "torch") == {"hydra"}


def test_train_says_what_it_trains_before_it_imports_torchs_compiler_scikit_learn_or_torchvision(
    tmp_path: Path,
) -> None:
    stopped = (
        "from lossbench import progress\ndef stop(self, text):\n    raise SystemExit\nprogress.Lines._say = stop\n"
    ) + command("train", "dataset=digits", "model=mlp", "device=cpu", f"results_dir={tmp_path}")
    slow = ("torch._dynamo", "sklearn", "torchvision", "pandas", "scipy.stats")
    assert loaded_by(stopped, "torch", *slow) == {"torch"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_never_loads_torchs_compiler_and_leaves_what_was_imported_uncollected(
    optimizer: str, tmp_path: Path
) -> None:
    train = command(
        "train", "dataset=digits", "model=mlp", f"optimizer={optimizer}", "epochs=1", "device=cpu", "--quiet",
        f"results_dir={tmp_path}",
    )  # fmt: skip
    done = (
        "\nimport gc\nfrom pathlib import Path\n"
        f"assert len(list(Path({str(tmp_path)!r}, 'runs').glob('*-s*'))) == 1\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 100_000"
    )
    assert loaded_by(train + done, "torch", "torch._dynamo", "sympy", "triton") == {"torch"}


def test_a_stack_does_not_load_torchs_compiler_either(tmp_path: Path) -> None:
    train = command(
        "train", "dataset=digits", "model=mlp", "seed=0,1,2,3", "epochs=1", "device=cpu", "device.threads=1",
        "hydra/launcher=stacked", "--quiet", f"results_dir={tmp_path}",
    )  # fmt: skip
    done = (
        "\nimport json\nfrom pathlib import Path\n"
        f"environment, *_ = Path({str(tmp_path)!r}, 'runs').glob('*-s*/environment.json')\n"
        "assert json.loads(environment.read_text())['stacked'] == 4"
    )
    assert loaded_by(train + done, "torch", "torch._dynamo", "sympy", "triton") == {"torch"}


def test_what_a_user_holds_who_imported_torch_stays_open_to_collection(tmp_path: Path) -> None:
    train = (
        "import gc, torch\nfrom lossbench import request\n"
        "request.train(['dataset=digits', 'model=mlp', 'epochs=1', 'device=cpu', 'results_dir="
        f"{tmp_path}'], config_dir=None, force=False, quiet=True)\n"
        "assert gc.isenabled() and gc.get_freeze_count() < 1_000"
    )
    assert "torch" in loaded_by(train, "torch")
