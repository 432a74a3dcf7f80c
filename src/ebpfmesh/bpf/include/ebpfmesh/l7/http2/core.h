/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* HTTP/2 (RFC 9113), one frame a call: its header, then what its type asks for. Frames that are not understood are passed. */
#ifndef EBPFMESH_L7_HTTP2_CORE_H
#define EBPFMESH_L7_HTTP2_CORE_H

#include "control.h"
#include "data.h"
#include "flood.h"
#include "fragment.h"
#include "settings.h"

#define HTTP2_PREFACE 24
#define HTTP2_FRAME_HEADER 9

/* 64 bytes: one of 32 would stand in a section of its own, which libbpf does not know */
static const __u8 http2_preface[64] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* --- before the first frame ------------------------------------------------------------------------------------------- */

/* The client's preface (section 3.4). What is something else is another protocol, or a connection seen from its midst. */
L7_INLINE int http2_read_preface(struct http2_half *half, struct l7_window *window, struct l7_state *state,
				 struct l7_record *record)
{
	for (__u32 i = 0; i < HTTP2_PREFACE; i++) {
		__u32 at = http2_at(half, window);

		if (half->got >= HTTP2_PREFACE)
			break;
		if (at >= window->end)
			return l7_more(record, HTTP2_PREFACE - half->got);
		if (l7_byte(window, at) != http2_preface[L7_INDEX(half->got, 64)])
			return http2_escalate(state, window, record, L7_NOT_FROM_START);
		half->got++;
		half->used++;
	}
	half->got = 0;
	half->phase = HTTP2_HEADER;
	return HTTP2_GO_ON;
}

/* "Upgrade: h2c" in HTTP/1 made the request of stream 1. */
L7_INLINE void http2_upgrade(struct l7_config *config, struct l7_state *state, struct http2_tables *tables)
{
	struct http2_state *connection = (struct http2_state *)state->words;
	int place;

	connection->upgraded = 1;
	place = http2_make(config, state, tables, 1);
	if (place >= 0)
		tables->streams[L7_INDEX((__u32)place, HTTP2_STREAMS)].side[L7_REQUEST].state = HTTP2_ENDED;
	connection->half[L7_REQUEST].last = 1;
}

/* --- a frame's header ------------------------------------------------------------------------------------------------- */

/* Whether a frame of this type belongs to a stream; WINDOW_UPDATE may do either. */
L7_INLINE int http2_has_stream(__u32 type)
{
	return type != HTTP2_TYPE_SETTINGS && type != HTTP2_TYPE_PING && type != HTTP2_TYPE_GOAWAY;
}

/* The lengths that a type allows (section 6). */
L7_INLINE int http2_fits(const struct http2_half *half)
{
	__u32 length = half->length, padding = half->flags & HTTP2_PADDED ? 1 : 0;

	switch (half->type) {
	case HTTP2_TYPE_DATA:
		return length >= padding;
	case HTTP2_TYPE_HEADERS:
		return length >= padding + (half->flags & HTTP2_HAS_PRIORITY ? 5 : 0);
	case HTTP2_TYPE_PRIORITY:
		return length == 5;
	case HTTP2_TYPE_RST_STREAM:
	case HTTP2_TYPE_WINDOW_UPDATE:
		return length == 4;
	case HTTP2_TYPE_SETTINGS:
		return half->flags & HTTP2_ACK ? !length : !(length % 6);
	case HTTP2_TYPE_PUSH_PROMISE:
		return length >= padding + 4;
	case HTTP2_TYPE_PING:
		return length == 8;
	case HTTP2_TYPE_GOAWAY:
		return length >= 8;
	}
	return 1;
}

/* A code if a frame with this header cannot come here. */
L7_INLINE int http2_refuse(const struct l7_config *config, const struct http2_half *half)
{
	__u32 limit = half->frame_limit ? half->frame_limit : HTTP2_FRAME_LIMIT;

	if (half->length > limit && !http2_is_unordered(config, half))
		return HTTP2_FRAME_SIZE;
	if (half->block)
		return half->type != HTTP2_TYPE_CONTINUATION || half->stream != half->block ?
			       HTTP2_CONTINUATION_EXPECTED :
			       0;
	if (half->type == HTTP2_TYPE_CONTINUATION)
		return HTTP2_CONTINUATION_UNEXPECTED;
	if (half->type > HTTP2_TYPE_CONTINUATION)
		return 0;
	if (half->type != HTTP2_TYPE_WINDOW_UPDATE && http2_has_stream(half->type) == !half->stream)
		return HTTP2_STREAM_ID;
	return http2_fits(half) ? 0 : HTTP2_FRAME_SIZE;
}

/* The first frame of each side is SETTINGS that acknowledges nothing (section 3.4). Of a server, anything else means that it
 * does not speak HTTP/2, or not from here on. */
L7_INLINE int http2_first(struct http2_half *half, struct l7_window *window, struct l7_state *state,
			  struct l7_record *record)
{
	half->begun = 1;
	if (half->type == HTTP2_TYPE_SETTINGS && !(half->flags & HTTP2_ACK))
		return HTTP2_GO_ON;
	if (window->direction == L7_REQUEST)
		return http2_error(state, window, record, HTTP2_FIRST_FRAME);
	return http2_escalate(state, window, record, L7_NOT_FROM_START);
}

/* Tells that frames of this kind are a flood, and leaves the last byte of the header for the next call, which tells what the
 * frame itself is. */
L7_INLINE int http2_tell_flood(struct http2_half *half, struct l7_record *record, __u32 count)
{
	half->got = HTTP2_FRAME_HEADER - 1;
	half->used--;
	l7_begin(record);
	record->kind = HTTP_FLOOD;
	record->stream = half->stream;
	l7_set_number(record, HTTP_FLOOD_KIND, half->type);
	l7_set_number(record, HTTP_FLOOD_COUNT, count);
	return l7_pass(record, half->used, 0);
}

