/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* DATA (RFC 9113 section 6.1): the payload is passed unseen, and counted against content-length; padding is no payload. With
 * gRPC, the messages in it are told, wherever frames cut them (gRPC over HTTP/2, "Length-Prefixed-Message"). */
#ifndef EBPFMESH_L7_HTTP2_DATA_H
#define EBPFMESH_L7_HTTP2_DATA_H

#include "head.h"

#define HTTP2_PREFIX 5 /* bytes before a gRPC message: a flag, and its length */

/* The payload that half->left still counts is passed; with it, or with the padding behind it, the frame ends. */
L7_INLINE int http2_data_end(struct http2_state *connection, struct http2_half *half, struct http2_stream *stream,
			     struct l7_record *record, __u32 direction)
{
	__u32 payload = half->left;

	half->left = 0;
	if (payload && half->pad) {
		half->phase = HTTP2_PAD;
		return l7_pass(record, half->used, payload);
	}
	if (half->flags & HTTP2_END_STREAM) {
		record->flags = L7_MESSAGE_ENDS;
		if (stream)
			http2_end_side(connection, stream, direction);
	}
	return http2_done(half, record, half->pad, payload);
}

/* The next message's prefix, or the bytes of one that was begun. */
L7_INLINE int http2_messages(struct http2_half *half, struct http2_side *side, struct l7_window *window,
			     struct l7_record *record)
{
	for (__u32 i = 0; i < HTTP2_PREFIX; i++) {
		__u32 at = http2_at(half, window);
		__u8 byte;

		if (side->got >= HTTP2_PREFIX || !half->left || at >= window->end)
			break;
		byte = l7_byte(window, at);
		if (side->got)
			side->length = side->length << 8 | byte;
		else
			side->compressed = byte;
		side->got++;
		half->left--;
		half->used++;
		if (side->got < HTTP2_PREFIX)
			continue;
		if (side->compressed > 1)
			return HTTP2_GRPC_FLAG;
		side->message = side->length;
		side->messages++;
		l7_begin(record);
		record->kind = GRPC_MESSAGE;
		l7_set_number(record, GRPC_LENGTH, side->length);
		l7_set_number(record, GRPC_COMPRESSED, side->compressed);
		l7_set_number(record, GRPC_ORDINAL, side->messages);
	}
	return 0;
}

/* Of the frame's payload, the piece that belongs to the message that is being passed. */
L7_INLINE __u32 http2_piece(struct http2_half *half, struct http2_side *side)
{
	__u32 piece = side->got < HTTP2_PREFIX ? 0 : side->message < half->left ? side->message : half->left;

	side->message -= piece;
	if (side->got == HTTP2_PREFIX && !side->message)
		side->got = 0;
	return piece;
}

/* Passes the payload of a stream on which gRPC messages are followed. */
L7_INLINE int http2_grpc(struct http2_state *connection, struct http2_stream *stream, struct l7_window *window,
			 struct l7_state *state, struct l7_record *record)
{
	__u32 direction = L7_INDEX(window->direction, 2), piece;
	struct http2_half *half = &connection->half[direction];
	struct http2_side *side = &stream->side[direction];
	int code = http2_messages(half, side, window, record);

	half->phase = HTTP2_MESSAGES;
	if (code)
		return http2_error(state, window, record, code);
	piece = http2_piece(half, side);
	if (piece < half->left) {
		if (!piece && !record->kind)
			return l7_more(record, 1);
		half->left -= piece;
		return l7_pass(record, half->used, piece);
	}
	if (half->flags & HTTP2_END_STREAM && side->got)
		return http2_error(state, window, record, HTTP2_GRPC_CUT);
	return http2_data_end(connection, half, stream, record, direction);
}

/* The frame's payload is known: whether it may come, and fits what content-length announced. */
L7_INLINE int http2_admit(struct http2_half *half, struct http2_side *side)
{
	if (side->state != HTTP2_OPEN)
		return HTTP2_STREAM_STATE;
	if (half->left && side->flags & HTTP2_SIDE_NO_BODY)
		return HTTP2_CONTENT_LENGTH;
	if (!(side->flags & HTTP2_SIDE_LENGTH))
		return 0;
	if (half->left > side->expected)
		return HTTP2_CONTENT_LENGTH;
	side->expected -= half->left;
	return half->flags & HTTP2_END_STREAM && side->expected ? HTTP2_CONTENT_LENGTH : 0;
}

L7_GLOBAL int http2_data(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			 struct http2_tables *tables, struct l7_record *record)
{
	struct http2_state *connection;
	struct http2_stream *stream;
	struct http2_half *half;
	__u32 direction;
	int place, code;

	if (!config || !window || !state || !tables || !record)
		return L7_ERROR;
	connection = (struct http2_state *)state->words;
	direction = L7_INDEX(window->direction, 2);
	half = &connection->half[direction];
	record->stream = half->stream;
	if (half->phase == HTTP2_HEAD) {
		__u32 padded = half->flags & HTTP2_PADDED ? 1 : 0;

		if (!http2_gather(half, window, padded))
			return l7_more(record, 1);
		half->pad = padded ? half->gathered[0] : 0;
		half->left = half->length - padded;
		if (half->pad > half->left)
			return http2_error(state, window, record, HTTP2_PADDING);
		half->left -= half->pad;
	}
	place = http2_find(tables, half->stream);
	if (place < 0) {
		__u32 rest = half->left + half->pad;

		if (http2_is_unopened(config, connection, direction, half->stream))
			return http2_error(state, window, record, HTTP2_STREAM_STATE);
		return http2_done(half, record, rest, 0);
	}
	stream = &tables->streams[L7_INDEX((__u32)place, HTTP2_STREAMS)];
	if (half->phase == HTTP2_PAD)
		return http2_data_end(connection, half, stream, record, direction);
	if (half->phase == HTTP2_HEAD) {
		code = http2_admit(half, &stream->side[direction]);
		if (code)
			return http2_error(state, window, record, code);
	}
	if (stream->side[direction].flags & HTTP2_SIDE_MESSAGES)
		return http2_grpc(connection, stream, window, state, record);
	return http2_data_end(connection, half, stream, record, direction);
}

#endif
