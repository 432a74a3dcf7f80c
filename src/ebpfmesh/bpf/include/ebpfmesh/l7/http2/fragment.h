/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* HEADERS, PUSH_PROMISE and CONTINUATION (RFC 9113 sections 6.2, 6.6, 6.10): their fragments are gathered to the header block
 * that they make up. */
#ifndef EBPFMESH_L7_HTTP2_FRAGMENT_H
#define EBPFMESH_L7_HTTP2_FRAGMENT_H

#include "head.h"

#define HTTP2_COPIED 64 /* bytes a step */

struct http2_copy {
	struct l7_window *window;
	struct hpack_block *block;
	__u32 from;
	__u32 to;
};

L7_CALLBACK long http2_copy_step(__u32 i, void *context)
{
	struct http2_copy *copy = context;
	const __u8 *from = copy->window->data + L7_INDEX(copy->from + i * HTTP2_COPIED, L7_WINDOW);
	__u8 *to = copy->block->bytes + L7_INDEX(copy->to + i * HTTP2_COPIED, HPACK_BLOCK);

	for (__u32 word = 0; word < HTTP2_COPIED; word += 8)
		l7_store64(to + word, l7_load64(from + word));
	return 0;
}

/* Appends what is shown of the fragment to the block. */
L7_INLINE void http2_copy(struct http2_half *half, struct l7_window *window, struct hpack_block *block)
{
	struct http2_copy copy = { .window = window, .block = block };
	__u32 shown = window->end - http2_at(half, window);

	if (shown > half->left)
		shown = half->left;
	copy.from = http2_at(half, window);
	copy.to = block->length;
	l7_loop((shown + HTTP2_COPIED - 1) / HTTP2_COPIED, http2_copy_step, &copy);
	block->length += shown;
	half->used += shown;
	half->left -= shown;
}

/* What stands in front of the fragment: the padding's length, a priority, a promised stream. Returns a code. */
L7_INLINE int http2_fragment_head(const struct l7_config *config, struct http2_state *connection,
				  struct http2_half *half, __u32 need, __u32 direction)
{
	__u32 padded = half->flags & HTTP2_PADDED && half->type != HTTP2_TYPE_CONTINUATION;
	__u32 promised;

	half->pad = padded ? half->gathered[0] : 0;
	half->left = half->length - need;
	if (half->pad > half->left)
		return HTTP2_PADDING;
	half->left -= half->pad;
	if (half->type == HTTP2_TYPE_CONTINUATION)
		return 0;
	half->block = half->stream;
	half->block_flags = half->flags;
	half->block_type = half->type;
	half->continuations = 0;
	if (half->type == HTTP2_TYPE_HEADERS)
		return 0;
	promised = http2_number32(half->gathered + (padded ? 1 : 0)) & HTTP2_STREAM_BITS;
	half->promised = promised;
	if (direction == L7_REQUEST || connection->no_push)
		return HTTP2_PUSH;
	if (promised & 1 || promised <= half->last || !(half->stream & 1))
		return HTTP2_STREAM_ID;
	return http2_is_idle(config, connection, direction, half->stream) ? HTTP2_STREAM_STATE : 0;
}

/* How many bytes stand in front of the fragment. */
L7_INLINE __u32 http2_fragment_need(const struct http2_half *half)
{
	if (half->type == HTTP2_TYPE_CONTINUATION)
		return 0;
	return (half->flags & HTTP2_PADDED ? 1 : 0) + (half->type == HTTP2_TYPE_PUSH_PROMISE ? 4 :
						       half->flags & HTTP2_HAS_PRIORITY	     ? 5 :
											       0);
}

/* Whether PUSH_PROMISE may come on this stream: the server has not ended it. */
L7_INLINE int http2_may_promise(struct http2_tables *tables, __u32 id)
{
	int place = http2_find(tables, id);
	__u8 side;

	if (place < 0)
		return 1;
	side = tables->streams[L7_INDEX((__u32)place, HTTP2_STREAMS)].side[L7_RESPONSE].state;
	return side == HTTP2_IDLE || side == HTTP2_OPEN;
}

L7_GLOBAL int http2_fragment(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			     struct http2_tables *tables, struct l7_record *record)
{
	struct hpack_block *block;
	struct http2_half *half;
	__u32 direction, need, limit;
	int code;

	if (!config || !window || !state || !tables || !record)
		return L7_ERROR;
	direction = L7_INDEX(window->direction, 2);
	half = http2_half_of(state, direction);
	block = &tables->block[direction];
	if (half->phase == HTTP2_HEAD) {
		need = http2_fragment_need(half);
		if (!http2_gather(half, window, need))
			return l7_more(record, need - half->got);
		code = http2_fragment_head(config, (struct http2_state *)state->words, half, need, direction);
		if (!code && half->type == HTTP2_TYPE_PUSH_PROMISE && !http2_may_promise(tables, half->stream))
			code = HTTP2_STREAM_STATE;
		if (code)
			return http2_error(state, window, record, code);
		if (half->type != HTTP2_TYPE_CONTINUATION)
			block->length = 0;
		limit = config->block_limit ? config->block_limit : HPACK_DEFAULT;
		if (block->length + half->left > (limit < HPACK_BLOCK ? limit : HPACK_BLOCK))
			return http2_escalate(state, window, record, L7_TOO_LONG);
		half->phase = HTTP2_INSIDE;
	}
	http2_copy(half, window, block);
	if (half->left)
		return l7_more(record, half->left);
	if (half->flags & HTTP2_END_HEADERS)
		return HTTP2_GO_ON;
	return http2_done(half, record, half->pad, 0);
}

#endif
