/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Over a message of the client, frame by frame: what becomes of each, up to where it changes. A run deals with one piece of the
 * message; bytes that were to be taken out may precede it. What was parsed beyond it is remembered, and at the front of the
 * next run. */
#ifndef EBPFMESH_HTTP2_TIER_WALK_H
#define EBPFMESH_HTTP2_TIER_WALK_H

#include "../enrol/step.h"
#include "frames.h"
#include "insert.h"
#include "judge.h"

#define H2_STEPS (1 << 16) /* calls of the core in a run */

enum h2_next { H2_CALL = 0, H2_STOP = 1 };

/* Whether one more head of n bytes can be given its headers in this piece. A head that is the first is always part of it. */
L7_INLINE int h2_takes_head(const struct h2_connection *c, __u32 n)
{
	return !c->inserted ||
	       (c->inserted < H2_HEADS && c->held + c->piece + n + c->growth + c->next_head.bytes <= H2_BUILT);
}

/* The piece's last bytes are a head that is given headers. */
L7_INLINE void h2_note_head(struct h2_connection *c)
{
	struct h2_head *head = &c->heads[L7_INDEX(c->inserted, H2_HEADS)];

	*head = c->next_head;
	head->at = c->appended;
	head->end = c->piece;
	c->inserted++;
	c->growth += head->bytes;
}

/* n more bytes, of a kind; c->stopped if they are no part of this run's piece. */
L7_INLINE void h2_append(struct h2_connection *c, __u32 kind, __u32 n)
{
	if (kind == H2_KEEP && !n)
		return;
	if (c->kind == H2_TAKE && kind != H2_TAKE && !c->taken && (c->owed < H2_CREDIT || c->wakes)) {
		c->taken = c->piece;
		c->kind = H2_NONE;
		c->piece = 0;
	}
	c->appended = c->piece;
	if (c->kind == H2_NONE) {
		c->kind = kind == H2_INSERT ? H2_KEEP : kind;
		c->piece = n;
	} else if ((c->kind == kind && kind <= H2_TAKE) || (c->kind == H2_ANSWER && kind == H2_TAKE) ||
		   (c->kind == H2_KEEP && kind == H2_INSERT && h2_takes_head(c, n))) {
		c->piece += n;
	} else {
		c->front_kind = kind;
		c->front = n;
		c->stopped = 1;
		return;
	}
	if (kind == H2_ANSWER)
		c->answer = c->next_answer;
	if (kind == H2_REWRITE) /* there is room for one of them */
		c->stopped = 1;
	if (kind == H2_INSERT)
		h2_note_head(c);
}

/* Before the first step of a run: what is left of the one before. */
L7_INLINE void h2_begin_walk(struct l7_room *room, struct h2_connection *c)
{
	__u32 kind = c->front_kind, n = c->front;

	c->taken = c->kind = c->piece = c->undecided = c->stopped = c->parsed = c->inserted = c->growth = 0;
	c->answer.stream = 0;
	c->front_kind = c->front = 0;
	if (n > room->size)
		n = room->size; /* it cannot be: what was shown is there */
	if (kind == H2_UNDECIDED)
		c->undecided = n;
	else if (kind)
		h2_append(c, kind, n);
	room->at = c->parsed = n;
}

/* Fills the window if all of the one before was parsed. */
L7_GLOBAL int h2_next_sent(struct sk_msg_md *msg, struct l7_room *room, struct h2_connection *c)
{
	struct l7_flow *flow;
	__u32 length, unseen;

	if (!room || !c)
		return H2_STOP;
	flow = &c->flows[L7_REQUEST];
	if (c->stopped || l7_is_final(flow))
		return H2_STOP;
	if (room->window.start >= room->window.end) {
		unseen = l7_unseen(flow, room->size - room->at);
		room->at += unseen;
		if (unseen)
			h2_append(c, c->rest_kind, unseen);
		if (c->stopped || room->at >= room->size)
			return H2_STOP;
		length = room->size - room->at;
		if (length > L7_WINDOW)
			length = L7_WINDOW;
		if (c->kind != H2_NONE && c->kind != H2_TAKE) { /* what is judged at once is no longer than a window */
			if (room->at >= L7_WINDOW)
				return H2_STOP;
			if (length > L7_WINDOW - room->at)
				length = L7_WINDOW - room->at;
		}
		if (l7_fill_sent(msg, room, length)) {
			l7_stat(room->decision.service_number, L7_STAT_NOT_FILLED, length);
			h2_append(c, H2_END, room->size - room->at);
			c->stopped = 1;
			return H2_STOP;
		}
		l7_open_window(room, flow, length, L7_REQUEST);
	}
	c->entered = h2_half(c, L7_REQUEST)->phase;
	room->call.start = room->window.start;
	return H2_CALL;
}

/* Whether the frame's stream is one that the server does not know, or that is over for both. */
L7_INLINE int h2_is_unknown(struct h2_connection *c, const struct http2_half *half)
{
	struct http2_stream *stream;

	if (!half->stream)
		return 0;
	stream = h2_stream(c, half->stream);
	if (stream)
		return stream->flags & H2_REFUSED ? 1 : 0;
	/* PRIORITY may name a stream that is not open yet */
	return half->stream <= half->last;
}

/* The acknowledgement of our own SETTINGS is not the server's. */
L7_INLINE int h2_on_settings(struct h2_connection *c, const struct http2_half *half)
{
	if (!(half->flags & HTTP2_ACK))
		return H2_KEEP;
	c->acknowledged++;
	return c->own_settings && c->acknowledged == c->own_settings ? H2_TAKE : H2_KEEP;
}

