"""Tier 0, connect: a connect() or sendmsg() to a service becomes one to a backend, in the kernel, before a packet exists.

``wire`` is the layout it shares with ``bpf/connect.bpf.c``; ``compile`` turns a service of the model into frontends
and slot tables; ``ids`` and ``extents`` give out numbers; ``tables`` is the only writer of the kernel's maps;
``installed`` reads them back; ``draft`` works a change out and ``reconcile`` applies it so that nobody sees half of it;
``attaching`` brings the programs to their hooks; ``tier`` loads, composes these and takes over; ``sockets`` lists and
destroys; ``memory`` estimates, ``needs`` names the features, ``status`` reports.
"""
