/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* SETTINGS (RFC 9113 section 6.5): what each side asks of the other, and from when on it holds. A value binds the other side
 * from its acknowledgement on; until then the larger of the old and the new is taken, since some senders use what they have
 * read before they have acknowledged it. */
#ifndef EBPFMESH_L7_HTTP2_SETTINGS_H
#define EBPFMESH_L7_HTTP2_SETTINGS_H

#include "frame.h"

#define HTTP2_ENTRIES 64 /* of a SETTINGS frame that one call reads */

/* What an acknowledgement by a direction puts into force. */
L7_INLINE void http2_apply(struct http2_state *connection, struct http2_half *half, struct hpack_table *table,
			   const struct http2_pending *pending)
{
	if (pending->flags & HTTP2_PENDING_TABLE) {
		hpack_set_limit(table, pending->table_least);
		hpack_set_limit(table, pending->table);
	}
	if (pending->flags & HTTP2_PENDING_FRAME)
		half->frame_limit = pending->frame;
	if (pending->flags & HTTP2_PENDING_NO_PUSH)
		connection->no_push = 1;
	if (pending->flags & HTTP2_PENDING_PUSH)
		connection->no_push = 0;
}

/* half has acknowledged the oldest SETTINGS of its peer. */
L7_INLINE void http2_acknowledge(struct http2_state *connection, struct http2_tables *tables, __u32 direction)
{
	struct http2_half *half = &connection->half[L7_INDEX(direction, 2)];
	struct http2_half *peer = &connection->half[L7_INDEX(direction ^ 1, 2)];
	__u32 first = peer->first;

	if (!peer->pending) {
		if (half->early < 255)
			half->early++;
		return;
	}
	peer->pending--;
	peer->first = first + 1;
	http2_apply(connection, half, &tables->dynamic[L7_INDEX(direction, 2)],
		    &tables->pending[L7_INDEX(direction ^ 1, 2)][L7_INDEX(first, HTTP2_UNACKNOWLEDGED)]);
}

/* A SETTINGS frame of a direction is complete: the other side may use what it allows, and must, once it acknowledges. */
L7_INLINE void http2_announce(struct http2_state *connection, struct http2_tables *tables, __u32 direction)
{
	struct http2_half *half = &connection->half[L7_INDEX(direction, 2)];
	struct http2_half *peer = &connection->half[L7_INDEX(direction ^ 1, 2)];
	struct hpack_table *table = &tables->dynamic[L7_INDEX(direction ^ 1, 2)];
	const struct http2_pending *pending =
		&tables->pending[L7_INDEX(direction, 2)]
				[L7_INDEX((__u32)half->first + half->pending, HTTP2_UNACKNOWLEDGED)];
	__u32 limit = peer->frame_limit ? peer->frame_limit : HTTP2_FRAME_LIMIT;

	hpack_begin(table);
	if (pending->flags & HTTP2_PENDING_TABLE && pending->table > table->limit)
		table->limit = pending->table;
	if (pending->flags & HTTP2_PENDING_FRAME && pending->frame > limit)
		peer->frame_limit = pending->frame;
	half->pending++;
	if (peer->early) {
		peer->early--;
		http2_acknowledge(connection, tables, direction ^ 1);
	}
}

