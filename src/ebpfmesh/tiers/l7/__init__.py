"""Tier 1, L7: what the clients of a service send is judged request by request, in the kernel, inside their own sendmsg().

``wire`` is the layout it shares with the headers of ``bpf/include/ebpfmesh`` (authorise, limit, reply, measure, enrol);
`ebpfmesh.policy.compile` turns a service's policy into table contents; ``numbers`` gives out elements and names;
``tables`` is the only writer of the maps; ``reach`` walks them and ``installed`` knows what is in force;
``reconcile`` applies a change so that no request sees half of it; ``workloads`` finds cgroups; ``loading`` brings the
objects in, ``attaching`` their programs to their hooks; ``tier`` composes these and takes over; ``sockets`` lists, frees
and destroys; ``draining`` is what a stop leaves; ``memory`` estimates, ``needs`` names the features, ``abilities`` what
the behaviour probes forbid, ``status`` reports.
"""
