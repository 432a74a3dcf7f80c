"""The measurements of ebpfmesh: `make bench`, or `python bench/run.py --help`.

run.py         chooses scenarios, writes results/*.json, bars.json and the plots
scenarios/     one file per scenario: what is measured, against what, and its bars
rounds.py      interleaved rounds, ratios per round, median and spread
quiet.py       who else uses the machine meanwhile
turns.py       loads in turn, and which rounds count where the host takes processors away
ground.py      the private network namespace and cgroups that everything runs in
servers.py     nginx, HAProxy and Envoy, started and ended by pid
sidecars.py    nginx, HAProxy and Envoy as HTTP proxies with the features of the L7 tier
l7.py          who takes part in the scenarios of the L7 tier, and in which order
decisions.py   services of any number of rules, and the kernel's decision alone
processors.py  processor time and memory, by the kernel's accounts
grpc_calls.py  grpcio's client and server
traffic.py     what parsers are given to read
readers.py     who reads HTTP/1 in Python: ebpfmesh, and users of httptools and h11
compiled.py    the C programs of native/, compiled as the native library is
wrk.py         the load generator, and what it prints; h2load.py for HTTP/2
bars.py        what was promised, and whether it holds
machine.py     the machine that the numbers belong to
plots.py       one plain style for every picture
"""
