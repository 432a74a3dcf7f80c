/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A complete header block: what kind of head it may be where it stands, whether it is a whole one, and what becomes of its
 * stream (RFC 9113 sections 5.1, 8.1 and 8.3). */
#ifndef EBPFMESH_L7_HTTP2_HEAD_H
#define EBPFMESH_L7_HTTP2_HEAD_H

#include "field.h"
#include "stream.h"

#include "../hpack.h"

#include "memo.h"

/* --- whether a decoded head is complete ------------------------------------------------------------------------------- */

L7_INLINE int http2_judge_path(const struct http2_head *head, const struct l7_record *record)
{
	__u8 first = http2_text_byte(record, head->path_at);

	if (!(head->flags & HTTP2_HEAD_WEB) || (head->path_length && first == '/'))
		return 0;
	return head->flags & HTTP2_HEAD_OPTIONS && head->path_length == 1 && first == '*' ? 0 : HTTP2_PATH;
}

L7_INLINE int http2_judge_request(const struct http2_head *head, const struct l7_record *record, __u32 protocol_allowed)
{
	__u32 seen = head->pseudo;

	if (!(seen & HTTP2_BIT(HTTP_METHOD)))
		return HTTP2_PSEUDO_MISSING;
	if (seen & HTTP2_BIT(HTTP_PROTOCOL) && !(head->flags & HTTP2_HEAD_CONNECT && protocol_allowed))
		return HTTP2_PSEUDO_UNKNOWN;
	if (head->flags & HTTP2_HEAD_CONNECT && !(seen & HTTP2_BIT(HTTP_PROTOCOL)))
		return seen == (HTTP2_BIT(HTTP_METHOD) | HTTP2_BIT(HTTP_HOST)) ? 0 : HTTP2_PSEUDO_MISSING;
	if (!(seen & HTTP2_BIT(HTTP_SCHEME)) || !(seen & HTTP2_BIT(HTTP_TARGET)))
		return HTTP2_PSEUDO_MISSING;
	if (!(record->present & HTTP2_BIT(HTTP_HOST)) && head->flags & HTTP2_HEAD_WEB)
		return HTTP2_PSEUDO_MISSING;
	return http2_judge_path(head, record);
}

/* A code if the head is not a whole one. Of a response, its kind becomes HTTP_INTERIM if it is one. */
L7_INLINE int http2_judge(struct http2_head *head, const struct l7_record *record, __u32 protocol_allowed, __u32 ends)
{
	if (head->kind == HTTP_PUSH && !(head->flags & (HTTP2_HEAD_GET | HTTP2_HEAD_HEAD)))
		return HTTP2_PUSH;
	if (head->kind == HTTP_REQUEST || head->kind == HTTP_PUSH)
		return http2_judge_request(head, record, protocol_allowed);
	if (head->kind == HTTP_TRAILERS)
		return ends ? 0 : HTTP2_TRAILERS;
	if (head->kind != HTTP_RESPONSE)
		return 0;
	if (!head->status)
		return HTTP2_PSEUDO_MISSING;
	if (head->status >= 200)
		return 0;
	head->kind = HTTP_INTERIM;
	return head->status == 101 || ends ? HTTP2_STATUS_CODE : 0;
}

/* --- what becomes of the stream --------------------------------------------------------------------------------------- */

/* What content-length, the method and the status announce of the content. */
L7_INLINE int http2_expect(struct http2_stream *stream, struct http2_side *side, const struct http2_head *head,
			   __u32 ends)
{
	__u32 response = head->kind == HTTP_RESPONSE;

	if (head->flags & HTTP2_HEAD_MESSAGES)
		side->flags |= HTTP2_SIDE_MESSAGES;
	if (response && stream->flags & HTTP2_STREAM_CONNECT && head->status < 300)
		return 0;
	if (response && (stream->flags & HTTP2_STREAM_HEAD || head->status == 204 || head->status == 304)) {
		side->flags |= HTTP2_SIDE_NO_BODY;
		return 0;
	}
	if (head->flags & HTTP2_HEAD_LENGTH && !(head->flags & HTTP2_HEAD_CONNECT)) {
		side->flags |= HTTP2_SIDE_LENGTH;
		side->expected = head->length;
		if (ends && head->length)
			return HTTP2_CONTENT_LENGTH;
	}
	return 0;
}

