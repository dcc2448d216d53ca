"""A runner in this process, with a workspace and embedded nodes of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pdconsole.model import events as ev
from pdconsole.model.request import Call, Reply
from pdconsole.profiles import shipped_profiles
from pdconsole.runner.daemon import Runner

T = TypeVar("T")


class RunnerCase:
    """Calls as a console makes them, without the socket."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.runner = Runner(workspace)

    async def ask(self, command: str, **fields: Any) -> Reply:
        reply = await self.runner.handle(Call(command=command, **fields))  # type: ignore[arg-type]
        assert reply.error == ""
        return reply

    async def refused(self, command: str, **fields: Any) -> str:
        return (await self.runner.handle(Call(command=command, **fields))).error  # type: ignore[arg-type]

    async def until(
        self,
        seen: Callable[[Reply], T | None],
        command: str,
        timeout_s: float = 60.0,
        **fields: Any,
    ) -> T:
        """What `seen` finds in the answer to a call that is made again and again."""
        async with asyncio.timeout(timeout_s):
            while True:
                found = seen(await self.ask(command, **fields))
                if found:
                    return found
                await asyncio.sleep(0.1)

    # --- what was recorded ---

    def session(self) -> Path:
        return max((self.workspace / "sessions").glob("2*"), key=lambda p: p.name)

    def events(self) -> list[ev.Event]:
        path = self.session() / "events.jsonl"
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        return [e for line in lines[:-1] if (e := ev.decode(line)) is not None]

    def meta(self) -> dict[str, Any]:
        return yaml.safe_load((self.session() / "session.yaml").read_text())  # type: ignore[no-any-return]

    async def recorded(
        self, seen: Callable[[list[ev.Event]], T | None], timeout_s: float = 90.0
    ) -> T:
        async with asyncio.timeout(timeout_s):
            while True:
                found = seen(self.events())
                if found:
                    return found
                await asyncio.sleep(0.1)

    async def ended(self) -> str:
        """How the session ended."""
        reply = await self.until(lambda r: r if not r.session else None, "hello", timeout_s=120.0)
        assert reply.last_session == self.session().name
        return str(self.meta()["status"])

    def change(self, kind: str, profile_name: str, /, **fields: Any) -> None:
        """A profile of the workspace in place of the shipped one, which differs in `fields`."""
        shipped = shipped_profiles() / kind / f"{profile_name}.yaml"
        profile = {**yaml.safe_load(shipped.read_text()), **fields}
        path = self.workspace / "profiles" / kind / f"{profile_name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(profile))
