"""The command line: parse, call, print, exit code. Knows no maths.

torch, pandas and Hydra are imported by the commands that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys

# How often a thread of GNU's OpenMP, with which torch comes on Linux, looks whether there is work before it sleeps. By
# default it is 300,000 times: on a machine that also does something else, a thread that waits for another keeps it from
# running, and a step takes many times as long (`scripts/bench/waiting.py`).
TURNS = 5000


def main() -> None:
    """Run the command line."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(TURNS))  # read when torch is imported, here and in workers
    try:
        from lossbench import stopping  # here, as all imports: where one is interrupted, that is said

        with stopping.raised():
            from lossbench.cli.verbs import call

            code = call(sys.argv[1:] or ["--help"])
            stopping.done()
    except KeyboardInterrupt as stopped:
        from lossbench import stopping

        code = stopping.told(stopped)
    sys.exit(code)