/* The content has come to its end: whether it is all that was announced. */
L7_INLINE int http2_short(const struct http2_side *side)
{
	if (side->flags & HTTP2_SIDE_LENGTH && side->expected)
		return HTTP2_CONTENT_LENGTH;
	return side->flags & HTTP2_SIDE_MESSAGES && side->got ? HTTP2_GRPC_CUT : 0;
}

/* A head of a stream that is followed. */
L7_INLINE int http2_apply_head(struct http2_state *connection, struct http2_stream *stream, struct http2_head *head,
			       __u32 ends)
{
	__u32 direction = L7_INDEX(head->direction, 2);
	struct http2_side *side = &stream->side[direction];
	int code = 0;

	if (head->kind == HTTP_INTERIM)
		return 0;
	if (head->kind == HTTP_TRAILERS) {
		code = http2_short(side);
	} else {
		if (head->flags & HTTP2_HEAD_HEAD)
			stream->flags |= HTTP2_STREAM_HEAD;
		if (head->flags & HTTP2_HEAD_CONNECT && !(head->pseudo & HTTP2_BIT(HTTP_PROTOCOL)))
			stream->flags |= HTTP2_STREAM_CONNECT;
		http2_open_side(connection, stream, direction);
		code = http2_expect(stream, side, head, ends);
	}
	if (!connection->grpc)
		side->flags &= ~HTTP2_SIDE_MESSAGES;
	if (!code && ends)
		http2_end_side(connection, stream, direction);
	return code;
}

/* --- where the head stands -------------------------------------------------------------------------------------------- */

/* What a header block of this direction is for its stream: sets head->kind and the stream's place, or gives a code. */
L7_INLINE int http2_expected_head(const struct l7_config *config, struct http2_state *connection,
				  struct http2_tables *tables, struct http2_head *head, __u32 id, int *place)
{
	__u32 direction = L7_INDEX(head->direction, 2);
	int found;
	__u8 side;

	if (direction == L7_REQUEST && !(id & 1))
		return HTTP2_STREAM_ID;
	if (direction == L7_REQUEST && id > connection->half[L7_REQUEST].last) { /* new: nowhere in the table */
		head->kind = HTTP_REQUEST;
		return 0;
	}
	found = http2_find(tables, id);
	*place = found;
	if (found >= 0) {
		side = tables->streams[L7_INDEX((__u32)found, HTTP2_STREAMS)].side[direction].state;
		head->kind = side == HTTP2_OPEN	      ? HTTP_TRAILERS :
			     direction == L7_RESPONSE ? HTTP_RESPONSE :
							HTTP_REQUEST;
		return side == HTTP2_ENDED || side == HTTP2_RESET ? HTTP2_STREAM_STATE : 0;
	}
	if (http2_is_unopened(config, connection, direction, id))
		return HTTP2_STREAM_STATE;
	head->kind = direction == L7_RESPONSE && config->flags & L7_ONE_DIRECTION ? HTTP_RESPONSE : 0;
	return 0;
}

/* Makes the stream that a head opens; HTTP2_NONE if there are too many. */
L7_INLINE int http2_open_stream(struct l7_config *config, struct l7_state *state, struct http2_tables *tables,
				struct http2_head *head, __u32 id)
{
	struct http2_state *connection = (struct http2_state *)state->words;
	__u32 opener = head->kind == HTTP_PUSH ? L7_RESPONSE : head->direction;
	struct http2_stream *stream;
	int place = http2_make(config, state, tables, id);

	if (place < 0)
		return place;
	stream = &tables->streams[L7_INDEX((__u32)place, HTTP2_STREAMS)];
	if (head->kind == HTTP_PUSH || (config->flags & L7_ONE_DIRECTION && opener == L7_RESPONSE))
		stream->side[L7_REQUEST].state = HTTP2_ENDED;
	else if (config->flags & L7_ONE_DIRECTION)
		stream->side[L7_RESPONSE].state = HTTP2_ENDED;
	if (head->kind != HTTP_RESPONSE)
		connection->half[L7_INDEX(opener, 2)].last = id;
	return place;
}

