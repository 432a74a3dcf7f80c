/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Headers that a request is given as it goes by: traceparent where there is none, and the service's own. As literals that are
 * never indexed, at the end of the header block: they change no table. A trace that came stays as it is: its value may be
 * Huffman coded, or in a table. */
#ifndef EBPFMESH_HTTP2_TIER_TRACE_H
#define EBPFMESH_HTTP2_TIER_TRACE_H

#include "../enrol/room.h"
#include "../measure/measure.h"
#include "../trace/traceparent.h"
#include "frames.h"

#define H2_TRACE_BLOCK (14 + L7_TRACE_LENGTH) /* form, length, name, length, value */

/* What is sent is also what is logged. */
L7_INLINE void h2_note_trace(struct l7_record *record, const __u8 *value)
{
	__u32 used = record->used;

	barrier_var(used);
	if (used > L7_TEXT - 64)
		return;
	bpf_probe_read_kernel(record->text + used, L7_TRACE_LENGTH, value);
	record->fields[HTTP_TRACEPARENT].offset = used;
	record->fields[HTTP_TRACEPARENT].length = L7_TRACE_LENGTH;
	record->present |= 1u << HTTP_TRACEPARENT;
	record->used = used + L7_TRACE_LENGTH;
}

/* What goes into this head: H2_INSERT, or H2_KEEP if nothing does. */
L7_GLOBAL int h2_trace_of(struct l7_room *room, struct h2_connection *c, __u32 fits)
{
	struct l7_service *service;
	__u32 number;

	if (!room || !c)
		return H2_KEEP;
	service = &room->decision.service;
	number = room->decision.service_number;
	c->next_trace.length = 0;
	c->next_trace.insert = service->insert;
	if (!(service->flags & L7_TRACES) && !service->insert)
		return H2_KEEP;
	if (!fits) {
		l7_stat(number, L7_STAT_NOT_TRACED, 1);
		return H2_KEEP;
	}
	if (service->flags & L7_TRACES) {
		if ((room->record.present | room->record.truncated) >> HTTP_TRACEPARENT & 1) {
			l7_stat(number, L7_STAT_TRACE_CONTINUED, 1);
		} else {
			l7_new_trace(room->line,
				     service->sample && (bpf_get_prandom_u32() & 0xffff) <= service->sample);
			c->next_trace.length = L7_TRACE_LENGTH;
			bpf_probe_read_kernel(c->next_trace.value, L7_TRACE_LENGTH, room->line + L7_TRACE_NAME);
			h2_note_trace(&room->record, c->next_trace.value);
			l7_stat(number, L7_STAT_TRACED, 1);
		}
	}
	return c->next_trace.length || service->insert ? H2_INSERT : H2_KEEP;
}

/* A block that is one frame, ends with its last byte, and stays within any limit. */
L7_INLINE int h2_trace(struct l7_room *room, struct h2_connection *c, const struct http2_half *half, int rewrites)
{
	return h2_trace_of(room, c,
			   !rewrites && half->type == HTTP2_TYPE_HEADERS && !(half->flags & HTTP2_PADDED) &&
				   half->length + H2_TRACE_BLOCK + L7_INSERT_TEXT <= HTTP2_FRAME_LIMIT);
}

/* The block that is inserted, into room. Returns its length. */
L7_GLOBAL int h2_put_trace(struct h2_connection *c)
{
	struct l7_insert *insert;
	__u32 length, at;

	if (!c)
		return 0;
	c->out = 0;
	if (c->trace.length) {
		h2_put8(c, 0x10); /* never indexed, a new name */
		h2_put8(c, 11);
		h2_put32(c, 0x74726163); /* "traceparent" */
		h2_put32(c, 0x65706172);
		h2_put16(c, 0x656e);
		h2_put8(c, 0x74);
		h2_put8(c, L7_TRACE_LENGTH);
		bpf_probe_read_kernel(c->room + H2_OUT_AT + 14, L7_TRACE_LENGTH, c->trace.value);
		c->out = H2_TRACE_BLOCK;
	}
	insert = l7_element(&l7_inserts, c->trace.insert);
	if (!c->trace.insert || !insert)
		return c->out;
	length = insert->block;
	at = insert->length;
	barrier_var(length);
	barrier_var(at);
	if (at > L7_INSERT_TEXT || length > L7_INSERT_TEXT - at)
		return c->out;
	barrier_var(length);
	if (length > L7_INSERT_TEXT)
		return c->out;
	bpf_probe_read_kernel(c->room + H2_OUT_AT + (c->trace.length ? H2_TRACE_BLOCK : 0), length, insert->text + at);
	c->out += length;
	return c->out;
}

#endif
