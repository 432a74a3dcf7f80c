"""A mesh at work on this machine: `make demo`, or `sudo python examples/demo.py`. Takes about 15 seconds.

Three HTTP servers, unmodified clients, one service address, and an agent that is reconfigured and killed while
requests are flowing. Everything happens in a cgroup and a network namespace of the demo's own, and is gone afterwards.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))  # for demo_parts, also under `python -m examples.demo`

from demo_parts import host
from demo_parts.screen import Finding, Screen

if TYPE_CHECKING:
    from demo_parts.stage import Agent, Load, Stage

    from ebpfmesh.hooks.attachment import Attachment


class Demo:
    """The acts, in order. Each prints what it does and notes what it found."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self.stage, self.screen = stage, screen
        self.findings: list[Finding] = []
        self.loads: list[Load] = []

    def found(self, name: str, value: float, text: str, holds: bool) -> None:
        """Note a measurement for the account."""
        self.findings.append(Finding(name, value, text, holds))

    def play(self) -> None:
        """Everything."""
        self.screen.heading("Three HTTP servers, one service address, one agent")
        for name in ("a", "b", "c"):
            self.stage.start_server(name)
        self.stage.write_configuration(["a", "b", "c"])
        agent = self.stage.start_agent()
        self.show_what_was_attached()
        self.unmodified_clients()
        self.start_load()
        self.remove_a_backend(agent)
        agent = self.kill_and_restart(agent)
        self.put_it_back(agent)
        self.stop(agent)

    def show_what_was_attached(self) -> None:
        """Ask the kernel what hangs on the cgroup."""
        self.screen.say(
            f"service {SERVICE}:80 over 127.0.0.1:8001, :8002 and :8003; the kernel lists on our cgroup:"
        )
        attached = attachments(self.stage)
        for one in attached:
            through = f"link {one.link_id}" if one.link_id else one.mechanism
            self.screen.say(f"  {one.hook:<22} {one.program_name:<14} program {one.program_id}, {through}")
        self.found(
            "attached", len(attached), f"{len(attached)} programs were attached to one cgroup", bool(attached)
        )

    def unmodified_clients(self) -> None:
        """curl and Python's urllib know nothing of the mesh; outside the cgroup there is no mesh to know of."""
        self.screen.heading("Unmodified clients connect to the service address")
        curl = Counter(self.stage.request(URL, inside=True).stdout.strip() or "failed" for _ in range(12))
        python = Counter(self.stage.python(URLLIB).split())
        outside = self.stage.request(URL, inside=False)
        for client, outcome in (
            (f"12 x curl {URL}", counts(curl)),
            ("30 x Python's urllib", counts(python)),
            ("curl outside the cgroup", outside.stderr.strip()),
        ):
            self.screen.say(f"{client:<32} {outcome}")
        both = curl + python
        even = set(both) == set("abc") and max(both.values()) - min(both.values()) <= 2
        text = f"{both.total()} requests of curl and urllib were spread: {counts(both)}"
        self.found("spread", both.total(), text, even)
        refused = outside.returncode != 0
        self.found(
            "outside", outside.returncode, "outside the cgroup nothing answers at that address", refused
        )

    def start_load(self) -> None:
        """From here to the end, requests never stop."""
        self.screen.heading("Load: two clients with a connection per request, one that keeps its connection")
        self.loads = [self.stage.start_load(), self.stage.start_load(), self.stage.start_load("a")]
        self.watch("agent running", 2.0)

    def remove_a_backend(self, agent: Agent) -> None:
        """Take b out of the file; when the agent says so, no new connection may reach it, and its server ends."""
        self.screen.heading("Backend b is removed from the configuration, then its server is stopped")
        printed, begin = len(agent.lines), time.monotonic()
        self.stage.write_configuration(["a", "c"])
        agent.wait_for("applied", after=printed)
        took = time.monotonic() - begin
        time.sleep(0.3)  # requests that were under way end, and clients report every tenth of a second
        before = self.requests().get("b", 0)
        self.stage.stop_server("b")
        served = self.watch("agent running, b removed", 2.5, removed="b")
        late = self.requests()["b"] - before
        self.found(
            "apply",
            took,
            f"the change was in the kernel {took * 1e3:.0f} ms after the file was written",
            True,
        )
        self.found(
            "removed",
            late,
            f"of the {served:,} requests after that, {late} went to the removed backend",
            late == 0,
        )

    def kill_and_restart(self, agent: Agent) -> Agent:
        """SIGKILL: no chance to clean up. The links are pinned, and the kernel goes on balancing."""
        self.screen.heading(f"The agent, process {agent.process.pid}, is killed with SIGKILL")
        agent.process.kill()
        agent.process.wait()
        served = self.watch("no agent", 2.5, removed="b")
        self.found(
            "orphaned", served, f"with the agent dead, {served:,} further requests were answered", served > 0
        )
        before = link_ids(self.stage)
        begin = time.monotonic()
        new = self.stage.start_agent()
        took = time.monotonic() - begin
        same = link_ids(self.stage) == before
        self.screen.say(f"a new agent, process {new.process.pid}, took over after {took * 1e3:.0f} ms")
        links = "the same links" if same else "other links"
        self.found(
            "takeover", took, f"a new agent took over {links} in {took * 1e3:.0f} ms, start included", same
        )
        return new

    def put_it_back(self, agent: Agent) -> None:
        """The new agent can do what the old one could."""
        self.screen.heading("Backend b comes back")
        self.stage.start_server("b")
        printed, before = len(agent.lines), self.requests()["b"]
        self.stage.write_configuration(["a", "b", "c"])
        agent.wait_for("applied", after=printed)
        self.watch("new agent running", 2.0)
        again = self.requests()["b"] - before
        self.found("returned", again, f"the backend came back and answered {again:,} requests", again > 0)

    def stop(self, agent: Agent) -> None:
        """End the load, count, and let the agent end in the ordinary way."""
        from demo_parts.stage import end

        fresh, kept = self.loads[:2], self.loads[2]
        total, failed = sum(load.requests for load in fresh), sum(load.failed for load in fresh)
        on_kept, kept_failed = (
            kept.requests,
            kept.failed,
        )  # read before the clients are ended, which is no failure
        slowest = max(load.count["slowest_ms"] for load in self.loads)
        for load in self.loads:
            for error in load.count["errors"]:
                self.screen.say(f"a client saw {error}")
            end(load.process)
        end(agent.process)
        left = len(attachments(self.stage))
        text = f"{total:,} requests, each on its own connection: {failed} failed"
        self.found("requests", total, text, total > 0 and not failed)
        text = f"one connection was kept through all of it: {on_kept:,} requests, {kept_failed} failed"
        self.found("kept", on_kept, text, on_kept > 0 and not kept_failed)
        self.found("slowest", slowest, f"the slowest request took {slowest:.0f} ms", slowest < 1000)
        self.found("left", left, f"the agent stopped and left {left} programs attached", left == 0)

    def requests(self) -> Counter[str]:
        """Requests per backend so far, over a connection of their own."""
        total = Counter(dict.fromkeys("abc", 0))
        for load in self.loads[:2]:
            total.update(load.count["by"])
        return total

    def watch(self, status: str, seconds: float, removed: str | None = None) -> int:
        """Show the table for a while; the number of requests that were answered meanwhile."""
        first, end = self.requests().total(), time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.frame(status, removed, last=False)
            time.sleep(min(0.1, left))
        self.frame(status, removed, last=True)
        return self.requests().total() - first

    def frame(self, status: str, removed: str | None, *, last: bool) -> None:
        """The table once."""
        failed = sum(load.failed for load in self.loads)
        kept = self.loads[2].requests
        text = f"{status}; {failed} failed; {kept:,} on the kept connection"
        self.screen.table(text, self.requests(), removed, last)


