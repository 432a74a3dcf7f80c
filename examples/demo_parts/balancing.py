"""Acts: connections are balanced, a backend leaves and comes back, the agent is killed and another takes over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from demo_parts.configuration import POLICY, SERVICE
from demo_parts.program import end

if TYPE_CHECKING:
    from demo_parts.account import Account
    from demo_parts.load import Load
    from demo_parts.program import Program
    from demo_parts.screen import Screen
    from demo_parts.stage import Stage
    from ebpfmesh.hooks.attachment import Attachment

URL = f"http://{SERVICE}/"
URLLIB = f"""
from urllib.request import urlopen
for _ in range(30):
    print(urlopen("{URL}", timeout=3).read().decode().strip())
"""


class Balancing:
    """Each act prints what it does and notes what it found."""

    def __init__(self, stage: Stage, screen: Screen, account: Account) -> None:
        self.stage, self.screen, self.found = stage, screen, account.found
        self.loads: list[Load] = []

    def begin(self) -> Program:
        """Servers, a configuration, an agent; and what the kernel says hangs on the cgroup."""
        self.screen.heading("Three HTTP servers, one service address, one agent")
        for name in "abc":
            self.stage.start_server(name)
        self.stage.write_configuration("abc")
        agent = self.stage.start_agent()
        self.screen.say(
            f"service {SERVICE}:80 over 127.0.0.1:8001, :8002 and :8003; the kernel lists on our cgroup:"
        )
        attached = attachments(self.stage)
        for one in attached:
            through = f"link {one.link_id}" if one.link_id else one.mechanism
            self.screen.say(f"  {one.hook:<22} {one.program_name:<14} program {one.program_id}, {through}")
        text = f"{len(attached)} programs were attached to one cgroup"
        self.found("attached", len(attached), text, bool(attached))
        return agent

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
        self.loads[2].until(bool)
        self.watch("agent running", 1.2)

    def remove_a_backend(self, agent: Program) -> None:
        """Take b out of the file; when the agent says so, no new connection may reach it, and its server ends."""
        self.screen.heading("Backend b is removed from the configuration, then its server is stopped")
        printed, begin = len(agent.lines), time.monotonic()
        self.stage.write_configuration("ac")
        agent.wait_for("applied", after=printed)
        took = time.monotonic() - begin
        time.sleep(0.3)  # requests that were under way end, and clients report every tenth of a second
        before = self.requests().get("b", 0)
        self.stage.stop_server("b")
        served = self.watch("agent running, b removed", 1.5, removed="b")
        late = self.requests()["b"] - before
        text = f"the change was in the kernel {took * 1e3:.0f} ms after the file was written"
        self.found("apply", took, text, True)
        text = f"of the {served:,} requests after that, {late} went to the removed backend"
        self.found("removed", late, text, late == 0)

    def kill(self, agent: Program, meanwhile: Callable[[], None]) -> None:
        """SIGKILL: no chance to clean up. The links are pinned, and the kernel goes on balancing."""
        self.screen.heading(f"The agent, process {agent.process.pid}, is killed with SIGKILL")
        agent.process.kill()
        agent.process.wait()
        first = self.requests().total()
        meanwhile()
        self.watch("no agent", 1.0, removed="b")
        served = self.requests().total() - first
        text = f"with the agent dead, {served:,} further requests were answered"
        self.found("orphaned", served, text, served > 0)

    def take_over(self) -> Program:
        """What the dead agent left is the new one's, as it is."""
        before = link_ids(self.stage)
        begin = time.monotonic()
        new = self.stage.start_agent()
        took = time.monotonic() - begin
        same = link_ids(self.stage) == before
        self.screen.say(f"a new agent, process {new.process.pid}, took over after {took * 1e3:.0f} ms")
        links = "the same links" if same else "other links"
        text = f"a new agent took over {links} in {took * 1e3:.0f} ms, start included"
        self.found("takeover", took, text, same)
        return new

    def put_it_back(self, agent: Program) -> None:
        """The new agent can do what the old one could."""
        self.screen.heading("Backend b comes back")
        self.stage.start_server("b")
        printed, before = len(agent.lines), self.requests()["b"]
        self.stage.write_configuration("abc", POLICY)
        agent.wait_for("applied", after=printed)
        self.watch("new agent running", 1.2)
        again = self.requests()["b"] - before
        self.found("returned", again, f"the backend came back and answered {again:,} requests", again > 0)

    def stop(self, agent: Program) -> None:
        """End the load, count, and let the agent end in the ordinary way."""
        fresh, kept = self.loads[:2], self.loads[2]
        total, failed = sum(load.requests for load in fresh), sum(load.failed for load in fresh)
        on_kept, kept_failed = kept.requests, kept.failed  # before the clients are ended, which is no failure
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
            total.update(load.by)
        return total

    def watch(self, status: str, seconds: float, removed: str | None = None) -> int:
        """Show the table for a while; the number of requests that were answered meanwhile."""
        first, end_at = self.requests().total(), time.monotonic() + seconds
        while (left := end_at - time.monotonic()) > 0:
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


def counts(by: Counter[str]) -> str:
    """`a 10, b 10, c 10`"""
    return ", ".join(f"{name} {by[name]}" for name in sorted(by))


def attachments(stage: Stage) -> list[Attachment]:
    """What the kernel lists on the demo's cgroup, at every hook that a mesh uses there."""
    from ebpfmesh import hooks
    from ebpfmesh.tiers.connect.attaching import HOOKS

    names = [*dict.fromkeys([*HOOKS.values(), "CGROUP_SKB_EGRESS"])]
    return [one for name in names for one in getattr(hooks, name).attached(stage.cgroup.path)]


def link_ids(stage: Stage) -> list[int | None]:
    """The kernel's ids of those links: a new link has a new id."""
    return [one.link_id for one in attachments(stage)]
