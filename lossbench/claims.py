"""Which process trains a run: a lock that ends with the process that holds it, however that ends.

The lock is BSD's `flock`, which Linux also keeps across machines on NFS (since 2.6.12) and on cluster file systems
mounted with it. Nothing has to guess whether a claim is stale: the kernel drops those of dead processes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lossbench.errors import StoreError

LOOKS = (0.001, 0.005, 0.02)  # seconds between tries: a look at a claim takes microseconds
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EINVAL)  # a link, a folder, a socket, a pipe


@contextmanager
def claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Claim what a file stands for, until the block or the process ends.

    Args:
        path: the file, made for the purpose and removed afterwards. It says who holds it.
        wait: until whoever holds it lets go. Ctrl-C ends the waiting.

    Returns:
        Whether it is ours.

    Raises:
        StoreError: where something stands in the file's place that is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            descriptor = _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        except OSError as error:
            if error.errno not in NO_FILE:
                raise
            raise StoreError(f"{path} should be a file that says who trains the run, and is none; remove it") from error
        with os.fdopen(descriptor, "a+", encoding="utf-8") as file:
            try:
                _lock(file.fileno(), wait=wait)
            except BlockingIOError:
                yield False
                return
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                warnings.warn(
                    f"{path.parent} is on a file system without locks: see that no other process trains these runs",
                    stacklevel=3,
                )
            if not _is_still(path, file.fileno()):  # its last holder removed it while we waited
                continue
            try:
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
                yield True
            finally:
                path.unlink(missing_ok=True)  # before the lock goes, so that whoever waits sees that it is gone
            return


def holder(path: Path) -> str:
    """Say who holds a claim, as far as its file tells; empty where there is none."""
    try:
        with os.fdopen(_open(path, os.O_RDONLY), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def held(path: Path) -> bool:
    """Whether a process that is alive holds a claim."""
    try:
        with os.fdopen(_open(path, os.O_RDONLY), encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # not there, not ours to open, or on a file system without locks
        return False
    return False


def _open(path: Path, flags: int) -> int:
    """Open a claim; not what a link in a stranger's store leads to, and no pipe, which would wait for ever."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "no regular file", str(path))


def _lock(descriptor: int, *, wait: bool) -> None:
    """Lock a file; without waiting for more than whoever looks for a moment whether it is held."""
    if wait:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    for pause in (*LOOKS, None):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if pause is None:
                raise
            time.sleep(pause)
        else:
            return


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
