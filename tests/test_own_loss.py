"""The package of docs/howto/own-loss.md is built and installed; with one yaml it is a loss like any other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from support import Lossbench
from yaml import safe_load

PAGE = (Path(__file__).parent.parent / "docs/howto/own-loss.md").read_text()


def write_package(folder: Path) -> None:
    """Write what the page shows, the module where it says that a package has it."""
    files = dict(re.findall(r"^cat > (\S+) <<'EOF'\n(.*?)^EOF$", PAGE, re.MULTILINE | re.DOTALL))
    (pyproject,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (module,) = re.findall(r"`(my-losses/src/\S+)`", PAGE)
    for name, content in {
        module: files["my_losses.py"],
        "my-losses/pyproject.toml": pyproject,
        "conf/loss/squared.yaml": files["conf/loss/squared.yaml"],
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def config_of(run_file: Path) -> Any:
    return safe_load((run_file.parent / "config.yaml").read_text())


def test_a_loss_in_a_package_of_ones_own_is_listed_checked_and_trained(lossbench: Lossbench, tmp_path: Path) -> None:
    write_package(tmp_path)
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    build = ["build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(tmp_path / "my-losses")]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("my_losses-*.whl")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True)

    def user(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lossbench", *arguments, "--config-dir", str(tmp_path / "conf")]
        environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "120"}
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)

    assert re.search(r"^squared +ℓ \+ weight · ℓ² · my idea", user("list", "losses").stdout, re.MULTILINE)
    check = user("check", "squared")
    assert check.returncode == 0, check.stdout + check.stderr
    assert check.stdout.startswith("squared weight=0.1\n✓ The loss of a batch is one finite number")

    quick = ("dataset=wine", "model=linear", "epochs=2", "device=cpu", "device.threads=1", "--quiet")
    train = user("train", "loss=squared", "loss.weight=0,1", *quick)
    assert train.returncode == 0, train.stderr
    assert lossbench("train", "loss=cross_entropy", *quick).returncode == 0
    (plain,) = tmp_path.glob("results/runs/*/predictions.npz")
    squared = {
        config_of(path)["loss"]["weight"]: np.load(path)["test_logits"]
        for path in elsewhere.glob("results/runs/*/predictions.npz")
    }
    # At weight 0 it is torch's cross-entropy, which trains as ours does but for rounding; at 1 it is another loss.
    assert np.allclose(squared[0.0], np.load(plain)["test_logits"], atol=1e-5)
    assert not np.allclose(squared[1.0], squared[0.0], atol=0.1)
