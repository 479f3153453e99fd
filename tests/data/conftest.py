import pytest

from lossbench.data import digests


@pytest.fixture
def lonely(tmp_path, monkeypatch):
    """A machine without data sets and without a network; returns its home folder."""

    def no_network(*_args, **_kwargs):
        raise OSError("no network in this test")

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("LOSSBENCH_DATA", raising=False)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("lossbench.data.places._package_folders", lambda package: [])
    return home


@pytest.fixture
def nothing_published(monkeypatch):
    """Small files in the format of a public data set are read, whatever was published of the real ones."""
    monkeypatch.setattr(digests, "PUBLISHED", {})