/* A block that is no request's head: trailers, or on a stream that is forgotten. */
L7_INLINE int h2_on_block(struct l7_room *room, struct h2_connection *c, const struct http2_half *half, __u32 kind)
{
	__u32 effects = c->tables.block[L7_REQUEST].effects;

	if (kind && !h2_is_unknown(c, half))
		return h2_must_rewrite(c, effects) ? h2_rewrite(room, c) : H2_KEEP;
	h2_withhold(c, effects);
	return H2_TAKE;
}

/* DATA: what is taken out of the client's windows is owed to it. */
L7_INLINE int h2_on_data(struct l7_room *room, struct h2_connection *c, const struct http2_half *half)
{
	struct h2_request *request;

	if (h2_is_unknown(c, half)) {
		if (c->entered <= HTTP2_HEADER)
			c->owed += half->length;
		return H2_TAKE;
	}
	request = h2_request_of(c, half->stream);
	if (request)
		request->sent += room->record.count;
	return H2_KEEP;
}

/* The client's answer to the PING that was to make it send something (h2_ask()). */
L7_INLINE int h2_is_woken(struct l7_room *room, struct h2_connection *c, const struct http2_half *half)
{
	__u32 end = room->window.start;

	return c->wakes && half->flags & HTTP2_ACK && end >= 8 && !c->flows[L7_REQUEST].remaining &&
	       (l7_word(&room->window, end - 8) & 0xffffffff) == __builtin_bswap32(H2_PING_TAG << 16);
}

/* A whole frame, or all of it but a payload of which nothing depends. */
L7_INLINE int h2_on_frame(struct l7_room *room, struct h2_connection *c, const struct http2_half *half)
{
	switch (half->type) {
	case HTTP2_TYPE_DATA:
		return h2_on_data(room, c, half);
	case HTTP2_TYPE_HEADERS:
	case HTTP2_TYPE_CONTINUATION:
		if (room->record.kind == HTTP_REQUEST)
			return H2_REQUEST;
		return h2_on_block(room, c, half, room->record.kind);
	case HTTP2_TYPE_SETTINGS:
		return half->phase == HTTP2_HEADER ? h2_on_settings(c, half) : H2_KEEP;
	case HTTP2_TYPE_RST_STREAM:
		if (h2_is_unknown(c, half))
			return H2_TAKE;
		h2_finish(room, c, half->stream);
		return H2_KEEP;
	case HTTP2_TYPE_PING:
		if (!h2_is_woken(room, c, half)) {
			c->client_pings += half->flags & HTTP2_ACK ? 0 : 1;
			c->unfed += half->flags & HTTP2_ACK ? 0 : 1;
			return H2_KEEP;
		}
		c->wakes = 0;
		return H2_TAKE;
	case HTTP2_TYPE_GOAWAY:
		return H2_KEEP;
	}
	return h2_is_unknown(c, half) ? H2_TAKE : H2_KEEP;
}

/* What becomes of the bytes that a call has consumed. */
L7_INLINE int h2_classify(struct l7_room *room, struct h2_connection *c, int op)
{
	struct http2_half *half = h2_half(c, L7_REQUEST);

	if (op == L7_MORE) {
		if (half->phase <= HTTP2_HEADER)
			return H2_UNDECIDED;
		return half->type == HTTP2_TYPE_SETTINGS || half->type == HTTP2_TYPE_PING ||
				       half->type == HTTP2_TYPE_GOAWAY ?
			       H2_KEEP :
			       H2_UNDECIDED;
	}
	/* a flood that was told before the frame itself; a header block that goes on */
	if ((half->phase == HTTP2_HEADER && half->got) || half->block)
		return H2_UNDECIDED;
	return h2_on_frame(room, c, half);
}

/* Carries out what the core answered. Returns what becomes of the bytes that it has consumed. */
L7_GLOBAL int h2_sent_answer(struct l7_room *room, struct h2_connection *c, int op)
{
	if (!room || !c)
		return H2_END;
	op = l7_advance(&c->flows[L7_REQUEST], &room->window, op, &room->record);
	if (op == L7_ERROR || op == L7_ESCALATE) {
		c->undecided += room->size - room->base - room->call.start;
		return H2_END;
	}
	c->undecided += room->window.start - room->call.start;
	c->parsed = room->base + room->window.start;
	return h2_classify(room, c, op);
}

/* It is known what becomes of the bytes that were undecided; 1 to stop. */
L7_GLOBAL int h2_found(struct h2_connection *c, __u32 kind)
{
	__u32 n;

	if (!c)
		return 1;
	if (kind == H2_UNDECIDED)
		return 0;
	n = c->undecided;
	c->undecided = 0;
	c->rest_kind = kind == H2_KEEP || kind == H2_INSERT ? H2_KEEP : H2_TAKE;
	h2_append(c, kind, n);
	if (kind == H2_END)
		c->stopped = 1;
	return c->stopped ? 1 : 0;
}

struct h2_walking {
	struct sk_msg_md *msg;
	struct l7_room *room;
	struct h2_connection *c; /* with the socket locked it stays: looked up once, not for each frame */
};

L7_CALLBACK long h2_sent_step(__u32 number, void *context)
{
	struct h2_walking *walking = context;
	struct l7_room *room = walking->room;
	struct h2_connection *c = walking->c;
	struct l7_config *config = bpf_map_lookup_elem(&l7_configs, &room->decision.service.config);

	int kind;

	(void)number;
	if (!config || h2_next_sent(walking->msg, room, c) != H2_CALL)
		return 1;
	if (h2_lists(c, config))
		config = &c->config;
	kind = h2_sent_answer(room, c, http2_parse(config, &room->window, &c->state, &c->tables, &room->record));
	if (kind == H2_REQUEST)
		kind = h2_on_request(room, c);
	return h2_found(c, kind) ? 1 : 0;
}

#endif
