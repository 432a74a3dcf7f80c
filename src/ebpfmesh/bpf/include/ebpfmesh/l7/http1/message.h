/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A head is complete: what kind of message it begins, how its body is framed (RFC 9112 section 6.3), whether the connection
 * persists (section 9.3), and which request a response answers (section 9.2). */
#ifndef EBPFMESH_L7_HTTP1_MESSAGE_H
#define EBPFMESH_L7_HTTP1_MESSAGE_H

#include "state.h"

L7_INLINE int http1_refuse(struct http1_walk *walk, __u32 code)
{
	return l7_error(walk->record, code, walk->half->at);
}

/* What is to be known about every head. Sets *framing, and returns a code if the headers contradict one another. */
L7_INLINE __u32 http1_framing(struct http1_walk *walk, __u32 *framing)
{
	struct http1_half *half = walk->half;
	__u32 seen = half->seen;

	*framing = HTTP_NO_BODY;
	if (seen & HTTP1_SEEN_CODING) {
		if (seen & HTTP1_VERSION_0)
			return HTTP1_BAD_TRANSFER_ENCODING;
		if (!(seen & HTTP1_SEEN_CHUNKED) &&
		    !http1_allows(walk, HTTP1_ALLOW_ANY_CODING | HTTP1_ALLOW_LENGTH_AND_CODING))
			return HTTP1_BAD_TRANSFER_ENCODING;
		*framing = seen & HTTP1_SEEN_CHUNKED ? HTTP_CHUNKED : HTTP_TO_CLOSE;
		half->length = 0;
	} else if (seen & HTTP1_SEEN_LENGTH) {
		*framing = half->length ? HTTP_BY_LENGTH : HTTP_NO_BODY;
		l7_set_number(walk->record, HTTP_CONTENT_LENGTH, half->length);
	}
	return 0;
}

/* Connection options that count in this version (RFC 9110 section 7.8, RFC 9112 section 9.3). */
L7_INLINE void http1_persistence(struct http1_walk *walk, __u32 framing)
{
	struct http1_half *half = walk->half;
	__u32 old = half->seen & HTTP1_VERSION_0;

	if (old || !(half->seen & HTTP1_SEEN_UPGRADE))
		half->connection &= ~HTTP_UPGRADES;
	if (old)
		half->connection &= ~HTTP_EXPECTS;
	if (!(half->connection & HTTP_CLOSE) && (!old || half->connection & HTTP_KEEP_ALIVE) &&
	    framing != HTTP_TO_CLOSE)
		half->connection |= HTTP_PERSISTS;
	l7_set_number(walk->record, HTTP_CONNECTION, half->connection);
	l7_set_number(walk->record, HTTP_FRAMING, framing);
}

/* The answer for a head whose message goes on as framing says. */
L7_INLINE int http1_tell(struct http1_walk *walk, __u16 kind, __u32 framing)
{
	struct http1_half *half = walk->half;
	struct l7_record *record = walk->record;
	__u64 head = half->at - walk->window->start;

	record->kind = kind;
	if (!(half->connection & HTTP_PERSISTS) && kind != HTTP_INTERIM) {
		record->flags |= L7_LAST;
		half->last = !http1_allows(walk, HTTP1_ALLOW_DATA_AFTER_CLOSE);
	}
	half->head = 0;
	half->phase = HTTP1_START;
	half->index = 0;
	if (framing == HTTP_CHUNKED) {
		half->phase = HTTP1_CHUNK_FIRST;
		half->length = 0;
		return l7_pass(record, head, 0);
	}
	if (framing == HTTP_TO_CLOSE) {
		record->flags |= L7_TO_END;
		return l7_pass(record, head, 0);
	}
	if (kind != HTTP_INTERIM)
		record->flags |= L7_MESSAGE_ENDS;
	return l7_pass(record, head, framing == HTTP_BY_LENGTH ? half->length : 0);
}

/* Puts the request behind those whose answers are to come. */
L7_INLINE void http1_ask(struct http1_state *state, __u64 asked)
{
	__u32 place = state->requests & (HTTP1_OUTSTANDING - 1);
	__u64 word = state->asked[L7_INDEX(place >> 5, 2)];

	word &= ~(3ull << (place * 2 & 63));
	word |= asked << (place * 2 & 63);
	state->asked[L7_INDEX(place >> 5, 2)] = word;
	state->requests++;
}

L7_INLINE int http1_request(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	struct http1_state *state = walk->state;
	__u64 asked = half->seen & HTTP1_TO_HEAD ? HTTP1_ASKED_HEAD : HTTP1_ASKED_OTHER;
	__u32 framing, code = http1_framing(walk, &framing);

	if (code)
		return http1_refuse(walk, code);
	if (!(half->seen & (HTTP1_SEEN_HOST | HTTP1_VERSION_0)) && http1_allows(walk, HTTP1_REQUIRE_HOST))
		return http1_refuse(walk, HTTP1_NO_HOST);
	if (!(walk->config->flags & L7_ONE_DIRECTION) &&
	    (__s64)(state->requests - state->responses) >= HTTP1_OUTSTANDING)
		return l7_escalate(walk->record, L7_TOO_MANY, half->at);
	if (half->seen & HTTP1_TO_CONNECT) {
		asked = HTTP1_ASKED_CONNECT;
		/* a body has no meaning here (RFC 9110 section 9.3.6): if it comes, it comes before the answer */
		state->awaited = framing == HTTP_NO_BODY ? 1 : 2;
		framing = HTTP_NO_BODY;
	}
	http1_persistence(walk, framing);
	if (half->connection & HTTP_UPGRADES && asked != HTTP1_ASKED_CONNECT) {
		if (asked == HTTP1_ASKED_OTHER)
			asked = HTTP1_ASKED_UPGRADE;
		state->awaited = 1;
	}
	http1_ask(state, asked);
	walk->record->stream = state->requests;
	return http1_tell(walk, HTTP_REQUEST, framing);
}