SERVICE = "10.96.0.10"
URL = f"http://{SERVICE}/"
URLLIB = f"""
from urllib.request import urlopen
for _ in range(30):
    print(urlopen("{URL}", timeout=3).read().decode().strip())
"""


def counts(by: Counter[str]) -> str:
    """`a 10, b 10, c 10`"""
    return ", ".join(f"{name} {by[name]}" for name in sorted(by))


def attachments(stage: Stage) -> list[Attachment]:
    """What the kernel lists on the demo's cgroup, at every hook that the connect tier uses."""
    from ebpfmesh import hooks
    from ebpfmesh.tiers.connect.attaching import HOOKS

    return [one for name in HOOKS.values() for one in getattr(hooks, name).attached(stage.cgroup.path)]


def link_ids(stage: Stage) -> list[int | None]:
    """The kernel's ids of those links: a new link has a new id."""
    return [one.link_id for one in attachments(stage)]


def main() -> int:
    """0: all went well; 1: something did not; 2: the machine lacks something; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--account", type=Path, help="write what was measured to this file, as JSON")
    options = parser.parse_args()
    if lacking := host.missing():
        for what, remedy in lacking:
            print(f"demo: {what}: {remedy}", file=sys.stderr)
        return 2
    from demo_parts.stage import stage

    from ebpfmesh.errors import EbpfMeshError

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    screen, begin = Screen(), time.monotonic()
    try:
        with stage() as made:
            demo = Demo(made, screen)
            demo.play()
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything was removed", file=sys.stderr)
        return 130
    except (EbpfMeshError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    screen.account(demo.findings)
    failed = [finding.name for finding in demo.findings if not finding.holds]
    screen.say(
        f"{time.monotonic() - begin:.0f} seconds; {len(failed)} of {len(demo.findings)} findings failed"
    )
    if options.account:
        options.account.write_text(
            json.dumps({finding.name: vars(finding) for finding in demo.findings}, indent=1)
        )
    return 1 if failed else 0


def interrupted(_number: int, _frame: object) -> None:
    """End through every `with`; a second Ctrl-C must not interrupt the cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
