"""Acts: a denied path, a limited client, a trace through two services, decisions and why; with an agent and without."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from demo_parts.configuration import CRAWLER, POLICY, SERVICE, STOCK
from demo_parts.witnesses import Witnesses

if TYPE_CHECKING:
    from demo_parts.account import Account
    from demo_parts.program import Program
    from demo_parts.screen import Screen
    from demo_parts.stage import Stage

MINE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Policy:
    """Each act asks, says what came back, what the servers saw of it, and what the kernel's log says."""

    def __init__(self, stage: Stage, screen: Screen, account: Account) -> None:
        self.stage, self.screen, self.found = stage, screen, account.found
        self.servers = Witnesses(stage.servers)

    def begin(self, agent: Program) -> None:
        """A second service, policies for both, and somebody who reads the log."""
        self.screen.heading("A policy is written into the file: who may ask what, and how often")
        self.stage.start_server("stock")
        self.screen.quote(POLICY)
        printed, begin = len(agent.lines), time.monotonic()
        self.stage.write_configuration("ac", POLICY)
        agent.wait_for("applied", after=printed)
        took = time.monotonic() - begin
        text = f"the policies were in force {took * 1e3:.0f} ms after they were written, under load"
        self.screen.say(
            f"in force after {took * 1e3:.0f} ms; the kernel's programs for HTTP were loaded meanwhile"
        )
        self.found("policy", took, text, True)
        for line in agent.lines[printed:]:  # what this kernel cannot bear is left out, and the agent says why
            if line.startswith("notice"):
                self.screen.say(line)
        self.log = self.stage.start_command("observe", "demo", "--earlier")

    def denied(self) -> None:
        """By path, however it is written; and by who asks."""
        self.screen.heading("A denied path: the kernel answers, inside the client's own send()")
        told, before = len(self.log.lines), self.servers.seen()
        paths = ("/cups", "/admin/users", "/x/..//%61dmin/users", "/cups")
        answers = self.stage.ask(*paths)
        for path, (status, _, _, body) in zip(paths, answers, strict=True):
            self.screen.say(f"GET {path:<24} {status}  {body}")
        ports = {port for _, port, _, _ in answers}
        self.screen.say(f"all on one connection, from port {', '.join(ports)}, which is as good as before")
        [(foreign, *_)] = self.stage.ask("/cups", host=STOCK)
        self.screen.say(f"GET http://{STOCK}/cups   {foreign}  only the workload web may ask stock")
        self.tell(told, 3)
        saw = [str(one["path"]) for one in self.servers.since(before, 2)]
        self.screen.say(f"what the servers saw: {', '.join(f'GET {path}' for path in saw)}")
        right = [status for status, *_ in answers] == ["200", "403", "403", "200"] and foreign == "403"
        text = (
            f"3 requests were denied, and {len(saw) - 2} of them reached a server; their connection went on"
        )
        self.found("denied", len(saw) - 2, text, right and saw == ["/cups", "/cups"] and len(ports) == 1)

    def limited(self) -> None:
        """Who a client is, its cgroup says; nothing that it sends."""
        self.screen.heading(
            "A limited client: two at once and 2/s for the workload crawler, as many as they like for others"
        )
        told = len(self.log.lines)
        others, crawler = self.rush()
        self.tell(told, crawler["429"], shown=2)
        admitted, refused = crawler["200"], crawler["429"]
        text = f"of 12 requests the crawler had {admitted}, and {refused} times 429; the shopper had {others['200']}"
        self.found(
            "limited", refused, text, others["200"] == 12 and 4 <= admitted < 12 and admitted + refused == 12
        )

    def rush(self) -> tuple[Counter[str], Counter[str]]:
        """12 requests of a process in the mesh's cgroup, 12 of one in the crawler's; what became of them."""
        found = []
        for name, crawler in (("shopper", False), (CRAWLER, True)):
            answers = self.stage.ask(*["/cups"] * 12, crawler=crawler)
            again = {after for _, _, after, _ in answers if after != "-"}
            advice = f"  Retry-After: {', '.join(sorted(again))}" if again else ""
            self.screen.say(f"{name:<9} {' '.join(status for status, *_ in answers)}{advice}")
            found.append(Counter(status for status, *_ in answers))
        return found[0], found[1]

    def trace(self) -> None:
        """The servers hand on the header that came, as programs do; everything else the mesh did."""
        self.screen.heading("A trace through two services: client -> web -> stock")
        new = self.spans()
        mine = self.spans(MINE)
        same = all(len({trace for trace, _ in one}) == 1 for one in (new, mine)) and mine[0][0] == MINE[3:35]
        spans = [span for _, span in (*new, *mine)]
        text = f"{len(spans)} spans of 2 traces, each trace the same in both services, each span another"
        self.found("traced", len(spans), text, same and len({*spans, MINE[36:52]}) == 5)

    def spans(self, sent: str | None = None) -> list[tuple[str, str]]:
        """(trace, span) as web and as stock saw them, of one order."""
        before = self.servers.seen()
        header = ("--header", f"traceparent: {sent}") if sent else ()
        self.stage.request(f"http://{SERVICE}/order", *header, inside=True)
        self.screen.say(f"{'a client sends':<18} {sent or 'no traceparent'}")
        found = []
        for one in self.servers.since(before, 2):
            who = one["server"] if one["server"] == "stock" else f"web ({one['server']})"
            self.screen.say(f"{f'  {who} receives':<18} {one['traceparent']}")
            _, trace, span, _ = (one["traceparent"] or "---").split("-")
            found.append((trace, span))
        return found

    def explain(self) -> None:
        """By the file alone: neither root nor a kernel is asked."""
        words = ("--service", "web", "--from", CRAWLER, "GET", "/x/..//%61dmin/users")
        self.screen.heading(f"Why? $ ebpfmesh explain mesh.toml {' '.join(words)}")
        said = self.stage.command("explain", str(self.stage.file), *words)
        self.screen.quote(said)
        self.found("explained", len(said.splitlines()), said.splitlines()[0], "no-admin denies" in said)

    def without_agent(self) -> None:
        """Nobody in user space is needed for any of it."""
        told = len(self.log.lines)
        [(denied, *_)] = self.stage.ask("/admin/users")
        self.screen.say(f"GET /admin/users  {denied}")
        _, crawler = self.rush()
        spans = self.spans()
        lines = self.tell(told, 1 + crawler["429"], shown=1)
        traced = len(spans) == 2 and spans[0][0] == spans[1][0]
        holds = denied == "403" and crawler["429"] > 0 and traced and len(lines) == 1 + crawler["429"]
        text = f"with the agent dead, the kernel refused {1 + crawler['429']} requests, traced and told as before"
        self.found("enforced", 1 + crawler["429"], text, holds)

    def tell(self, told: int, expected: int, shown: int = 3) -> list[str]:
        """What `ebpfmesh observe` said since; the first lines of it are shown."""
        lines = self.log.until(lambda lines: len(lines) >= expected, after=told)
        more = f"\n… {len(lines) - shown} more" if len(lines) > shown else ""
        self.screen.say("the log, as `ebpfmesh observe demo` shows it:")
        self.screen.quote("\n".join(lines[:shown]) + more)
        return lines
