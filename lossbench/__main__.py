"""`lossbench`, and `python -m lossbench`."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress

from lossbench import libraries, processes
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
    """Whether the process can end without Python's own end, which takes each of torch's two thousand modules apart.

    It would wait for torch's libraries, too, where these are being loaded.
    """
    torch = sys.modules.get("torch")
    if processes.count() > 1 or (torch and torch.cuda.is_initialized()):  # a GPU's libraries end by themselves
        return False
    if sys.getprofile() or sys.gettrace():  # who looks on writes at the very end what was seen
        return False
    at_work = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    return all(thread.daemon or libraries.is_loading(thread) for thread in at_work)


def _leave(code: int) -> None:
    atexit._run_exitfuncs()
    with suppress(OSError):  # nobody reads any more, which is for Python to say
        for stream in filter(None, (sys.stdout, sys.stderr)):  # a shell may have closed one
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    run()