/* Of the request that was told last: it was answered by somebody else, and no response to it will come. For a driver that
 * takes requests out of the stream. */
L7_INLINE __attribute__((unused)) void http1_withdraw(struct http1_state *state)
{
	state->requests--;
	state->awaited = 0;
}

/* From here on, both directions carry another protocol. */
L7_INLINE int http1_upgraded(struct http1_walk *walk)
{
	struct l7_record *record = walk->record;

	walk->state->tunnel = 1;
	walk->state->responses++;
	record->kind = HTTP_UPGRADED;
	record->flags |= L7_TUNNEL | L7_TO_END;
	return l7_pass(record, walk->half->at - walk->window->start, 0);
}

/* A request of which only a part of the head has come. */
L7_INLINE int http1_is_begun(const struct http1_half *request)
{
	return request->phase >= HTTP1_METHOD_PHASE && !(request->seen & HTTP1_IN_TRAILERS) &&
	       (request->phase < HTTP1_CHUNK_FIRST || request->phase >= HTTP1_LINE);
}

/* A response while no request waits for one. A server that gives a head up says so with an error of 4xx or 5xx and closes
 * (RFC 9110 sections 15.5.9 and 15.5, RFC 6585 section 5); one that waited in vain for a head sends 408. No request is
 * answered by that, so it is stream 0. Nothing may follow either. */
L7_INLINE int http1_unasked(struct http1_walk *walk, __u32 framing)
{
	struct http1_half *half = walk->half;
	struct http1_state *state = walk->state;
	__u32 status = half->mark, begun = http1_is_begun(&state->half[L7_REQUEST]);

	if (state->requests != state->responses || !(begun ? status >= 400 : status == 408))
		return http1_refuse(walk, HTTP1_UNASKED_RESPONSE);
	walk->record->stream = 0;
	if (begun)
		walk->record->stream = ++state->responses;
	/* who did not read that the method is HEAD sends a body, who did sends none: what comes is what there is */
	if (!(half->seen & (HTTP1_SEEN_LENGTH | HTTP1_SEEN_CODING)) ||
	    (begun && state->half[L7_REQUEST].seen & HTTP1_TO_HEAD))
		framing = HTTP_TO_CLOSE;
	http1_persistence(walk, framing);
	half->connection &= ~HTTP_PERSISTS;
	l7_set_number(walk->record, HTTP_CONNECTION, half->connection);
	return http1_tell(walk, HTTP_RESPONSE, framing);
}

L7_INLINE int http1_response(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	struct http1_state *state = walk->state;
	__u32 one_direction = walk->config->flags & L7_ONE_DIRECTION, status = half->mark;
	__u32 place = state->responses & (HTTP1_OUTSTANDING - 1);
	__u32 asked = state->asked[L7_INDEX(place >> 5, 2)] >> (place * 2 & 63) & 3;
	__u32 framing, code = http1_framing(walk, &framing);

	if (code)
		return http1_refuse(walk, code);
	if (one_direction)
		asked = status == 101 ? HTTP1_ASKED_UPGRADE : HTTP1_ASKED_OTHER;
	else if ((__s64)(state->requests - state->responses) <= 0)
		return http1_unasked(walk, framing);
	walk->record->stream = state->responses + 1;
	if ((status < 200 || status == 204) && (framing != HTTP_NO_BODY))
		return http1_refuse(walk, HTTP1_BODY_NOT_ALLOWED);
	if (status == 101 && asked != HTTP1_ASKED_UPGRADE)
		return http1_refuse(walk, HTTP1_UNASKED_UPGRADE);
	if (status == 101 || (asked == HTTP1_ASKED_CONNECT && status >= 200 && status < 300)) {
		http1_persistence(walk, HTTP_NO_BODY);
		return http1_upgraded(walk);
	}
	if (status < 200 || status == 204 || status == 304 || asked == HTTP1_ASKED_HEAD)
		framing = HTTP_NO_BODY;
	else if (!(half->seen & (HTTP1_SEEN_LENGTH | HTTP1_SEEN_CODING)))
		framing = HTTP_TO_CLOSE;
	http1_persistence(walk, framing);
	if (status < 200)
		return http1_tell(walk, HTTP_INTERIM, HTTP_NO_BODY);
	state->responses++;
	if (state->awaited == 1 && state->requests == state->responses)
		state->awaited = 0;
	return http1_tell(walk, HTTP_RESPONSE, framing);
}

/* The trailer section, or the empty line in its place: the message ends. */
L7_INLINE int http1_end(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;

	walk->record->kind = half->seen & HTTP1_TRAILERS_CAME ? HTTP_TRAILERS : HTTP_END;
	walk->record->flags |= L7_MESSAGE_ENDS;
	half->head = 0;
	half->phase = HTTP1_START;
	half->index = 0;
	return l7_pass(walk->record, half->at - walk->window->start, 0);
}

L7_INLINE int http1_head(struct http1_walk *walk)
{
	if (walk->half->seen & HTTP1_IN_TRAILERS)
		return http1_end(walk);
	return walk->window->direction ? http1_response(walk) : http1_request(walk);
}

#endif
