"""`lossbench`, and `python -m lossbench`."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress

from lossbench import processes
from lossbench.cli import main


def run() -> None:
    """Run the command line in a process of its own, and end that."""
    try:
        main()
    except SystemExit as ended:
        if isinstance(ended.code, int) and _may_leave():
            _leave(ended.code)
        raise


def _may_leave() -> bool:
    """Whether the process can end without Python's own end, which takes each of torch's two thousand modules apart."""
    torch = sys.modules.get("torch")
    if torch is None or processes.count() > 1 or torch.cuda.is_initialized():  # a GPU's libraries end by themselves
        return False
    if sys.getprofile() or sys.gettrace():  # who looks on writes at the very end what was seen
        return False
    return all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate())


def _leave(code: int) -> None:
    atexit._run_exitfuncs()
    with suppress(OSError):  # nobody reads any more, which is for Python to say
        for stream in filter(None, (sys.stdout, sys.stderr)):  # a shell may have closed one
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    run()
