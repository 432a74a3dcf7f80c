"""`ebpfmesh decode --engine kernel`: the loaded BPF object shows what the library shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpfmesh.cli.main import main

INPUTS = {
    "http1": (
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 204 No Content\r\n\r\n",
    ),
    "redis": (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n", b"$5\r\nhello\r\n+PONG\r\n"),
}


@pytest.mark.kernel("loop")
@pytest.mark.parametrize("splits", ["0", "1,7,30", "every"])
@pytest.mark.parametrize("protocol", INPUTS)
def test_the_kernel_shows_what_the_library_shows(
    protocol: str, splits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for name, data in zip(("requests", "responses"), INPUTS[protocol], strict=True):
        (tmp_path / name).write_bytes(data)
        files.append(str(tmp_path / name))
    shown = {}
    for engine in ("native", "kernel"):
        words = ["--protocol", protocol, "--engine", engine, "--splits", splits, "--json", "--key", "00" * 16]
        assert main(["decode", *words, *files]) == 0
        shown[engine] = capsys.readouterr().out
    assert shown["kernel"] == shown["native"]
    assert len(shown["native"].splitlines()) > 5


@pytest.mark.kernel("loop")
def test_an_error_in_the_kernel_has_its_offset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"GET / HTTP/1.1\nHost: x\r\n\r\n")
    assert main(["decode", "--engine", "kernel", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == "ebpfmesh: error: http1 request at byte 14: bare lf\n"
