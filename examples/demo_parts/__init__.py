"""The parts of examples/demo.py, which is where to begin reading.

balancing.py      acts: connections are balanced, a backend leaves, the agent is killed, another takes over
policy.py         acts: a denied path, a limited client, a trace, decisions and their explanation
configuration.py  the file that the agent follows, without policies and with them
stage.py          the private cgroup, network namespace and BPF file system, and every process on them
program.py        a process and the lines that it prints; load.py: one that makes requests
witnesses.py      what the servers saw
screen.py         headings, the live table; account.py: what was found
host.py           what the machine must have
server.py         a program: one HTTP server, Python's own http.server
client.py         a program: HTTP load by Python's own http.client, which knows nothing of a mesh
asking.py         a program: some requests on one connection, and what became of each
"""
