"""The commands of the zipapp: `connect`, `agent` and `keeper` for pdconsole itself, `drive` for
the load driver, `nixl-probe` for the network test, `engine` for what the engine's Python has,
`ray-app` and `ray-replica` for a deployment that Ray Serve runs."""

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
    if command == "nixl-probe":
        from pdconsole.agent import nixl_probe

        return nixl_probe.main(rest)
    if command == "engine":
        from pdconsole.agent import engine_facts

        return engine_facts.main()
    if command == "ray-app":
        from pdconsole.agent import ray_app

        return ray_app.main(rest)
    if command == "ray-replica":
        from pdconsole.agent import ray_replica

        return ray_replica.main(rest)
    print(
        "usage: agent.pyz connect|agent|keeper|drive|nixl-probe|engine|ray-app|ray-replica ...",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
