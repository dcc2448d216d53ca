"""`python -m pdconsole.runner WORKSPACE`: the background process that carries out experiments."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m pdconsole.runner WORKSPACE\n")
        return 2
    from pdconsole.runner.daemon import run_daemon

    return run_daemon(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
