"""The command line: parse, call, print, exit code. Knows no maths.

torch, pandas and Hydra are imported by the commands that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
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
