"""Where the files of a public data set are looked for, and how they are fetched.

In order: the folder the request names, and then nowhere else; `$LOSSBENCH_DATA/<name>`; `~/.cache/lossbench/<name>`;
the folder of a Debian package. Only where none of them has the files is torchvision asked to download them.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lossbench.errors import DataError

TIMEOUT = (
    4.0  # seconds without an answer; torchvision tries several addresses and the message must not keep one waiting
)


@dataclass(frozen=True)
class Collection:
    """A public data set: what its files are and how they are had.

    Attributes:
        name: as in `dataset=<name>`; the folder below `$LOSSBENCH_DATA` and the cache.
        needs: the files in words, for the message where they are missing.
        has_files: whether a folder holds them.
        download: puts them into an empty folder, by torchvision.
        layouts: where below a place they may lie; `.` is the place itself.
        package: the Debian package that installs them.
    """

    name: str
    needs: str
    has_files: Callable[[Path], bool]
    download: Callable[[Path], object]
    layouts: Sequence[str] = (".",)
    package: str | None = None


def find(collection: Collection, root: str | None) -> Path:
    """Return the folder that holds a data set's files, downloading them where no folder does.

    Args:
        collection: the data set.
        root: the folder to look in and nowhere else, or None for the usual places.

    Returns:
        A folder for which `collection.has_files` holds.

    Raises:
        DataError: if `root` does not have the files, or nothing does and they cannot be downloaded.
    """
    if root is not None:
        folder = _folder_within(collection, Path(root).expanduser())
        if folder is None:
            raise DataError(f"dataset.root={root} does not hold {collection.name}: expected {collection.needs}")
        return folder
    places = usual_places(collection.name)
    cache = places[-1]
    places += _package_folders(collection.package)
    for place in places:
        if folder := _folder_within(collection, place):
            return folder
    problem = "the download is not complete"
    try:
        _download(collection, cache)
    # What torchvision lets through: no network and full disks, checksums, broken answers, broken archives.
    except (OSError, RuntimeError, http.client.HTTPException, EOFError) as error:
        problem = " ".join(str(error).split())
    if folder := _folder_within(collection, cache):
        return folder
    by_package = f"apt install {collection.package}, or " if collection.package else ""
    raise DataError(
        f"{collection.name} is not on this machine and could not be downloaded ({problem}); "
        f"looked in {', '.join(map(str, places))}; {by_package}put {collection.needs} into a folder "
        "and set dataset.root to it"
    )


def usual_places(name: str) -> list[Path]:
    """Return where the files of a data set may lie on this machine: the user's shared folder, then the cache."""
    cache = Path.home() / ".cache" / "lossbench" / name
    shared = os.environ.get("LOSSBENCH_DATA")
    return [Path(shared).expanduser() / name, cache] if shared else [cache]


def _folder_within(collection: Collection, place: Path) -> Path | None:
    folders = (place / layout for layout in collection.layouts)
    return next((folder for folder in folders if collection.has_files(folder)), None)


def _package_folders(package: str | None) -> list[Path]:
    """Ask dpkg for the folders a package installs files into; none where there is no dpkg or no such package."""
    if package is None:
        return []
    try:
        listing = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted({path.parent for path in map(Path, listing.stdout.split("\n")) if path.suffix})


def _download(collection: Collection, cache: Path) -> None:
    # Beside the cache, then one rename: what an interrupted download leaves is never taken for the data set, and of
    # two runs that download at once the second rename fails, which is fine since the first has put the files there.
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=f"{collection.name}.partial.") as partial:
        files = Path(partial) / "files"
        files.mkdir()
        with _quiet_network():
            collection.download(files)
        files.replace(cache)


@contextlib.contextmanager
def _quiet_network() -> Iterator[None]:
    """Give up on a silent server soon, and keep torchvision's progress bars out of our output."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)
