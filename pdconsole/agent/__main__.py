"""The commands of the zipapp: `connect`, `agent` and `keeper` for pdconsole itself, `drive` for
the load driver."""

from __future__ import annotations

import sys
from typing import List


def main(argv: List[str]) -> int:
    command, rest = (argv[0] if argv else ""), argv[1:]
    # Each imports only what it needs: a keeper stays small.
    if command == "keeper":
        from pdconsole.agent import keeper

        return keeper.main(rest)
    if command == "connect":
        from pdconsole.agent import connect

        return connect.main(rest)
    if command == "agent":
        from pdconsole.agent import server

        return server.main(rest)
    if command == "drive":
        from pdconsole.agent import drive

        return int(drive.main(rest))
    print("usage: agent.pyz connect|agent|keeper|drive ...", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
