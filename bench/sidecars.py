"""nginx, HAProxy and Envoy, each as the one sidecar in front of a backend, with the features that the mesh has on.

All of them refuse /admin and what is below it, limit at a rate that is never reached (and /limited at one that always is),
set a traceparent where the client sent none, keep connections to the backend open, count as they do by default, and write
no access log. Each has as many workers or threads as there are cores, which is what each takes if nothing is said.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.servers import Address, program, running

if TYPE_CHECKING:
    from bench.ground import Ground

RATE = 1_000_000
"""Requests a second that everybody lets through: more than anybody here reaches."""

METHOD = (
    "Each sidecar is one hop in front of the backend and keeps its connections to it open, access log off, as many workers "
    "as cores. nginx: `return 403` in location /admin/, limit_req, a traceparent of $request_id by maps, stub_status. "
    "HAProxy (mode http): `http-request return status 403`, a stick-table with http_req_rate, set-header of uuid() without "
    "dashes, its counters as they always are. Envoy: the filters rbac and local_ratelimit, request_headers_to_add of "
    "%REQ(x-request-id)% if absent, which has a traceparent's name and not its form: no tracer runs; its statistics."
)


@contextmanager
def nginx(
    ground: Ground, at: Address, backend: Address, *, workers: int
) -> Iterator[subprocess.Popen[bytes]]:
    """nginx as an HTTP/1 proxy."""
    directory = ground.room("nginx-sidecar")
    paths = "\n".join(
        f"  {kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes {workers}; pid {directory}/pid; error_log {directory}/error.log crit;\n"
        f"events {{ worker_connections 8192; }}\nhttp {{\n{paths}\n{_nginx_http(at, backend)}}}\n"
    )
    command = [program("nginx"), "-p", str(directory), "-e", f"{directory}/error.log"]
    with running(ground, [*command, "-c", str(configuration)], directory, "plain", [at]) as process:
        yield process


def _nginx_http(at: Address, backend: Address) -> str:
    proxied = (
        "proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ''; "
        "proxy_set_header Host $host; proxy_set_header traceparent $mesh_traceparent;"
    )
    return f"""
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300;
  limit_req_zone $server_name zone=all:1m rate={RATE}r/s;
  limit_req_zone $server_name zone=tight:1m rate=1r/m;
  limit_req_status 429;
  map $request_id $mesh_span {{ "~^(?<first>.{{16}})" $first; }}
  map $http_traceparent $mesh_traceparent {{ "" "00-$request_id-$mesh_span-01"; default $http_traceparent; }}
  upstream backend {{ server {backend[0]}:{backend[1]}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen {at[0]}:{at[1]} backlog=4096; server_name web;
    location = /status {{ stub_status; }}
    location = /admin {{ return 403; }}
    location /admin/ {{ return 403; }}
    location = /limited {{ limit_req zone=tight; {proxied} }}
    location / {{ limit_req zone=all burst=100000 nodelay; {proxied} }}
  }}
"""


@contextmanager
def haproxy(ground: Ground, at: Address, backend: Address) -> Iterator[subprocess.Popen[bytes]]:
    """HAProxy as an HTTP/1 proxy, as many threads as cores (its default)."""
    directory = ground.room("haproxy-sidecar")
    configuration = directory / "haproxy.cfg"
    configuration.write_text(
        f"""
global
  maxconn 2000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
backend all
  stick-table type integer size 1k expire 60s store http_req_rate(1s)
backend tight
  stick-table type integer size 1k expire 120s store http_req_rate(60s)
frontend front
  bind {at[0]}:{at[1]}
  http-request return status 403 if {{ path /admin }} || {{ path_beg /admin/ }}
  http-request track-sc1 int(1) table tight if {{ path /limited }}
  http-request return status 429 if {{ path /limited }} {{ sc1_http_req_rate(tight) gt 1 }}
  http-request track-sc0 int(1) table all
  http-request deny deny_status 429 if {{ sc0_http_req_rate(all) gt {RATE} }}
  http-request set-var(txn.id) uuid(4),regsub(-,,g) unless {{ req.hdr(traceparent) -m found }}
  http-request set-header traceparent 00-%[var(txn.id)]-%[var(txn.id),bytes(0,16)]-01 if {{ var(txn.id) -m found }}
  default_backend back
backend back
  server web {backend[0]}:{backend[1]}
"""
    )
    command = [program("haproxy"), "-db", "-f", str(configuration)]
    with running(ground, command, directory, "plain", [at]) as process:
        yield process


@contextmanager
def envoy(
    ground: Ground, at: Address, backend: Address, *, concurrency: int, http2: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Envoy's HTTP connection manager; ``http2``: by prior knowledge, on both sides. No admin port, no hot restart."""
    directory = ground.room("envoy-sidecar")
    configuration = directory / "envoy.json"
    configuration.write_text(json.dumps(envoy_bootstrap(at, backend, http2=http2)))
    command = [program("envoy"), "-c", str(configuration), "--concurrency", str(concurrency)]
    command += ["--disable-hot-restart", "-l", "error"]
    with running(ground, command, directory, "plain", [at]) as process:
        yield process


def envoy_bootstrap(at: Address, backend: Address, *, http2: bool) -> dict[str, Any]:
    """The static configuration: one listener, one cluster."""
    manager = {
        "@type": _type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "codec_type": "HTTP2" if http2 else "HTTP1",
        "http_filters": [
            {"name": "rbac", "typed_config": _deny_admin()},
            {"name": "envoy.filters.http.local_ratelimit", "typed_config": _rate_limit(RATE, "1s")},
            {"name": "router", "typed_config": {"@type": _type("filters.http.router.v3.Router")}},
        ],
        "route_config": {"virtual_hosts": [_virtual_host()]},
    }
    cluster: dict[str, Any] = {
        "name": "backend",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket_address(backend)}}]}],
        },
    }
    if http2:
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        cluster["typed_extension_protocol_options"] = {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    listener = {
        "name": "front",
        "address": _socket_address(at),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{name}"


def _socket_address(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address[0], "port_value": address[1]}}


def _deny_admin() -> dict[str, Any]:
    paths = [{"url_path": {"path": {"exact": "/admin"}}}, {"url_path": {"path": {"prefix": "/admin/"}}}]
    policy = {"permissions": [{"or_rules": {"rules": paths}}], "principals": [{"any": True}]}
    return {
        "@type": _type("filters.http.rbac.v3.RBAC"),
        "rules": {"action": "DENY", "policies": {"no-admin": policy}},
    }


def _rate_limit(tokens: int, interval: str) -> dict[str, Any]:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "@type": _type("filters.http.local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": interval},
        "filter_enabled": always,
        "filter_enforced": always,
    }


def _virtual_host() -> dict[str, Any]:
    to_backend = {"cluster": "backend"}
    tight = {"envoy.filters.http.local_ratelimit": _rate_limit(1, "60s")}
    traceparent = {
        "header": {"key": "traceparent", "value": "00-%REQ(x-request-id)%-01"},
        "append_action": "ADD_IF_ABSENT",
    }
    return {
        "name": "web",
        "domains": ["*"],
        "request_headers_to_add": [traceparent],
        "routes": [
            {"match": {"path": "/limited"}, "route": to_backend, "typed_per_filter_config": tight},
            {"match": {"prefix": "/"}, "route": to_backend},
        ],
    }
