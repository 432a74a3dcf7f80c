"""The measurements of ebpfmesh: `make bench`, or `python bench/run.py --help`.

run.py         chooses scenarios, writes results/*.json, bars.json and the plots
scenarios/     one file per scenario: what is measured, against what, and its bars
rounds.py      interleaved rounds, ratios per round, median and spread
quiet.py       who else uses the machine meanwhile
ground.py      the private network namespace and cgroups that everything runs in
servers.py     nginx, HAProxy and Envoy, started and ended by pid
traffic.py     what parsers are given to read
readers.py     who reads HTTP/1 in Python: ebpfmesh, and users of httptools and h11
compiled.py    the C programs of native/, compiled as the native library is
wrk.py         the load generator, and what it prints
bars.py        what was promised, and whether it holds
machine.py     the machine that the numbers belong to
plots.py       one plain style for every picture
"""
