"""The libraries that torch is made of: a gigabyte, loaded while Python does other things."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

_NAME = "torch's libraries"


def loading() -> threading.Thread:
    """Begin to load them, which is a fifth of torch's import, in a thread, to be joined before torch is imported.

    Python joins it before it ends, since what is loaded halfway cannot be unloaded; whoever ends the process without
    Python's own end need not (`is_loading`). torch takes the thread that loads it for its main one: but for a line that
    its profiler prints, nothing comes of that.
    """
    thread = threading.Thread(target=_load, name=_NAME)
    if sys.platform == "linux" and "torch" not in sys.modules:
        thread.start()
    return thread


def is_loading(thread: threading.Thread) -> bool:
    """Whether a thread is the one that loads them."""
    return thread.name == _NAME


def _load() -> None:
    import ctypes
    import importlib.util

    found = importlib.util.find_spec("torch")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "lib"
        load = ctypes.CDLL(None).dlopen  # as a call of C, during which Python goes on; in ctypes.CDLL(path) it waits
        # As torch will. What cannot be loaded is not: its import says why.
        load(os.fsencode(path / "libtorch_global_deps.so"), os.RTLD_NOW | os.RTLD_GLOBAL)
        load(os.fsencode(path / "libtorch_python.so"), os.RTLD_NOW)
