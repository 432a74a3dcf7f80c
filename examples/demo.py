"""A mesh at work on this machine: `make demo`, or `sudo python examples/demo.py`. Takes about 20 seconds.

HTTP servers, unmodified clients, two services, and an agent that is reconfigured and killed while requests are
flowing: the kernel balances, denies, limits and traces them. Everything happens in a cgroup and a network namespace
of the demo's own, and is gone afterwards.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))  # for demo_parts, also under `python -m examples.demo`

from demo_parts import host
from demo_parts.account import Account
from demo_parts.screen import Screen

if TYPE_CHECKING:
    from demo_parts.stage import Stage


def play(stage: Stage, screen: Screen, account: Account) -> None:
    """The acts, in order. Each prints what it does and notes what it found."""
    from demo_parts.balancing import Balancing
    from demo_parts.policy import Policy

    balancing, policy = Balancing(stage, screen, account), Policy(stage, screen, account)
    agent = balancing.begin()
    balancing.unmodified_clients()
    balancing.start_load()
    balancing.remove_a_backend(agent)
    policy.begin(agent)
    policy.denied()
    policy.limited()
    policy.trace()
    policy.explain()
    balancing.kill(agent, policy.without_agent)
    agent = balancing.take_over()
    balancing.put_it_back(agent)
    balancing.stop(agent)


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
    screen, account, begin = Screen(), Account(), time.monotonic()
    try:
        with stage() as made:
            play(made, screen, account)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything was removed", file=sys.stderr)
        return 130
    except (EbpfMeshError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    screen.account(account)
    took = time.monotonic() - begin
    screen.say(f"{took:.0f} seconds; {len(account.failed)} of {len(account.findings)} findings failed")
    if options.account:
        account.write(options.account)
    return 1 if account.failed else 0


def interrupted(_number: int, _frame: object) -> None:
    """End through every `with`; a second Ctrl-C must not interrupt the cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
