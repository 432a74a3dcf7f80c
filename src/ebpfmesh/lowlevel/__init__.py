"""The dangerous layer: libbpf through cffi, and raw system calls. Everything above goes through these modules.

``libbpf`` loads ``libbpf.so.1`` at its first use and turns its failures into our errors; ``bpf`` makes the bpf(2)
calls that libbpf 1.1 lacks (anchors and revisions); ``netlink`` and ``sock_diag`` speak netlink. Nothing here keeps policy.
"""
