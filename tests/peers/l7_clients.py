"""Programs that are clients: each makes the same requests by its own library, and prints what came back.

Arguments: the base URL. A line for each response: status, length of the body, and its beginning.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

TARGETS = ("/a", "/b?x=1", "/admin/x", "/c", "/admin/up", "/d", "/echo", "/chunked", "/e")
BODY = b"0123456789" * 30_000


def method(target: str) -> tuple[str, bytes | None]:
    """How a target is asked for."""
    return ("POST", BODY) if target in ("/admin/up", "/echo", "/chunked") else ("GET", None)


def show(status: int, body: bytes) -> None:
    """One line."""
    print(status, len(body), body[:20])


def pieces() -> list[bytes]:
    """A body of unknown length."""
    return [BODY[at : at + 7000] for at in range(0, len(BODY), 7000)]


def with_http_client(url: str) -> None:
    """http.client, one connection."""
    import http.client
    from urllib.parse import urlsplit

    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    for target in TARGETS:
        name, body = method(target)
        if target == "/chunked":
            connection.request(name, target, body=iter(pieces()), encode_chunked=True)
        else:
            connection.request(name, target, body=body)
        response = connection.getresponse()
        show(response.status, response.read())


def with_requests(url: str) -> None:
    """requests, a session."""
    import requests

    with requests.Session() as session:
        for target in TARGETS:
            name, body = method(target)
            data = iter(pieces()) if target == "/chunked" else body
            response = session.request(name, url + target, data=data, timeout=10)
            show(response.status_code, response.content)


def with_urllib3(url: str) -> None:
    """urllib3, a pool that four threads share."""
    from concurrent.futures import ThreadPoolExecutor

    import urllib3

    def ask(target: str) -> tuple[int, bytes]:
        name, body = method(target)
        data = iter(pieces()) if target == "/chunked" else body
        response = pool.request(
            name, url + target, body=data, chunked=target == "/chunked", timeout=10, retries=False
        )
        return response.status, response.data

    with urllib3.PoolManager(maxsize=4) as pool, ThreadPoolExecutor(4) as threads:
        for status, body in threads.map(ask, TARGETS * 4):
            show(status, body)


def with_httpx(url: str) -> None:
    """httpx, a client."""
    import httpx

    with httpx.Client(timeout=10, trust_env=False) as client:
        for target in TARGETS:
            name, body = method(target)
            response = client.request(
                name, url + target, content=iter(pieces()) if target == "/chunked" else body
            )
            show(response.status_code, response.content)


def with_aiohttp(url: str) -> None:
    """aiohttp, several requests at a time."""
    import asyncio
    from collections.abc import AsyncIterator

    import aiohttp

    async def body_in_pieces() -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece

    async def ask(session: aiohttp.ClientSession, target: str) -> tuple[int, bytes]:
        name, body = method(target)
        data = body_in_pieces() if target == "/chunked" else body
        async with session.request(name, url + target, data=data) as response:
            return response.status, await response.read()

    async def main() -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
            for status, body in await asyncio.gather(*(ask(session, target) for target in TARGETS * 3)):
                show(status, body)

    asyncio.run(main())


def with_httpx_http2(url: str) -> None:
    """httpx with HTTP/2 from the first byte, all requests at a time on one connection."""
    import asyncio

    import httpx

    async def ask(client: httpx.AsyncClient, target: str) -> tuple[int, bytes]:
        name, body = method(target)
        try:
            response = await client.request(name, url + target, content=body)
        except httpx.LocalProtocolError:  # it goes on to send on a stream that was answered and is over
            return 0, b""
        return response.status_code, response.content

    async def main() -> None:
        async with httpx.AsyncClient(http1=False, http2=True, timeout=10, trust_env=False) as client:
            for status, body in await asyncio.gather(*(ask(client, target) for target in TARGETS * 3)):
                show(status, body)

    asyncio.run(main())


CLIENTS: dict[str, Callable[[str], None]] = {
    "http.client": with_http_client,
    "requests": with_requests,
    "urllib3": with_urllib3,
    "httpx": with_httpx,
    "aiohttp": with_aiohttp,
}

HTTP2_CLIENTS: dict[str, Callable[[str], None]] = {"httpx": with_httpx_http2}

if __name__ == "__main__":
    clients = HTTP2_CLIENTS if "--http2" in sys.argv else CLIENTS
    clients[sys.argv[1]](sys.argv[2])
