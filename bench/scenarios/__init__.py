"""Every scenario, in the order in which they run: the short ones first."""

from bench.result import Scenario
from bench.scenarios import (
    apply_time,
    connect_cost,
    connection_per_request,
    import_time,
    keep_alive,
    memory,
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        import_time.SCENARIO,
        memory.SCENARIO,
        apply_time.SCENARIO,
        connect_cost.SCENARIO,
        keep_alive.SCENARIO,
        connection_per_request.SCENARIO,
    )
}
