/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Headers that are set on an HTTP/1 request as it goes by: traceparent, continued or new, and the service's own.
 *
 * A trace that came is continued in place: its span id becomes a new one, the flags stay. What is new goes behind the last header,
 * so that heads of any length are the same: all but the last two bytes of a head may be elsewhere. */
#ifndef EBPFMESH_TRACE_INSERT_H
#define EBPFMESH_TRACE_INSERT_H

#include "../enrol/room.h"
#include "../l7/http1.h"
#include "../measure/measure.h"
#include "../reply/write.h"
#include "traceparent.h"

/* What is sent is also what is logged: the record's field becomes the new value. */
L7_INLINE void l7_note_trace(struct l7_record *record, const __u8 *value)
{
	__u32 used = record->used;

	if (used > L7_TEXT - 64)
		return;
	barrier_var(used);
	bpf_probe_read_kernel(record->text + L7_INDEX(used, L7_TEXT), L7_TRACE_LENGTH, value);
	record->fields[HTTP_TRACEPARENT].number = used | (__u64)L7_TRACE_LENGTH << 32;
	record->present |= 1u << HTTP_TRACEPARENT;
	record->used = used + L7_TRACE_LENGTH;
}

/* A new span of the trace that came: 16 digits, where they lie in the message. */
L7_GLOBAL int l7_continue_trace(struct sk_msg_md *msg, struct l7_room *room, __u32 value)
{
	__u32 at = value + L7_TRACE_SPAN, first = bpf_get_prandom_u32(), second = bpf_get_prandom_u32() | 1;
	__u8 *data, *end, *text;

	if (!room || bpf_msg_pull_data(msg, at, at + 16, 0))
		return -1;
	data = msg->data;
	end = msg->data_end;
	if (data + 16 > end)
		return -1;
	*(volatile __u64 *)data = l7_hex_digits(first);
	*(volatile __u64 *)(data + 8) = l7_hex_digits(second);
	text = room->record.text + L7_INDEX(room->record.fields[HTTP_TRACEPARENT].offset + L7_TRACE_SPAN, L7_TEXT);
	l7_store64(text, l7_hex_digits(first));
	l7_store64(text + 8, l7_hex_digits(second));
	/* from the window a short message is written anew */
	text = room->window.data + L7_INDEX(at - room->base, L7_WINDOW);
	l7_store64(text, l7_hex_digits(first));
	l7_store64(text + 8, l7_hex_digits(second));
	return 0;
}

/* How many bytes are inserted: what is to be said is in room->line by then. */
L7_INLINE __u32 l7_trace(struct sk_msg_md *msg, struct l7_room *room, struct l7_connection *connection)
{
	struct http1_state *state = (struct http1_state *)connection->state.words;
	struct l7_record *record = &room->record;
	union l7_value came = record->fields[HTTP_TRACEPARENT];

	if (!(room->decision.service.flags & L7_TRACES))
		return 0;
	if (!((record->present | record->truncated) >> HTTP_TRACEPARENT & 1)) {
		l7_new_trace(room->line, l7_samples(room->decision.service.sample));
		l7_note_trace(record, room->line + L7_TRACE_NAME);
		l7_stat(connection->service, L7_STAT_TRACED, 1);
		return L7_TRACE_LINE;
	}
	if (!state->traceparent || (record->repeated | record->truncated) >> HTTP_TRACEPARENT & 1 ||
	    !l7_continues(record->text + L7_INDEX(came.offset, L7_TEXT), came.length) ||
	    l7_continue_trace(msg, room, room->base + state->traceparent))
		l7_stat(connection->service, L7_STAT_NOT_TRACED, 1);
	else
		l7_stat(connection->service, L7_STAT_TRACE_CONTINUED, 1);
	return 0;
}

/* Writes the line of the trace, if there is one, and the service's own headers to where they belong in the message. */
L7_GLOBAL int l7_write_inserted(struct sk_msg_md *msg, struct l7_room *room, __u32 place, __u32 traced)
{
	struct l7_insert *insert;

	if (!room)
		return -1;
	if (traced && l7_write_text(msg, place, room->line, L7_TRACE_LINE, L7_TRACE_LINE))
		return -1;
	insert = l7_element(&l7_inserts, room->decision.service.insert);
	if (!insert || !insert->length)
		return 0;
	return l7_write_text(msg, place + traced, insert->text, insert->length, L7_INSERT_TEXT);
}

/* The message anew, with a gap at `at`: room for all of it is put in front, one piece, and the old bytes go. For short messages
 * that the window holds: one page less to allocate, and to copy, than by inserting and pulling. */
L7_GLOBAL int l7_rebuild(struct sk_msg_md *msg, struct l7_room *room, __u32 at, __u32 bytes)
{
	__u32 size, before;

	if (!room || at < 8 || at > L7_REPLY_TEXT || bytes > L7_REPLY_TEXT)
		return -1;
	size = room->size;
	before =
		at -
		6; /* so that what is behind the gap, CR and LF at least, has eight bytes; the gap is written over them */
	if (size > L7_REPLY_TEXT || size < at || bpf_msg_push_data(msg, 0, size + bytes, 0))
		return -1;
	if (l7_write_text(msg, before + bytes, room->window.data + L7_INDEX(before, L7_REPLY_TEXT), size - before,
			  L7_REPLY_TEXT) ||
	    l7_write_text(msg, 0, room->window.data, at, L7_REPLY_TEXT))
		return -1;
	return bpf_msg_pop_data(msg, size + bytes, size, 0);
}

/* Behind the last header of an HTTP/1 head, which ends in this message at room->head. Returns how many bytes it inserted; all
 * of the message is in one piece then, if it is not long, since the transport is slow with several. */
L7_INLINE __u32 l7_insert(struct sk_msg_md *msg, struct l7_room *room, struct l7_connection *connection)
{
	__u32 traced = l7_trace(msg, room, connection), bytes = traced, at = room->head - 2, place = at, size;
	struct l7_insert *insert = l7_element(&l7_inserts, room->decision.service.insert);

	if (room->decision.service.insert && insert)
		bytes += insert->length;
	if (!bytes)
		return 0;
	/* the kernel counts inserted bytes as the application's where a push stops half-way: then send() would return nonsense */
	if (room->tight || room->head < 2) {
		l7_stat(connection->service, L7_STAT_NOT_TRACED, 1);
		return 0;
	}
	size = room->size + bytes;
	if (!room->base && room->window.end == room->size && size <= L7_REPLY_TEXT) {
		if (l7_rebuild(msg, room, at, bytes) || l7_write_inserted(msg, room, at, traced))
			return L7_INSERT_FAILED;
		return bytes;
	}
	if (bpf_msg_push_data(msg, at, bytes, 0)) {
		l7_stat(connection->service, L7_STAT_NOT_TRACED, 1);
		return 0;
	}
	if (size > L7_WINDOW) {
		place = 0;
		size = at + bytes;
	} else {
		at = 0;
	}
	/* what was inserted is part of the message now, and would be garbage if it could not be written */
	if (bpf_msg_pull_data(msg, at, size, 0) || l7_write_inserted(msg, room, place, traced))
		return L7_INSERT_FAILED;
	return bytes;
}

#endif
