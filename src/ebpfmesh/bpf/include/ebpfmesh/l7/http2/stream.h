/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The streams of an HTTP/2 connection (RFC 9113 section 5.1): a table by stream id, with linear probing. A stream that has
 * closed stays until its place is needed, so that late frames are told from frames that must not be.
 *
 * Of a stream whose place was taken nothing is guessed. It had ended in both directions, or was reset; its id is not above
 * the highest that its side has opened, so it can never be opened again (section 5.1.1), and no peer that keeps to the RFC
 * makes a message of what still comes on it. Frames that were on their way when it was reset are not wrong, and their
 * receiver must ignore them: likewise here, DATA is passed without being payload of anything, and a header block is decoded,
 * since it changes the table (section 4.3), and is told as nothing. A block that looks like a request is an ERROR
 * (STREAM_STATE). The price: of a mistake on a stream that is remembered an
 * ERROR is told (STREAM_STATE), of the same mistake on one that is forgotten nothing. An id that was skipped is known as such
 * above the highest forgotten one. */
#ifndef EBPFMESH_L7_HTTP2_STREAM_H
#define EBPFMESH_L7_HTTP2_STREAM_H

#include "frame.h"

/* Consecutive streams of one side have consecutive places. */
L7_INLINE __u32 http2_place(__u32 id, __u32 i)
{
	return L7_INDEX((id >> 1) + i, HTTP2_STREAMS);
}

struct http2_search {
	struct http2_tables *tables;
	__u32 id;
	__u32 free; /* look for a place that may be taken, not for the id */
	int found;
};

L7_CALLBACK long http2_probe(__u32 i, void *context)
{
	struct http2_search *search = context;
	__u32 place = http2_place(search->id, i);
	const struct http2_stream *stream = &search->tables->streams[place];

	if (search->free ? stream->flags & HTTP2_STREAM_LIVE : stream->id != search->id)
		return 0;
	search->found = place;
	return 1;
}

/* The place of a stream, or HTTP2_NONE. */
L7_GLOBAL int http2_find(struct http2_tables *tables, __u32 id)
{
	struct http2_search search = { .tables = tables, .id = id, .free = 0, .found = HTTP2_NONE };

	if (!tables || !id)
		return HTTP2_NONE;
	l7_loop(HTTP2_STREAMS, http2_probe, &search);
	return search.found;
}

/* The place of a stream is taken. */
L7_INLINE void http2_forget(struct http2_state *connection, __u32 id)
{
	__u32 *highest = &connection->forgotten[id & 1 ? L7_REQUEST : L7_RESPONSE];

	if (id > *highest)
		*highest = id;
}

/* A place for a new stream, which is live and otherwise zeroes; HTTP2_NONE if as many are live as may be. */
L7_GLOBAL int http2_make(struct l7_config *config, struct l7_state *state, struct http2_tables *tables, __u32 id)
{
	struct http2_search search = { .tables = tables, .id = id, .free = 1, .found = HTTP2_NONE };
	struct http2_state *connection;
	struct http2_stream *stream;

	if (!config || !state || !tables)
		return HTTP2_NONE;
	connection = (struct http2_state *)state->words;
	if (connection->live >= (config->stream_limit ? config->stream_limit : HTTP2_STREAMS))
		return HTTP2_NONE;
	l7_loop(HTTP2_STREAMS, http2_probe, &search);
	if (search.found < 0)
		return HTTP2_NONE;
	connection->live++;
	stream = &tables->streams[L7_INDEX((__u32)search.found, HTTP2_STREAMS)];
	http2_forget(connection, stream->id);
	__builtin_memset(stream, 0, sizeof *stream);
	stream->id = id;
	stream->flags = HTTP2_STREAM_LIVE;
	return search.found;
}

/* A stream is not followed any more: both sides have ended it, or one has reset it. */
L7_INLINE void http2_close(struct http2_state *connection, struct http2_stream *stream)
{
	if (!(stream->flags & HTTP2_STREAM_LIVE))
		return;
	stream->flags &= ~(__u32)HTTP2_STREAM_LIVE;
	connection->live--;
	if (stream->side[0].state == HTTP2_OPEN)
		connection->half[0].unfinished--;
	if (stream->side[1].state == HTTP2_OPEN)
		connection->half[1].unfinished--;
}

/* The head of a direction of a stream has come. */
L7_INLINE void http2_open_side(struct http2_state *connection, struct http2_stream *stream, __u32 direction)
{
	stream->side[L7_INDEX(direction, 2)].state = HTTP2_OPEN;
	if (stream->flags & HTTP2_STREAM_LIVE)
		connection->half[L7_INDEX(direction, 2)].unfinished++;
}

/* END_STREAM has come in a direction. */
L7_INLINE void http2_end_side(struct http2_state *connection, struct http2_stream *stream, __u32 direction)
{
	struct http2_side *side = &stream->side[L7_INDEX(direction, 2)];

	if (side->state == HTTP2_OPEN && stream->flags & HTTP2_STREAM_LIVE)
		connection->half[L7_INDEX(direction, 2)].unfinished--;
	side->state = HTTP2_ENDED;
	if (stream->side[0].state == HTTP2_ENDED && stream->side[1].state == HTTP2_ENDED)
		http2_close(connection, stream);
}

L7_INLINE void http2_reset_side(struct http2_state *connection, struct http2_stream *stream, __u32 direction)
{
	http2_close(connection, stream);
	stream->side[L7_INDEX(direction, 2)].state = HTTP2_RESET;
}

/* Whether nobody has opened or promised a stream yet, as far as it can be known: where only one direction is seen, nothing is
 * known of what the other opens. */
L7_INLINE int http2_is_idle(const struct l7_config *config, const struct http2_state *connection, __u32 direction,
			    __u32 id)
{
	__u32 opener = id & 1 ? L7_REQUEST : L7_RESPONSE;

	if (config->flags & L7_ONE_DIRECTION && opener != direction)
		return 0;
	return id > connection->half[L7_INDEX(opener, 2)].last;
}

/* Whether a stream that is not in the table can never have been open: it is idle, or its id was skipped, as far as it can be
 * known that it was (section 5.1.1: it is closed then). */
L7_INLINE int http2_is_unopened(const struct l7_config *config, const struct http2_state *connection, __u32 direction,
				__u32 id)
{
	__u32 opener = id & 1 ? L7_REQUEST : L7_RESPONSE;

	if (config->flags & L7_ONE_DIRECTION && opener != direction)
		return 0;
	return id > connection->forgotten[L7_INDEX(opener, 2)];
}

#endif
