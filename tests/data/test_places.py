import io
import socket
import subprocess
import sys
import time
from urllib.error import URLError

import pytest

from lossbench.data import cifar10, cifar100, fashion_mnist, mnist, places, svhn
from lossbench.data.places import Collection, find
from lossbench.errors import DataError


def collection(download=lambda folder: None, **options):
    """A data set that is one file, `values`."""
    return Collection("toy", "the file values", lambda folder: (folder / "values").is_file(), download, **options)


def put(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "values").write_text("1")
    return folder


def fails(folder):
    raise URLError("no network")


def cached(home):
    return home / ".cache/lossbench/toy"


def test_a_named_root_is_looked_in_first(lonely, tmp_path):
    put(cached(lonely))
    assert find(collection(), str(put(tmp_path / "mine"))) == tmp_path / "mine"


def test_a_named_root_is_the_only_place_and_nothing_is_downloaded(lonely, tmp_path):
    put(cached(lonely))
    (tmp_path / "empty").mkdir()

    def download(folder):
        raise AssertionError

    with pytest.raises(DataError, match=r"dataset\.root=.*empty does not hold toy: expected the file values"):
        find(collection(download), str(tmp_path / "empty"))


def test_a_root_may_hold_the_layout_that_torchvision_leaves(lonely, tmp_path):
    put(tmp_path / "Toy/raw")
    assert find(collection(layouts=(".", "Toy/raw")), str(tmp_path)) == tmp_path / "Toy/raw"


def test_the_shared_folder_comes_before_the_cache_and_the_cache_before_the_package(lonely, tmp_path, monkeypatch):
    shared, package = tmp_path / "shared", put(tmp_path / "package")
    monkeypatch.setenv("LOSSBENCH_DATA", str(shared))
    monkeypatch.setattr("lossbench.data.places._package_folders", lambda name: [package])
    assert find(collection(fails), None) == package
    put(cached(lonely))
    assert find(collection(fails), None) == cached(lonely)
    put(shared / "toy")
    assert find(collection(fails), None) == shared / "toy"


def test_a_download_goes_into_the_cache_and_leaves_nothing_beside_it(lonely):
    assert find(collection(put), None) == cached(lonely)
    assert [path.name for path in cached(lonely).parent.iterdir()] == ["toy"]


def test_a_download_is_quiet_and_gives_up_soon(lonely, capfd):
    seen = []

    def download(folder):
        seen.append(socket.getdefaulttimeout())
        print("progress")
        print("progress", file=sys.stderr)
        put(folder)

    before = socket.getdefaulttimeout()
    find(collection(download), None)
    assert capfd.readouterr() == ("", "")
    assert seen == [places.TIMEOUT]
    assert places.TIMEOUT <= 5
    assert socket.getdefaulttimeout() == before


def test_an_interrupted_download_leaves_nothing_behind(lonely):
    def download(folder):
        put(folder)
        raise URLError("cut off")

    with pytest.raises(DataError, match=r"could not be downloaded \(<urlopen error cut off>\)"):
        find(collection(download), None)
    assert list(cached(lonely).parent.iterdir()) == []


def test_a_download_that_another_run_finished_first_is_used(lonely):
    def download(folder):
        put(folder)
        put(cached(lonely))

    assert find(collection(download), None) == cached(lonely)


def test_a_download_without_the_files_is_an_error(lonely):
    with pytest.raises(DataError, match="the download is not complete"):
        find(collection(), None)


def test_the_message_lists_the_places_and_how_to_get_the_files(lonely, tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSBENCH_DATA", str(tmp_path / "shared"))
    with pytest.raises(DataError) as caught:
        find(collection(fails, package="dataset-toy"), None)
    message = str(caught.value)
    assert "no network" in message
    assert f"looked in {tmp_path / 'shared/toy'}, {cached(lonely)};" in message
    assert "apt install dataset-toy, or put the file values into a folder and set dataset.root" in message
    assert "\n" not in message


@pytest.mark.parametrize("function", [mnist, fashion_mnist, cifar10, cifar100, svhn])
def test_without_a_network_every_data_set_fails_soon_with_one_message(function, lonely, capfd):
    start = time.monotonic()
    with pytest.raises(DataError, match=f"^{function.__name__} is not on this machine and could not be downloaded"):
        function()
    assert time.monotonic() - start < 10
    assert capfd.readouterr() == ("", "")


def test_a_package_is_looked_up_with_dpkg(monkeypatch):
    def listing(command, **_options):
        assert command == ["dpkg", "-L", "dataset-toy"]
        return subprocess.CompletedProcess(command, 0, "/.\n/usr\n/usr/share/toy\n/usr/share/toy/values.gz\n", "")

    monkeypatch.setattr("subprocess.run", listing)
    assert [str(folder) for folder in places._package_folders("dataset-toy")] == ["/usr/share/toy"]


@pytest.mark.parametrize("error", [FileNotFoundError("dpkg"), subprocess.TimeoutExpired("dpkg", 10)])
def test_a_machine_without_dpkg_has_no_packages(error, monkeypatch):
    def no_dpkg(*_args, **_options):
        raise error

    monkeypatch.setattr("subprocess.run", no_dpkg)
    assert places._package_folders("dataset-toy") == []


@pytest.mark.parametrize(
    ("function", "class_name"),
    [(mnist, "MNIST"), (fashion_mnist, "FashionMNIST"), (cifar10, "CIFAR10"), (cifar100, "CIFAR100"), (svhn, "SVHN")],
)
def test_torchvision_is_asked_for_the_data_set_of_that_name(function, class_name, lonely, monkeypatch):
    asked = []

    def download(folder, **options):
        asked.append(options)
        raise RuntimeError("stop here")

    monkeypatch.setattr(f"torchvision.datasets.{class_name}", download)
    with pytest.raises(DataError, match="stop here"):
        function()
    assert asked[0]["download"] is True


def test_output_written_to_a_saved_stream_is_not_lost(lonely):
    # Only the process's own stdout and stderr are silenced.
    saved = io.StringIO()

    def download(folder):
        print("kept", file=saved)
        put(folder)

    find(collection(download), None)
    assert saved.getvalue() == "kept\n"


def test_a_data_set_without_a_package_does_not_ask_dpkg(monkeypatch):
    def no_dpkg(*_args, **_options):
        raise AssertionError

    monkeypatch.setattr("subprocess.run", no_dpkg)
    assert places._package_folders(None) == []
