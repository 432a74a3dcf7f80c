"""Behaviour probes: what this kernel really does with sockets that are enrolled as the L7 tier enrols them.

    found = behaviour.measure()
    found.disabled                      {"local_reply"}: refusals are then EACCES at send()
    for one in found.failing: ...       name, what was seen, the remedy

A feature of `ebpfmesh.features` says whether a call exists; these say whether ordinary programs can live with its effect.
Each probe is a file here: it does the thing with a connection of its own, in a throw-away cgroup, through a small object
that holds no policy (``bpf/behaviour.bpf.c``). ``catalogue`` lists them, ``site`` is where they are made, ``trial`` makes
one, ``measuring`` makes all in a process of their own, ``memory`` keeps the answers for one boot.
"""

from ebpfmesh.tiers.l7.behaviour.measuring import measure
from ebpfmesh.tiers.l7.behaviour.memory import remember, remembered
from ebpfmesh.tiers.l7.behaviour.outcome import Ability, Behaviour, Outcome

__all__ = ["Ability", "Behaviour", "Outcome", "measure", "remember", "remembered"]
