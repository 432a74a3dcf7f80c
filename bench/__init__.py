"""The measurements of ebpfmesh: `make bench`, or `python bench/run.py --help`.

run.py         chooses scenarios, writes results/*.json, bars.json and the plots
scenarios/     one file per scenario: what is measured, against what, and its bars
rounds.py      interleaved rounds, ratios per round, median and spread
quiet.py       who else uses the machine meanwhile
ground.py      the private network namespace and cgroups that everything runs in
servers.py     nginx, HAProxy and Envoy, started and ended by pid
wrk.py         the load generator, and what it prints
bars.py        what was promised, and whether it holds
machine.py     the machine that the numbers belong to
plots.py       one plain style for every picture
"""
