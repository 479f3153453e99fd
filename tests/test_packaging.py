from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.tar.gz")
    return built


def test_every_config_is_in_the_wheel(wheel: Path) -> None:
    ours = {f"lossbench/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(ours) > 30
    assert ours <= set(zipfile.ZipFile(wheel).namelist())


def test_the_parts_of_the_report_page_are_in_the_wheel(wheel: Path) -> None:
    parts = {f"lossbench/report/page/page.{kind}" for kind in ("html.jinja", "css", "js")}
    assert parts <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lossbench", "hydra_plugins"}


def test_what_is_installed_from_it_is_a_command_that_trains_in_any_folder(wheel: Path, tmp_path: Path) -> None:
    """pip installs the wheel, its dependencies being there already, and the command it makes is run elsewhere."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    elsewhere.mkdir()
    answer = subprocess.run(
        [site / "bin/lossbench", "train", "dataset=wine", "model=linear", "epochs=1", "--quiet"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "wine-linear-cross_entropy-s0-" in answer.stdout
    (environment,) = elsewhere.glob("results/runs/*/environment.json")
    # The checkout that is being developed has a revision; what is installed has none.
    assert json.loads(environment.read_text())["git_revision"] is None


def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path)]
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    subprocess.run([*build, "--wheel", str(unpacked)], check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git knows what is ours, and this is no checkout")
def test_the_sdist_holds_what_git_does(sdist: Path) -> None:
    known = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    ours = {name for name in known.split("\0") if name and (ROOT / name).is_file()}
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert ours - names == set()
    new = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")  # written, and not yet added
    assert names - ours - {*new} == {"PKG-INFO"}


def test_the_extra_all_is_every_other_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (everything,) = extras.pop("all")
    assert everything == f"lossbench[{','.join(extras)}]"


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    """No test builds the image: it copies what makes a wheel, and runs the demo's first two commands."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for name in line.split()]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == kept
    assert all((ROOT / name).exists() for name in copied)
    demo = re.findall(r"^\.venv/bin/(lossbench .*)$", (ROOT / "scripts/demo").read_text(), re.MULTILINE)
    assert " && ".join(demo[:2]) in dockerfile


def test_the_workflow_runs_what_ci_runs_on_every_python_that_is_claimed() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["run"]
    assert ".ci/run" in [step.get("run") for step in workflow["steps"]]
    claimed = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert claimed
    assert set(claimed) <= set(workflow["strategy"]["matrix"]["python"])
