"""What looks at finished runs loads no torch, unpickles nothing and makes nothing of a config."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from support import Lossbench

from lossbench.store import Store

FORMATS = ("table", "markdown", "csv", "json", "latex", "html")
KINDS = ("reliability", "sweep", "training", "risk_coverage", "confidence", "scatter", "confusion", "features")

# Runs commands one after the other in one process and prints the exit code of each and what was loaded at the end.
PROGRAM = """
import json, sys

def refuse(event, arguments):
    if event == "pickle.find_class" or event == "os.system" or event == "subprocess.Popen":
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(refuse)
from lossbench.cli import main

codes = {}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["lossbench", *arguments]
    try:
        main()
    except SystemExit as end:
        codes[" ".join(arguments)] = end.code or 0
loaded = [name for name in ("torch", "hydra", "omegaconf", "safetensors") if name in sys.modules]
print(json.dumps([codes, loaded]))
"""


def test_report_and_plot_load_no_torch_unpickle_nothing_and_instantiate_no_config(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    fast = ("train", "dataset=wine", "model=linear", "epochs=2", "device=cpu", "-q", "loss=label_smoothing")
    assert lossbench(*fast, "loss.epsilon=0,0.1", "seed=range(2)").returncode == 0
    # Whose id the command to repeat a student is held against.
    assert lossbench(*fast[:-1], "loss=distillation", "teacher.epochs=1").returncode == 0
    store = Store(tmp_path / "results")
    (student,) = (run_id for run_id in store.run_ids() if "distillation" in run_id)
    for run_id in store.run_ids():  # as `evaluate --pictures` keeps them
        targets = store.predictions(run_id)["test_targets"]
        features = {"test_features": np.eye(3, dtype=np.float32)[targets], "test_targets": targets}
        store.save_arrays(run_id, "features", {**features, "templates": np.eye(3, dtype=np.float32)})
        # Whoever instantiated the config, or loaded the weights or a checkpoint, would fail.
        (store.path(run_id) / "model.safetensors").write_bytes(b"none")
        path = store.path(run_id) / "config.yaml"
        path.write_text(path.read_text().replace("_target_: lossbench.losses", "_target_: nowhere.losses"))
    commands = [["report", "--format", format, "-o", f"out/report.{format}"] for format in FORMATS]
    commands += [["plot", kind, "--where", "loss=label_smoothing", "-o", f"out/{kind}.json"] for kind in KINDS]
    commands += [["runs"], ["show"], ["show", student], ["curve", "reliability"]]
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    codes, loaded = json.loads(answer.stdout.splitlines()[-1])
    assert set(codes.values()) == {0}, (codes, answer.stderr)
    assert loaded == []


def test_the_watch_over_unpickling_sees_it() -> None:
    program = PROGRAM.replace(
        "from lossbench.cli", "import pickle; pickle.loads(pickle.dumps(print))\nfrom lossbench.cli"
    )
    answer = subprocess.run([sys.executable, "-c", program, "[]"], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "pickle.find_class" in answer.stderr
