"""Some requests, one after the other on one connection; for each a line: status, local port, Retry-After or "-", body.

Of a request that its own send() refuses, the error is what stands there; the next one has a new connection.

`python asking.py HOST PATH...`
"""

from __future__ import annotations

import errno
import sys
from http.client import HTTPConnection

connection = HTTPConnection(sys.argv[1], timeout=5)
for path in sys.argv[2:]:
    if connection.sock is None:
        connection.connect()
    port = connection.sock.getsockname()[1]
    try:
        connection.request("GET", path)
    except PermissionError as error:
        print(errno.errorcode[error.errno], port, "-", error.strerror)
        connection.close()
        continue
    response = connection.getresponse()
    print(response.status, port, response.headers["Retry-After"] or "-", response.read().decode().strip())
