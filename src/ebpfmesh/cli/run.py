"""``ebpfmesh run FILE``: start the mesh, follow the file, and leave nothing at the end."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ebpfmesh.errors import EbpfMeshError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ebpfmesh.mesh import Changed, Mesh, Refused
    from ebpfmesh.policy.plan import Plan

_LOOK_EVERY = 0.5  # seconds between looks for new notices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, --keep and --json."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="the configuration, in TOML; changes of it are applied"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="at the end leave the data path in place: the kernel goes on without an agent",
    )
    parser.add_argument(
        "--json", action="store_true", help="print each event, and each log line, as one JSON object"
    )
    parser.epilog = (
        "SIGTERM and SIGINT stop it, SIGHUP reads the file now. When the agent is killed the kernel goes on, and the "
        "next `ebpfmesh run` takes over."
    )


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT. Errors: those of the file, of the start, of the name (HeldError)."""
    from ebpfmesh.cli import logs
    from ebpfmesh.cli.configuration import checked
    from ebpfmesh.mesh import Mesh

    config = checked(arguments.file)
    logs.configure(debug=arguments.debug, as_json=arguments.json)
    mesh = Mesh(config, run_root=arguments.run_root, bpffs=arguments.bpffs)
    agent = Agent(mesh, arguments)
    return asyncio.run(agent.run())


class Agent:
    """The life of one `ebpfmesh run`."""

    def __init__(self, mesh: Mesh, arguments: argparse.Namespace) -> None:
        self.mesh = mesh
        self.file: Path = arguments.file
        self.keep: bool = arguments.keep
        self.as_json: bool = arguments.json
        self.run_root: Path = arguments.run_root
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._recording = asyncio.Lock()
        self._told = 0

    async def run(self) -> int:
        """Start, follow, stop. A signal during the start ends it as soon as the start is complete."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        await asyncio.to_thread(self.mesh.start)
        orderly = False
        try:
            await self._record()
            self._ready()
            await self._until_stopped()
            orderly = True
        finally:
            # after a fault of our own the kernel must go on: traffic outweighs tidiness, and the next run takes over
            notices = await asyncio.to_thread(self.mesh.close, keep=self.keep or not orderly)
            for notice in notices:
                self._say("left", f"left: {notice}", notice=notice)
        self._say(
            "stopped", "stopped" + (", the data path stays in place" if self.keep else ""), kept=self.keep
        )
        return 0

    async def _until_stopped(self) -> None:
        followers = [
            asyncio.create_task(task)
            for task in (self._follow(), self._reload_on_request(), self._tell_notices())
        ]
        stop = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([stop, *followers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stop, *followers):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _follow(self) -> None:
        from ebpfmesh.mesh import Changed

        stream = cast("AsyncGenerator[Changed | Refused, None]", self.mesh.watch(self.file))
        async with aclosing(stream) as events:
            async for event in events:
                if isinstance(event, Changed):
                    await self._applied(event.plan)
                else:
                    self._refused(event.error)

    async def _reload_on_request(self) -> None:
        from ebpfmesh.cli.configuration import read

        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                config = await asyncio.to_thread(read, self.file)
                plan = await asyncio.to_thread(self.mesh.apply, config)
            except EbpfMeshError as error:
                self._refused(error)
            else:
                await self._applied(plan)

    async def _tell_notices(self) -> None:
        """Say what the start found, and what the mesh notices later."""
        while True:
            self._tell_new_notices()
            await asyncio.sleep(_LOOK_EVERY)

    def _tell_new_notices(self) -> None:
        for notice in (notices := self.mesh.notices)[self._told :]:
            self._say("notice", f"notice: {notice}", notice=notice)
        self._told = len(notices)

    async def _record(self) -> None:
        """Note what is applied, for `ebpfmesh plan`."""
        from ebpfmesh.ownership import RunDirectory, applied

        directory = RunDirectory(self.mesh.config.name, self.run_root)
        async with self._recording:  # a reload and a change of the file may come at once
            try:
                await asyncio.to_thread(applied.write, directory, self.mesh.config)
            except OSError as error:  # a full disk is no reason to end a mesh
                text = f"not noted for `ebpfmesh plan`: {error}"
                self._say("unnoted", text, error=str(error))

    def _ready(self) -> None:
        from ebpfmesh.cli.output import plural

        config = self.mesh.config
        services, backends = len(config.services), sum(len(service.backends) for service in config.services)
        text = f"ready: mesh {config.name}, {plural(services, 'service')}, {plural(backends, 'backend')},"
        text += f" cgroup {config.cgroup}, process {os.getpid()}"
        self._say("ready", text, name=config.name, services=services, backends=backends, pid=os.getpid())

    async def _applied(self, plan: Plan) -> None:
        await self._record()
        self._tell_new_notices()  # what the change met, before what became of it
        self._say("applied", f"applied {self.file}: {plan.summary}", plan=plan)

    def _refused(self, error: EbpfMeshError) -> None:
        text = " ".join(str(error).split())
        self._say("refused", f"refused, what ran before keeps running: {text}", error=text)

    def _say(self, event: str, text: str, **fields: Any) -> None:
        if self.as_json:
            import msgspec

            text = msgspec.json.encode({"event": event, **fields}).decode()
        with suppress(BrokenPipeError):  # nobody reads any more; the mesh goes on
            print(text, flush=True)
