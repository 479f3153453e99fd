from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


def test_every_config_is_in_the_wheel(wheel: Path) -> None:
    ours = {f"lossbench/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(ours) > 30
    assert ours <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lossbench"}


def test_what_is_installed_from_it_trains_in_any_folder(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    # -P and the first entry of sys.path: this lossbench, and not the one that is being developed
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import lossbench.cli\nprint(lossbench.__file__, file=sys.stderr)\n"
        "sys.argv = ['lossbench', 'train', 'dataset=wine', 'model=linear', 'epochs=1', '--quiet']\n"
        "lossbench.cli.main()"
    )
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.startswith(str(tmp_path / "site"))
    assert "wine-linear-cross_entropy-s0-" in answer.stdout
