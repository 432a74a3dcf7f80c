"""The compiled tables, as the kernel reads them, against the reference model: random policies, clients and requests."""

from __future__ import annotations

import os
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpfmesh.errors import CapacityError
from ebpfmesh.identity import cgroup_path
from ebpfmesh.policy import Config, render, wire
from ebpfmesh.policy.compile import cgroups, compile_service
from ebpfmesh.policy.reference import Client, Reason, Request, decide
from policy_strategies import clients, configs, requests, services
from table_interpreter import Interpreter, Shelf

KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
EXAMPLES = int(os.environ.get("EBPFMESH_EXAMPLES", "120"))


class Tables:
    """A configuration's one service, compiled, and asked as the kernel asks it."""

    def __init__(self, config: Config) -> None:
        self.config, self.service = config, config.services[0]
        self.shelf = Shelf()
        self.places = {path: self.shelf.named("workload", name) for name, path in cgroups(config).items()}
        compiled = compile_service(self.service, config, self.shelf, key=KEY, identities=7)
        self.kernel = Interpreter(compiled, self.shelf, KEY)

    def policy(self, client: Client) -> int:
        """As ``l7_source()``."""
        path = next((one for one in cgroup_path.upwards(client.cgroup) if one in self.places), None)
        packed = None
        if client.address is not None:
            address = ip_address(client.address)
            packed = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
        return self.kernel.policy(self.places[path] if path else 0, packed, client.port or 0)


def agree(
    tables: Tables, client: Client, request: Request | None, exhausted: frozenset[str], struck: frozenset[str]
) -> None:
    """Both say the same, to the last bit that they both tell."""
    expected = decide(
        tables.config,
        tables.service,
        client,
        request,
        exhausted=exhausted,
        strikes=lambda fault: fault.name in struck,
    )
    found = tables.kernel.decide(
        tables.policy(client), request, exhausted.__contains__, lambda name, argument: name in struck
    )
    assert found[:-1] == (
        expected.allowed, expected.reason, expected.rule, expected.audited, expected.route, expected.limits, expected.faults
    ), (expected, [str(step) for step in expected.why])  # fmt: skip
    if expected.reply is None:
        assert found.reply == 0 or not expected.allowed
    else:
        retries = expected.reason is Reason.LIMITED
        rows = render.render(expected.reply, retries=retries).rows
        assert tuple(tables.shelf.rows["l7_replies"][found.reply + at] for at in range(4)) == tuple(rows)


names = st.frozensets(st.sampled_from(["limit-0", "limit-1", "fault-0", "fault-1"]), max_size=3)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(configs(), st.data())
def test_the_tables_say_what_the_model_says(config: Config, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ebpfmesh.policy.compile.draft.EXACT_IN_WALK", data.draw(st.sampled_from([0, 64])))
        try:
            tables = Tables(config)
        except CapacityError:
            return
    for _ in range(12):
        agree(
            tables,
            data.draw(clients),
            data.draw(requests(tables.service)),
            data.draw(names),
            data.draw(names),
        )


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs(services(l7=False)), st.data())
def test_the_same_of_connections_alone(config: Config, data: st.DataObject) -> None:
    tables = Tables(config)
    assert tables.kernel.protocol == wire.Protocol.OPAQUE
    for _ in range(12):
        agree(tables, data.draw(clients), None, frozenset(), frozenset())
