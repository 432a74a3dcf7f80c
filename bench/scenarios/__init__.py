"""Every scenario, in the order in which they run: the short ones first."""

from bench.result import Scenario
from bench.scenarios import (
    apply_time,
    connect_cost,
    connection_per_request,
    hpack_decoding,
    http1_python,
    http2_python,
    import_time,
    keep_alive,
    l7_cpu_memory,
    l7_http2,
    l7_keep_alive,
    l7_local_reply,
    l7_rules,
    memory,
    parser_cores,
    verifier_cost,
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        import_time.SCENARIO,
        verifier_cost.SCENARIO,
        http1_python.SCENARIO,
        http2_python.SCENARIO,
        parser_cores.SCENARIO,
        hpack_decoding.SCENARIO,
        memory.SCENARIO,
        apply_time.SCENARIO,
        connect_cost.SCENARIO,
        keep_alive.SCENARIO,
        connection_per_request.SCENARIO,
        l7_keep_alive.SCENARIO,
        l7_local_reply.SCENARIO,
        l7_rules.SCENARIO,
        l7_http2.SCENARIO,
        l7_cpu_memory.SCENARIO,
    )
}
