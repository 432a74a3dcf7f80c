/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The end of a run: what becomes of the piece that the walk has found. It goes to the server, waits here, is taken out, or is
 * answered; or nothing can be followed any more. */
#ifndef EBPFMESH_HTTP2_TIER_VERDICT_H
#define EBPFMESH_HTTP2_TIER_VERDICT_H

#include "forward.h"
#include "respond.h"

L7_INLINE struct l7_mark *h2_mark(struct sk_msg_md *msg)
{
	struct bpf_sock *socket = msg->sk;

	return socket ? bpf_sk_storage_get(&l7_marks, socket, 0, 0) : 0;
}

/* All that is left of the message is undecided: it is taken out, and kept until the rest comes. */
L7_INLINE int h2_hold(struct sk_msg_md *msg, struct h2_connection *c)
{
	__u32 n = c->undecided;

	if (msg->size != n || h2_read(msg, c, c->held, n))
		return -1;
	c->held += n;
	c->judged = c->undecided = 0;
	return bpf_msg_pop_data(msg, 0, n, 0);
}

/* From here on nothing can be followed: as the policy says, it passes, or the connection ends: after the streams that were let
 * through, of which the client is told. */
L7_GLOBAL int h2_end(struct sk_msg_md *msg, struct l7_room *room, struct h2_connection *c)
{
	struct bpf_sock *socket = msg->sk;
	struct l7_connection *connection;
	struct l7_mark *mark;
	__u64 cookie;
	__u32 passes;

	if (!room || !c || !socket)
		return SK_DROP;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark)
		return SK_DROP;
	passes = room->decision.service.undecodable == L7_PASS_OPAQUE;
	cookie = mark->cookie;
	connection = bpf_map_lookup_elem(&l7_connections, &cookie);
	if (connection)
		l7_log_connection(connection, L7_LOG_UNDECODABLE, passes);
	if (passes) {
		l7_stat(mark->service, L7_STAT_UNDECODABLE_PASSED, 1);
		if (h2_release(msg, c))
			return SK_DROP;
		return l7_set_free(msg, mark);
	}
	l7_stat(mark->service, L7_STAT_UNDECODABLE_REFUSED, 1);
	c->ends = H2_SWALLOWS;
	if (!h2_half(c, L7_REQUEST)->begun)
		return SK_DROP; /* nobody speaks HTTP/2 here */
	if (l7_cannot(L7_NO_REPLIES | L7_NO_SWALLOWING))
		return h2_shuts(c, mark->service);
	c->answer.stream = 0;
	c->goaway = 1 + (c->refused > c->allowed ? c->refused : c->allowed);
	c->goaway_code = H2_PROTOCOL_ERROR;
	c->goaway_due = 1;
	l7_stat(mark->service, L7_STAT_GOAWAY, 1);
	return h2_respond(msg, c, msg->size);
}

/* What is undecided behind the piece is at the front of the next run. */
L7_INLINE void h2_leave_undecided(struct h2_connection *c)
{
	if (!c->undecided)
		return;
	c->front_kind = H2_UNDECIDED;
	c->front = c->undecided;
	c->undecided = 0;
}

/* Nothing is left of the message. */
L7_INLINE int h2_nothing(struct sk_msg_md *msg)
{
	struct l7_mark *mark = h2_mark(msg);

	return mark ? l7_egress(msg, mark, 0) : SK_DROP;
}

/* The run's verdict, or H2_AGAIN: bytes were taken out, and others are left to be looked at. */
L7_GLOBAL int h2_conclude(struct sk_msg_md *msg, struct l7_room *room)
{
	struct h2_connection *c;
	__u64 cookie;
	__u32 cut;

	if (!room)
		return SK_DROP;
	cookie = room->cookie;
	c = h2_find(cookie);
	if (!c)
		return SK_DROP;
	if (c->kind == H2_TAKE && c->owed >= H2_CREDIT) {
		c->kind = H2_ANSWER;
		c->answer.stream = 0;
	}
	cut = c->kind == H2_TAKE ? c->piece : c->taken;
	if (c->kind == H2_TAKE)
		c->kind = H2_NONE;
	if (cut && h2_cut(msg, c, room->decision.service_number, cut))
		return SK_DROP;
	switch (c->kind) {
	case H2_KEEP:
		h2_leave_undecided(c);
		return h2_forward(msg, c);
	case H2_REWRITE:
		h2_leave_undecided(c);
		return h2_reword(msg, c);
	case H2_ANSWER:
		h2_leave_undecided(c);
		return h2_respond(msg, c, c->piece);
	case H2_NONE:
		if (c->undecided && l7_cannot(L7_NO_SWALLOWING))
			return h2_shuts(c, room->decision.service_number);
		if (!msg->size || (c->undecided && !h2_hold(msg, c)))
			return h2_nothing(msg);
		break;
	}
	return h2_end(msg, room, c);
}

#endif
