"""Some requests, one after the other on one connection; for each a line: status, local port, Retry-After or "-", body.

`python asking.py HOST PATH...`
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection

connection = HTTPConnection(sys.argv[1], timeout=5)
for path in sys.argv[2:]:
    connection.request("GET", path)
    port = connection.sock.getsockname()[1]
    response = connection.getresponse()
    print(response.status, port, response.headers["Retry-After"] or "-", response.read().decode().strip())
