"""Request smuggling lives on two parsers that read the same bytes differently. Whatever one independent parser reads as two
requests and another as one is an error of ours; and what ours reads, each of them that reads it reads the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from differential import smuggling
from differential.boundaries import contradictions, disputed, readings
from differential.http1_strategies import Mutation, mutants, mutate, mutations, pipelines, responses
from differential.http1_witnesses import ALL, STRICT
from differential.ours import Ours, decode
from differential.smuggling import Payload

OURS = Ours()
BOUNDED = settings(max_examples=300, derandomize=True, deadline=None, database=None)


def judged(data: bytes) -> list[str]:
    """What is wrong with our reading of the bytes of a client, by the readings of the others."""
    ours, theirs = OURS.requests(data), readings(data, ALL)
    dispute = disputed(theirs)
    found = contradictions(ours, theirs)
    if dispute and not ours.error:
        found.append(dispute)
    return [f"{data!r} (ours: {ours.error}): {one}" for one in found]


@pytest.mark.parametrize("payload", smuggling.REQUESTS, ids=lambda payload: payload.name)
def test_a_payload_that_parsers_dispute_is_refused(payload: Payload) -> None:
    assert judged(payload.data) == []


@pytest.mark.parametrize("payload", smuggling.REQUESTS, ids=lambda payload: payload.name)
def test_what_rfc_9112_refuses_is_refused_and_nothing_else(payload: Payload) -> None:
    if payload.refuse is None:
        pytest.skip("it may be refused or not: docs/http1-conformance.md")
    reading = OURS.requests(payload.data)
    assert bool(reading.error) == payload.refuse, reading
    if payload.refuse:
        assert b"/smuggled" not in [message.target for message in reading.messages]


@pytest.mark.parametrize("payload", smuggling.RESPONSES, ids=lambda payload: payload.name)
def test_a_response_that_parsers_dispute_is_refused(payload: Payload) -> None:
    methods = [b"GET", b"GET"]
    ours = OURS.responses(payload.data, methods)
    assert bool(ours.error) == payload.refuse, ours
    assert contradictions(ours, {w.name: w.responses(payload.data, methods) for w in STRICT}) == []


@BOUNDED
@given(pipelines, mutations)
def test_mutated_requests_are_read_as_by_everybody_or_refused(data: bytes, changes: list[Mutation]) -> None:
    assert judged(mutate(data, changes)) == []


def test_many_mutations_of_the_payloads_are_read_as_by_everybody_or_refused() -> None:
    originals = [payload.data for payload in smuggling.REQUESTS]
    wrong = [one for data in mutants(1, 6000, originals) for one in judged(data)]
    assert wrong == []


@BOUNDED
@given(responses(), mutations)
def test_mutated_responses_are_read_as_by_everybody_or_refused(
    response: tuple[bytes, bytes], changes: list[Mutation]
) -> None:
    data, method = response
    data = mutate(data, changes)
    witnesses = [w for w in STRICT if w.name == "h11" or method != b"HEAD"]
    theirs = {w.name: w.responses(data, [method]) for w in witnesses}
    assert contradictions(OURS.responses(data, [method]), theirs) == []


@settings(BOUNDED, max_examples=100)
@given(pipelines, mutations)
def test_where_it_was_split_makes_no_difference_to_mutated_requests(
    data: bytes, changes: list[Mutation]
) -> None:
    data = mutate(data, changes)
    whole = decode("http1", [(0, data), (0, None)]).reading(0)
    bytewise = decode("http1", [*((0, data[at : at + 1]) for at in range(len(data))), (0, None)]).reading(0)
    assert bytewise == whole
