"""The parts of examples/demo.py, which is where to begin reading.

host.py      what the machine must have
stage.py     the private cgroup, network namespace and BPF file system, and every process on them
server.py    a program: one HTTP backend, Python's own http.server
client.py    a program: HTTP load by Python's own http.client, which knows nothing of a mesh
screen.py    headings, the live table, the account
"""
