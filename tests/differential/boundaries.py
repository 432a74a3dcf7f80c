"""The rule against smuggling: where messages begin and end is what everybody reads, or the input is refused."""

from __future__ import annotations

from collections.abc import Iterable

from differential.messages import Message, Reading


def _shape(message: Message) -> tuple[bytes | None, int | None, bytes]:
    return message.method, message.status, message.body


def disputed(readings: dict[str, Reading]) -> str | None:
    """Two witnesses that read all of the input, and not the same number of messages in it; None if there are none."""
    whole = {name: r for name, r in readings.items() if not (r.error or r.switched or r.closed)}
    counts = {name: len(reading.complete) for name, reading in whole.items()}
    return f"read as different numbers of messages: {counts}" if len(set(counts.values())) > 1 else None


def contradictions(ours: Reading, readings: dict[str, Reading]) -> list[str]:
    """Where our reading and a witness's are not the same.

    Of messages that both read to the end, each must be the same. If neither refuses the input, all of them must be.
    Behind CONNECT and Upgrade ours decides nothing before the answer is seen (``before_answer``: undecodable).
    """
    found = []
    for name, theirs in readings.items():
        pairs = list(zip(map(_shape, ours.complete), map(_shape, theirs.complete), strict=False))
        if pairs and (theirs.switched or ours.switched or ours.error == "before_answer"):
            # what follows CONNECT or Upgrade is a body to one, and another protocol to the other
            pairs[-1] = ((*pairs[-1][0][:2], b""), (*pairs[-1][1][:2], b""))
        found += [
            f"message {at} of {name}: {other}, ours {one}"
            for at, (one, other) in enumerate(pairs)
            if one != other
        ]
        if ours.error or ours.switched or ours.closed or theirs.error or theirs.switched or theirs.closed:
            continue
        if len(ours.complete) != len(theirs.complete):
            found.append(f"{name} reads {len(theirs.complete)} messages, ours {len(ours.complete)}")
    return found


def readings(data: bytes, witnesses: Iterable[object]) -> dict[str, Reading]:
    """What each witness reads in the bytes of a client."""
    return {witness.name: witness.requests(data) for witness in witnesses}  # type: ignore[attr-defined]
