"""Parsers of application protocols: bytes in, typed events out. Pure: no sockets, no kernel.

connection = l7.parser("http1").connection()
for event in connection.feed(l7.REQUEST, data):
    ...
connection.end(l7.REQUEST)
"""

from ebpfmesh.errors import ParseError, ParserFaultError
from ebpfmesh.l7.connection import Connection
from ebpfmesh.l7.contract import (
    REQUEST,
    RESPONSE,
    Code,
    Config,
    Direction,
    Drop,
    Error,
    Escalate,
    More,
    Op,
    Pass,
    RawEvent,
    RecordFlag,
    Reply,
    Step,
)
from ebpfmesh.l7.detect import Detector, detect
from ebpfmesh.l7.events import Data, Dropped, End, Event, Replied, Tunnel, Undecodable
from ebpfmesh.l7.parser import CoreParser, Parser, PythonParser
from ebpfmesh.l7.plan import Binary, Kind, Number, Text
from ebpfmesh.l7.registry import REGISTRY, Status
from ebpfmesh.l7.vectors import Vector, run_vectors

parser, parsers, register = REGISTRY.parser, REGISTRY.parsers, REGISTRY.register

__all__ = [
    "REQUEST",
    "RESPONSE",
    "Binary",
    "Code",
    "Config",
    "Connection",
    "CoreParser",
    "Data",
    "Detector",
    "Direction",
    "Drop",
    "Dropped",
    "End",
    "Error",
    "Escalate",
    "Event",
    "Kind",
    "More",
    "Number",
    "Op",
    "ParseError",
    "Parser",
    "ParserFaultError",
    "Pass",
    "PythonParser",
    "RawEvent",
    "RecordFlag",
    "Replied",
    "Reply",
    "Status",
    "Step",
    "Text",
    "Tunnel",
    "Undecodable",
    "Vector",
    "detect",
    "parser",
    "parsers",
    "register",
    "run_vectors",
]