L7_INLINE void http2_read_header(struct http2_half *half)
{
	half->length = http2_number32(half->gathered) >> 8;
	half->type = half->gathered[3];
	half->flags = half->gathered[4];
	half->stream = http2_number32(half->gathered + 5) & HTTP2_STREAM_BITS;
	half->left = half->length;
}

/* Reads up to the end of a frame's header. HTTP2_GO_ON: its payload is to be read. */
L7_GLOBAL int http2_frame(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			  struct http2_tables *tables, struct l7_record *record)
{
	struct http2_state *connection;
	struct http2_half *half;
	__u32 direction, count;
	int op;

	if (!config || !window || !state || !tables || !record)
		return L7_ERROR;
	connection = (struct http2_state *)state->words;
	direction = L7_INDEX(window->direction, 2);
	half = &connection->half[direction];
	if (half->phase == HTTP2_START && direction == L7_REQUEST) {
		op = http2_read_preface(half, window, state, record);
		if (op != HTTP2_GO_ON)
			return op;
	}
	half->phase = HTTP2_HEADER;
	if (!http2_gather(half, window, HTTP2_FRAME_HEADER))
		return l7_more(record, HTTP2_FRAME_HEADER - half->got);
	http2_read_header(half);
	if (!half->begun) {
		op = http2_first(half, window, state, record);
		if (op != HTTP2_GO_ON)
			return op;
	}
	op = http2_refuse(config, half);
	if (op)
		return http2_error(state, window, record, op);
	if (!half->counted) {
		half->counted = 1;
		if (half->type == HTTP2_TYPE_CONTINUATION && half->continuations < 255)
			half->continuations++;
		count = http2_count(half, &connection->half[direction ^ 1], config->flags & L7_ONE_DIRECTION);
		if (count)
			return http2_tell_flood(half, record, count);
	}
	half->counted = 0;
	if (half->type == HTTP2_TYPE_CONTINUATION && half->continuations > HTTP2_CONTINUATIONS)
		return http2_escalate(state, window, record, L7_TOO_MANY);
	if (half->type > HTTP2_TYPE_CONTINUATION)
		return http2_done(half, record, half->length, 0);
	half->got = 0;
	half->pad = 0;
	half->phase = HTTP2_HEAD;
	return HTTP2_GO_ON;
}

/* --- a call ----------------------------------------------------------------------------------------------------------- */

/* A direction has ended: wrong inside a frame, a header block, or a message. */
L7_INLINE int http2_end(struct http2_half *half, struct l7_window *window, struct l7_state *state,
			struct l7_record *record)
{
	if (half->phase > HTTP2_HEADER || half->got || half->block || half->unfinished)
		return http2_error(state, window, record, L7_INCOMPLETE);
	return l7_more(record, 0);
}

L7_INLINE int http2_follow(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			   struct http2_tables *tables, struct l7_record *record)
{
	struct http2_state *connection = (struct http2_state *)state->words;
	struct http2_half *half = http2_half_of(state, window->direction);
	int op = connection->op;

	half->used = 0;
	record->stream = 0;
	if (op) {
		record->code = connection->code;
		record->at = window->start;
		return op;
	}
	if (config->flags & L7_MIDSTREAM)
		return http2_escalate(state, window, record, L7_NOT_FROM_START);
	if (window->gap)
		return http2_escalate(state, window, record, L7_GAP);
	if (window->start == window->end)
		return window->flags & L7_END_OF_STREAM ? http2_end(half, window, state, record) : l7_more(record, 1);
	if (config->leniencies & HTTP2_UPGRADED && !connection->upgraded)
		http2_upgrade(config, state, tables);
	if (half->phase <= HTTP2_HEADER) {
		op = http2_frame(config, window, state, tables, record);
		if (op != HTTP2_GO_ON)
			return op;
	}
	switch (half->type) {
	case HTTP2_TYPE_DATA:
		return http2_data(config, window, state, tables, record);
	case HTTP2_TYPE_SETTINGS:
		return http2_settings(window, state, tables, record);
	case HTTP2_TYPE_HEADERS:
	case HTTP2_TYPE_PUSH_PROMISE:
	case HTTP2_TYPE_CONTINUATION:
		op = http2_fragment(config, window, state, tables, record);
		return op == HTTP2_GO_ON ? http2_block(config, window, state, tables, record) : op;
	}
	return http2_control(config, window, state, tables, record);
}

/* --- detection -------------------------------------------------------------------------------------------------------- */

/* A client's preface is unmistakable; a server begins with the header of a SETTINGS frame on stream 0. */
L7_INLINE int http2_likelihood(struct l7_window *window)
{
	__u32 length = window->end - window->start, start = window->start;

	if (window->direction == L7_REQUEST) {
		for (__u32 i = 0; i < HTTP2_PREFACE; i++) {
			if (i >= length)
				return L7_UNDECIDED;
			if (l7_byte(window, start + i) != http2_preface[i])
				return 0;
		}
		return 100;
	}
	if (length < HTTP2_FRAME_HEADER)
		return length && l7_byte(window, start) ? 0 : L7_UNDECIDED;
	if (l7_byte(window, start) || (l7_byte(window, start + 1) << 8 | l7_byte(window, start + 2)) % 6 ||
	    l7_byte(window, start + 3) != HTTP2_TYPE_SETTINGS || l7_byte(window, start + 4) & HTTP2_ACK ||
	    (l7_word(window, start + 1) >> 32 & 0xffffffff))
		return 0;
	return 90;
}

#endif
