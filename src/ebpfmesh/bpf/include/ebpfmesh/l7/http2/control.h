/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The small frames: PRIORITY, RST_STREAM, PING, GOAWAY, WINDOW_UPDATE (RFC 9113 sections 6.3, 6.4, 6.7, 6.8, 6.9). Flow control
 * itself is not followed: it decides when bytes may come, never what they mean. */
#ifndef EBPFMESH_L7_HTTP2_CONTROL_H
#define EBPFMESH_L7_HTTP2_CONTROL_H

#include "stream.h"

/* What is read of a frame's payload; the rest is passed. */
L7_INLINE __u32 http2_control_need(__u32 type)
{
	return type == HTTP2_TYPE_GOAWAY					 ? 8 :
	       type == HTTP2_TYPE_RST_STREAM || type == HTTP2_TYPE_WINDOW_UPDATE ? 4 :
										   0;
}

L7_INLINE int http2_reset(const struct l7_config *config, struct http2_state *connection, struct http2_tables *tables,
			  struct l7_record *record, __u32 direction)
{
	struct http2_half *half = &connection->half[L7_INDEX(direction, 2)];
	int place = http2_find(tables, half->stream);

	if (place < 0 && http2_is_idle(config, connection, direction, half->stream))
		return HTTP2_STREAM_STATE;
	if (place >= 0)
		http2_reset_side(connection, &tables->streams[L7_INDEX((__u32)place, HTTP2_STREAMS)], direction);
	record->kind = HTTP_RESET;
	record->stream = half->stream;
	l7_begin(record);
	l7_set_number(record, HTTP_CODE, http2_number32(half->gathered));
	return 0;
}

L7_INLINE int http2_goaway(struct http2_half *half, struct l7_record *record)
{
	__u32 last = http2_number32(half->gathered) & HTTP2_STREAM_BITS;

	if (half->goaway && last > half->goaway - 1)
		return HTTP2_GOAWAY;
	half->goaway = last + 1;
	record->kind = HTTP_GOAWAY;
	record->stream = 0;
	l7_begin(record);
	l7_set_number(record, HTTP_LAST_STREAM, last);
	l7_set_number(record, HTTP_CODE, http2_number32(half->gathered + 4));
	return 0;
}

L7_INLINE int http2_window_update(const struct l7_config *config, const struct http2_state *connection,
				  const struct http2_half *half, __u32 direction)
{
	if (!(http2_number32(half->gathered) & HTTP2_STREAM_BITS))
		return HTTP2_WINDOW_INCREMENT;
	return half->stream && http2_is_idle(config, connection, direction, half->stream) ? HTTP2_STREAM_STATE : 0;
}

L7_GLOBAL int http2_control(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			    struct http2_tables *tables, struct l7_record *record)
{
	struct http2_state *connection;
	struct http2_half *half;
	__u32 need, direction;
	int code = 0;

	if (!config || !window || !state || !tables || !record)
		return L7_ERROR;
	connection = (struct http2_state *)state->words;
	direction = L7_INDEX(window->direction, 2);
	half = &connection->half[direction];
	need = http2_control_need(half->type);
	if (!http2_gather(half, window, need))
		return l7_more(record, need - half->got);
	if (half->type == HTTP2_TYPE_RST_STREAM)
		code = http2_reset(config, connection, tables, record, direction);
	else if (half->type == HTTP2_TYPE_GOAWAY)
		code = http2_goaway(half, record);
	else if (half->type == HTTP2_TYPE_WINDOW_UPDATE)
		code = http2_window_update(config, connection, half, direction);
	if (code)
		return http2_error(state, window, record, code);
	return http2_done(half, record, half->length - need, 0);
}

#endif