/* --- a complete block ------------------------------------------------------------------------------------------------- */

/* Decodes the block; where the settings of the peer are not known, its sender may use whatever table it likes. */
L7_INLINE int http2_decode(struct l7_config *config, const struct http2_half *half, struct http2_tables *tables,
			   struct http2_head *head, struct l7_record *record)
{
	__u32 direction = L7_INDEX(head->direction, 2), limit;
	struct hpack_table *table = &tables->dynamic[direction];
	int code;

	hpack_begin(table);
	if (http2_recall(config, tables, head, record))
		return 0;
	limit = table->limit;
	if (http2_is_unordered(config, half))
		table->limit = ~0u;
	code = hpack_decode(config, table, &tables->block[direction], head, record);
	table->limit = limit;
	if (!code)
		http2_remember(config, tables, head, record);
	return code;
}

/* What a whole head does to its stream, which it may open. Returns a code. */
L7_INLINE int http2_enter(struct l7_config *config, struct l7_state *state, struct http2_tables *tables,
			  struct http2_head *head, struct l7_record *record, __u32 ends, int place)
{
	struct http2_state *connection = (struct http2_state *)state->words;
	__u32 promised = connection->half[L7_INDEX(head->direction, 2)].promised;
	__u32 push = head->kind == HTTP_PUSH;
	struct http2_stream *stream;

	if (place < 0)
		place = http2_open_stream(config, state, tables, head, push ? promised : record->stream);
	if (place < 0)
		return L7_TOO_MANY;
	if (head->kind != HTTP_TRAILERS)
		l7_set_number(record, HTTP_VERSION, 20);
	stream = &tables->streams[L7_INDEX((__u32)place, HTTP2_STREAMS)];
	if (!push)
		return http2_apply_head(connection, stream, head, ends);
	l7_set_number(record, HTTP_PROMISED, promised);
	stream->flags |= head->flags & HTTP2_HEAD_HEAD ? HTTP2_STREAM_HEAD : 0;
	return 0;
}

/* Decodes the block of a PUSH_PROMISE, or of HEADERS, and tells the head. The answer but for ERROR and ESCALATE is a PASS of
 * what was consumed and the padding. */
L7_GLOBAL int http2_block(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			  struct http2_tables *tables, struct l7_record *record)
{
	struct http2_state *connection;
	struct http2_half *half;
	struct http2_head *head;
	__u32 direction, ends, push;
	int place = HTTP2_NONE, code = 0;

	if (!config || !window || !state || !tables || !record)
		return L7_ERROR;
	connection = (struct http2_state *)state->words;
	direction = L7_INDEX(window->direction, 2);
	half = &connection->half[direction];
	head = &tables->head[direction];
	push = half->block_type == HTTP2_TYPE_PUSH_PROMISE;
	ends = !push && half->block_flags & HTTP2_END_STREAM;
	record->stream = half->block;
	half->block = 0;
	__builtin_memset(head, 0, sizeof *head);
	head->direction = direction;
	if (push)
		head->kind = HTTP_PUSH;
	else
		code = http2_expected_head(config, connection, tables, head, record->stream, &place);
	if (code)
		return http2_error(state, window, record, code);
	l7_begin(record);
	code = http2_decode(config, half, tables, head, record);
	if (!code)
		code = http2_judge(head, record, connection->extended_connect || http2_is_unordered(config, half),
				   ends);
	if (!code && head->kind)
		code = http2_enter(config, state, tables, head, record, ends, place);
	if (hpack_escalates(code) || code == L7_TOO_LONG || code == L7_TOO_MANY)
		return http2_escalate(state, window, record, code);
	if (code)
		return http2_error(state, window, record, code);
	if (head->kind && ends)
		record->flags = L7_MESSAGE_ENDS;
	record->kind = head->kind;
	return http2_done(half, record, half->pad, 0);
}

#endif
