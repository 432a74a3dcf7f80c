/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Bytes that go to the server: as they came, with what was held before them and what is inserted, in other words, or once more. */
#ifndef EBPFMESH_HTTP2_TIER_FORWARD_H
#define EBPFMESH_HTTP2_TIER_FORWARD_H

#include "kernel.h"
#include "message.h"
#include "walk.h"

/* The message is changed, and cannot be put right. */
L7_INLINE int h2_broken(struct l7_mark *mark)
{
	l7_stat(mark->service, L7_STAT_REPLY_FAILED, 1);
	return SK_DROP;
}

/* Counts what goes to the server as let through. */
L7_INLINE void h2_let_through(struct l7_mark *mark, struct h2_connection *c, __u32 bytes)
{
	__u64 rest = c->front_kind || c->rest_kind != H2_KEEP ? 0 : c->flows[L7_REQUEST].remaining;

	mark->passed += bytes;
	mark->allowed = mark->passed + rest;
	mark->task = bpf_get_current_pid_tgid();
}

/* Keeps a copy of what is let through, for the case that it does not go out: n bytes of the message, behind those that were held. */
L7_GLOBAL int h2_copy_judged(struct sk_msg_md *msg, struct h2_connection *c, __u64 position, __u32 n)
{
	__u32 parsed;

	if (!c)
		return 0;
	parsed = c->parsed > c->taken ? c->parsed - c->taken : 0;
	if (n > parsed)
		n = parsed;
	c->judged_at = position;
	c->judged_held = c->held;
	c->judged = c->held + n;
	c->exact = !c->inserted && !h2_read(msg, c, c->held, n);
	return 0;
}

/* What was taken out undecided goes in front of the message again. */
L7_INLINE int h2_release(struct sk_msg_md *msg, struct h2_connection *c)
{
	__u32 held = c->held;

	if (!held)
		return 0;
	return bpf_msg_push_data(msg, 0, held, 0) || h2_write(msg, c, H2_HELD_AT, held) ? -1 : 0;
}

/* The piece goes to the server, with what was held before it, and what is inserted. */
L7_GLOBAL int h2_forward(struct sk_msg_md *msg, struct h2_connection *c)
{
	struct bpf_sock *socket = msg->sk;
	__u32 bytes, held, payload_only, total, heads;
	struct l7_mark *mark;
	int inserted = 0;
	__u64 rest;

	if (!c || !socket)
		return SK_DROP;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark)
		return SK_DROP;
	bytes = c->piece;
	held = c->held;
	payload_only = !c->parsed && !held;
	if (c->inserted && !h2_may_push(socket, bytes + held + c->growth)) {
		l7_stat(mark->service, L7_STAT_NOT_TRACED, c->inserted);
		c->inserted = 0;
	}
	h2_copy_judged(msg, c, mark->passed, bytes);
	if (h2_release(msg, c))
		return h2_broken(mark);
	c->held = 0;
	heads = c->inserted;
	if (heads) {
		inserted = h2_insert(msg, c, held);
		if (!c->inserted)
			l7_stat(mark->service, L7_STAT_NOT_TRACED, heads);
	}
	if (inserted == H2_INSERT_BROKE)
		return h2_broken(mark);
	total = bytes + held + inserted;
	h2_let_through(mark, c, total);
	if (total < msg->size)
		return l7_egress(msg, mark, total);
	/* beyond the message only where no head can be sent again (enrol/step.h) */
	rest = payload_only ? mark->allowed - mark->passed : 0;
	return l7_egress(msg, mark, rest && rest < 1 << 24 ? total + rest : 0);
}

/* Makes the message's first bytes others, of room, and ends the piece behind them. */
L7_GLOBAL int h2_replace(struct sk_msg_md *msg, struct h2_connection *c, __u32 bytes, __u32 from, __u32 length)
{
	if (!c)
		return -1;
	if (bytes > length && bpf_msg_pop_data(msg, 0, bytes - length, 0))
		return -1;
	if (bytes < length && bpf_msg_push_data(msg, 0, length - bytes, 0))
		return -1;
	if (h2_write(msg, c, from, length))
		return -1;
	bpf_msg_apply_bytes(msg, length);
	return 0;
}

/* What goes to the server is not what the client sent: if it does not go out, nobody can say what comes again. */
L7_INLINE void h2_forget_judged(struct l7_mark *mark, struct h2_connection *c, __u32 bytes)
{
	c->judged_at = mark->passed;
	c->judged = bytes;
	c->judged_held = c->exact = 0;
}

/* The frame goes to the server in other words. */
L7_GLOBAL int h2_reword(struct sk_msg_md *msg, struct h2_connection *c)
{
	struct bpf_sock *socket = msg->sk;
	struct l7_mark *mark;

	if (!c || !socket)
		return SK_DROP;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark)
		return SK_DROP;
	c->held = 0;
	h2_forget_judged(mark, c, c->block);
	if (h2_replace(msg, c, c->piece, 0, c->block))
		return h2_broken(mark);
	h2_let_through(mark, c, c->block);
	return l7_egress(msg, mark, c->block);
}

/* Bytes that were let through and did not go out come again: those that were looked at must be the same. */
L7_GLOBAL int h2_again(struct sk_msg_md *msg, struct h2_connection *c)
{
	struct bpf_sock *socket = msg->sk;
	struct l7_mark *mark;
	__u32 missing, at, n;

	if (!c || !socket)
		return SK_DROP;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark || !l7_is_alone(socket, mark) || mark->position < c->judged_at)
		goto out;
	missing = mark->passed - mark->position;
	if (missing > msg->size)
		missing = msg->size;
	at = mark->position - c->judged_at;
	if (at < c->judged) {
		n = c->judged - at < missing ? c->judged - at : missing;
		if (!c->exact || at < c->judged_held || !h2_is_same(msg, c, at, n))
			goto out;
	}
	l7_stat(mark->service, L7_STAT_RESENT, missing);
	return l7_egress(msg, mark, missing);
out:
	if (mark)
		l7_falls_out(mark);
	return SK_DROP;
}

#endif