/* One setting; a code if its value is out of range (section 6.5.2, RFC 8441 section 3, RFC 9218 section 2.1). */
L7_INLINE int http2_setting(struct http2_state *connection, struct http2_pending *pending, __u32 direction, __u32 id,
			    __u32 value)
{
	switch (id) {
	case HTTP_TABLE_SIZE:
		if (!(pending->flags & HTTP2_PENDING_TABLE) || value < pending->table_least)
			pending->table_least = value;
		pending->table = value;
		pending->flags |= HTTP2_PENDING_TABLE;
		return 0;
	case HTTP_ENABLE_PUSH:
		if (value > 1 || (value && direction == L7_RESPONSE))
			return HTTP2_SETTING;
		if (direction == L7_REQUEST) {
			pending->flags &= ~(__u32)(HTTP2_PENDING_PUSH | HTTP2_PENDING_NO_PUSH);
			pending->flags |= value ? HTTP2_PENDING_PUSH : HTTP2_PENDING_NO_PUSH;
		}
		return 0;
	case HTTP_INITIAL_WINDOW:
		return value > HTTP2_STREAM_BITS ? HTTP2_SETTING : 0;
	case HTTP_MAX_FRAME:
		if (value < HTTP2_FRAME_LIMIT || value > 0xffffff)
			return HTTP2_SETTING;
		pending->frame = value;
		pending->flags |= HTTP2_PENDING_FRAME;
		return 0;
	case HTTP_EXTENDED_CONNECT:
		if (value > 1 || (direction == L7_RESPONSE && connection->extended_connect && !value))
			return HTTP2_SETTING;
		if (direction == L7_RESPONSE)
			connection->extended_connect = value;
		return 0;
	case HTTP_NO_PRIORITIES:
		return value > 1 ? HTTP2_SETTING : 0;
	}
	return 0;
}

struct http2_settings_walk {
	struct http2_state *connection;
	struct http2_half *half;
	struct l7_window *window;
	struct http2_pending *pending;
	struct l7_record *record;
	int code;
};

L7_CALLBACK long http2_entry(__u32 i, void *context)
{
	struct http2_settings_walk *walk = context;
	struct http2_half *half = walk->half;
	__u32 id, value;

	(void)i;
	if (!half->left || !http2_gather(half, walk->window, 6))
		return 1;
	half->got = 0;
	half->left -= 6;
	id = http2_number16(half->gathered);
	value = http2_number32(half->gathered + 2);
	walk->code = http2_setting(walk->connection, walk->pending, walk->window->direction, id, value);
	if (walk->code)
		return 1;
	if (id && id <= HTTP_NO_PRIORITIES)
		l7_set_number(walk->record, id, value);
	return 0;
}

L7_GLOBAL int http2_settings(struct l7_window *window, struct l7_state *state, struct http2_tables *tables,
			     struct l7_record *record)
{
	struct http2_settings_walk walk = { .window = window, .record = record, .code = 0 };
	struct http2_state *connection;
	struct http2_half *half;
	__u32 direction;

	if (!window || !state || !tables || !record)
		return L7_ERROR;
	connection = (struct http2_state *)state->words;
	direction = L7_INDEX(window->direction, 2);
	half = &connection->half[L7_INDEX(direction, 2)];
	record->stream = 0;
	if (half->flags & HTTP2_ACK) {
		l7_begin(record);
		l7_set_number(record, HTTP_ACK, 1);
		http2_acknowledge(connection, tables, direction);
		record->kind = HTTP_SETTINGS;
		return http2_done(half, record, 0, 0);
	}
	if (half->pending >= HTTP2_UNACKNOWLEDGED)
		return http2_escalate(state, window, record, L7_TOO_MANY);
	walk.connection = connection;
	walk.half = half;
	walk.pending = &tables->pending[L7_INDEX(direction, 2)]
				       [L7_INDEX((__u32)half->first + half->pending, HTTP2_UNACKNOWLEDGED)];
	if (half->phase == HTTP2_HEAD) {
		half->phase = HTTP2_INSIDE;
		l7_begin(record);
		__builtin_memset(walk.pending, 0, sizeof *walk.pending);
	}
	l7_loop(HTTP2_ENTRIES, http2_entry, &walk);
	if (walk.code)
		return http2_error(state, window, record, walk.code);
	if (half->left && http2_at(half, window) < window->end)
		return l7_pass(record, half->used, 0);
	if (half->left)
		return l7_more(record, half->left - half->got);
	http2_announce(connection, tables, direction);
	record->kind = HTTP_SETTINGS;
	return http2_done(half, record, 0, 0);
}

#endif
