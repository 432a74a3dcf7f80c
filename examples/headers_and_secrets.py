"""Names of headers that you register, and a secret that is compared and never seen.

python examples/headers_and_secrets.py
"""

from __future__ import annotations

import secrets

from ebpfmesh import l7
from ebpfmesh.l7.http1 import Request

RECEIVED = b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Tenant: blue\r\nAuthorization: Bearer 7c1d\r\n\r\n"

config = l7.Config(names=("x-tenant",), key=secrets.token_bytes(16))
connection = l7.parser("http1").connection(config)
[request, end] = connection.feed(l7.REQUEST, RECEIVED)
assert isinstance(request, Request)
print(request.registered)

known = b"GET / HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer 7c1d\r\n\r\n"
[expected, end] = l7.parser("http1").connection(config).feed(l7.REQUEST, known)
assert isinstance(expected, Request)
print("the token is the known one:", request.authorization == expected.authorization)
