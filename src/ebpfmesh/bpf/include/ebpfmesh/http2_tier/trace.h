/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Headers that a request is given as it goes by: traceparent, and the service's own. As literals that are never indexed, at the end
 * of the header block: they change no table. A trace that came is continued: the field is taken out, whatever its coding, and ours
 * has the same trace id and flags, and another span. */
#ifndef EBPFMESH_HTTP2_TIER_TRACE_H
#define EBPFMESH_HTTP2_TIER_TRACE_H

#include "../enrol/room.h"
#include "../measure/measure.h"
#include "../trace/traceparent.h"
#include "frames.h"
#include "seek.h"

#define H2_TRACE_BLOCK (14 + L7_TRACE_LENGTH) /* form, length, name, length, value */

/* What is sent is also what is logged. */
L7_INLINE void h2_note_trace(struct l7_record *record, const __u8 *value)
{
	__u32 used = record->used;

	barrier_var(used);
	if (used > L7_TEXT - 64)
		return;
	for (__u32 word = 0; word < 56; word += 8)
		l7_store64(record->text + used + word, l7_load64(value + word));
	record->fields[HTTP_TRACEPARENT].offset = used;
	record->fields[HTTP_TRACEPARENT].length = L7_TRACE_LENGTH;
	record->present |= 1u << HTTP_TRACEPARENT;
	record->used = used + L7_TRACE_LENGTH;
}

/* The service's own headers, in bytes of a header block. */
L7_INLINE __u32 h2_own_headers(__u32 number)
{
	struct l7_insert *insert;

	if (!number)
		return 0;
	insert = l7_element(&l7_inserts, number);
	return insert ? insert->block : 0;
}

/* The line of a trace that is continued: of a version that we do not know, as one of ours (section 4.3), with the one flag known. */
L7_INLINE void h2_same_trace(__u8 *line, const __u8 *text)
{
	__u64 state = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32(), span = l7_mixed(&state) | 1;
	__u8 flags = text[L7_TRACE_FLAGS + 1];

	l7_store64(line, HTTP_WORD("tracepar"));
	l7_store64(line + 8, HTTP_WORD("ent: 00-"));
	for (__u32 word = 0; word < 32; word += 8)
		l7_store64(line + 16 + word, l7_load64(text + 3 + word));
	line[48] = '-';
	l7_store64(line + 49, l7_hex_digits(span >> 32));
	l7_store64(line + 57, l7_hex_digits(span));
	line[65] = '-';
	line[66] = text[L7_TRACE_FLAGS];
	line[67] = flags;
	if (text[0] == '0' && text[1] == '0')
		return;
	line[66] = '0';
	line[67] = '0' + ((flags > '9') ^ (flags & 1));
}

/* Continues the trace that came; 0 if it cannot be. */
L7_GLOBAL int h2_continue(struct l7_room *room, struct h2_connection *c)
{
	struct l7_record *record;
	const __u8 *text;
	__u32 place, cut;

	if (!room || !c)
		return 0;
	record = &room->record;
	text = record->text + L7_INDEX(record->fields[HTTP_TRACEPARENT].offset, L7_TEXT);
	if ((record->repeated | record->truncated) >> HTTP_TRACEPARENT & 1 ||
	    !l7_continues(text, record->fields[HTTP_TRACEPARENT].length))
		return 0;
	place = h2_seek_trace(c);
	cut = place >> 16;
	if (!place)
		return 0;
	h2_same_trace(c->next_head.line, text);
	c->next_head.traced = 1;
	c->next_head.cut = cut;
	c->next_head.cut_at = (place & 0xffff) - 1 + 9 + (h2_half(c, L7_REQUEST)->flags & HTTP2_HAS_PRIORITY ? 5 : 0);
	h2_note_trace(record, c->next_head.line + L7_TRACE_NAME);
	return 1;
}

/* What goes into this head: H2_INSERT, or H2_KEEP if nothing does. */
L7_GLOBAL int h2_trace_of(struct l7_room *room, struct h2_connection *c, __u32 fits)
{
	struct l7_service *service;
	struct h2_head *head;
	__u32 number;

	if (!room || !c)
		return H2_KEEP;
	service = &room->decision.service;
	number = room->decision.service_number;
	head = &c->next_head;
	if (!(service->flags & L7_TRACES) && !service->insert)
		return H2_KEEP;
	if (!fits) {
		l7_stat(number, L7_STAT_NOT_TRACED, 1);
		return H2_KEEP;
	}
	head->traced = head->cut = 0;
	head->insert = service->insert;
	head->bytes = h2_own_headers(service->insert);
	if (service->flags & L7_TRACES) {
		if ((room->record.present | room->record.truncated) >> HTTP_TRACEPARENT & 1) {
			if (h2_continue(room, c)) {
				head->bytes += H2_TRACE_BLOCK;
				l7_stat(number, L7_STAT_TRACE_CONTINUED, 1);
			} else {
				l7_stat(number, L7_STAT_NOT_TRACED, 1);
			}
		} else {
			l7_new_trace(head->line,
				     service->sample && (bpf_get_prandom_u32() & 0xffff) <= service->sample);
			head->traced = 1;
			head->bytes += H2_TRACE_BLOCK;
			h2_note_trace(&room->record, head->line + L7_TRACE_NAME);
			l7_stat(number, L7_STAT_TRACED, 1);
		}
	}
	return head->bytes ? H2_INSERT : H2_KEEP;
}

/* A block that is one frame, ends with its last byte, and stays within any limit. */
L7_INLINE int h2_trace(struct l7_room *room, struct h2_connection *c, const struct http2_half *half, int rewrites)
{
	return h2_trace_of(room, c,
			   !rewrites && half->type == HTTP2_TYPE_HEADERS && !(half->flags & HTTP2_PADDED) &&
				   half->length + H2_TRACE_BLOCK + L7_INSERT_TEXT <= HTTP2_FRAME_LIMIT);
}

#endif
