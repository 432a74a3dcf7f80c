"""Parsers of application protocols: bytes in, typed events out. Pure: no sockets, no kernel."""
