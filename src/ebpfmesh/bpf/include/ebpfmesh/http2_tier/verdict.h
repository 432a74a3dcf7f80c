/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What becomes of the piece that the walk has found: it goes to the server, waits here, is taken out, or is answered. */
#ifndef EBPFMESH_HTTP2_TIER_VERDICT_H
#define EBPFMESH_HTTP2_TIER_VERDICT_H

#include "kernel.h"
#include "message.h"
#include "walk.h"

#define H2_AGAIN -1 /* no verdict yet */

L7_INLINE struct l7_mark *h2_mark(struct sk_msg_md *msg)
{
	struct bpf_sock *socket = msg->sk;

	return socket ? bpf_sk_storage_get(&l7_marks, socket, 0, 0) : 0;
}

/* The message is changed, and cannot be put right. */
L7_INLINE int h2_broken(struct l7_mark *mark)
{
	l7_stat(mark->service, L7_STAT_REPLY_FAILED, 1);
	return SK_DROP;
}

/* Takes the message's first bytes out. */
L7_INLINE int h2_cut(struct sk_msg_md *msg, struct h2_connection *c, __u32 service, __u32 bytes)
{
	l7_stat(service, L7_STAT_SWALLOWED, bytes + c->held);
	c->held = 0;
	return bytes ? bpf_msg_pop_data(msg, 0, bytes, 0) : 0;
}

/* --- to the server ---------------------------------------------------------------------------------------------------- */

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

/* Puts a block of ours at the end of the request's head, and adds its length to that of the frame. held bytes precede the piece
 * by now. Returns how many bytes it inserted; negative: the message is broken. */
L7_GLOBAL int h2_insert(struct sk_msg_md *msg, struct h2_connection *c, __u32 held)
{
	__u32 bytes = h2_put_trace(c), at, end, length;
	__u8 *data;

	if (!c || !bytes)
		return 0;
	end = held + c->head_end;
	at = c->head_at ? held + c->head_at : 0; /* what was held is the beginning of the first frame */
	length = end - at - 9 + bytes;
	if (end > 0x7000)
		return 0;
	if (bpf_msg_push_data(msg, end, bytes, 0))
		return 0;
	if (msg->size <= L7_WINDOW && bpf_msg_pull_data(msg, 0, msg->size, 0)) /* the transport is slow with pieces */
		return -1;
	if (h2_write(msg, c, end, H2_OUT_AT, bytes) || bpf_msg_pull_data(msg, at, at + 3, 0))
		return -1;
	data = msg->data;
	if ((void *)(data + 3) > msg->data_end)
		return -1;
	*(volatile __u8 *)data = length >> 16;
	*(volatile __u8 *)(data + 1) = length >> 8;
	*(volatile __u8 *)(data + 2) = length;
	return bytes;
}

/* What was taken out undecided goes in front of the message again. */
L7_INLINE int h2_release(struct sk_msg_md *msg, struct h2_connection *c)
{
	__u32 held = c->held;

	if (!held)
		return 0;
	return bpf_msg_push_data(msg, 0, held, 0) || h2_write(msg, c, 0, H2_HELD_AT, held) ? -1 : 0;
}

/* The piece goes to the server, with what was held before it, and what is inserted. */
L7_GLOBAL int h2_forward(struct sk_msg_md *msg, struct h2_connection *c)
{
	struct bpf_sock *socket = msg->sk;
	__u32 bytes, held, payload_only, total;
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
	if (c->inserted && !h2_may_push(socket, bytes + held + 1024)) {
		l7_stat(mark->service, L7_STAT_NOT_TRACED, 1);
		c->inserted = 0;
	}
	h2_copy_judged(msg, c, mark->passed, bytes);
	if (h2_release(msg, c))
		return h2_broken(mark);
	c->held = 0;
	if (c->inserted)
		inserted = h2_insert(msg, c, held);
	if (inserted < 0)
		return h2_broken(mark);
	total = bytes + held + inserted;
	h2_let_through(mark, c, total);
	if (total < msg->size)
		return l7_egress(msg, mark, total);
	/* beyond the message only where no head can be sent again (enrol/step.h) */
	rest = payload_only ? mark->allowed - mark->passed : 0;
	return l7_egress(msg, mark, rest && rest < 1 << 24 ? total + rest : 0);
}

/* --- to the client ---------------------------------------------------------------------------------------------------- */

/* A frame may be put between those of the server now: the client's receive queue ends with a whole one, and will when it gets there.
 * Between this run and the redirect the socket's lock is let go; a segment that arrives just then and ends inside a frame would
 * be in front of ours. So none may wait, and where the server's frames are seen to be cut by segments, nothing is put
 * between them for a while. */
L7_INLINE int h2_may_answer(struct bpf_sock *socket, struct h2_connection *c)
{
	return h2_is_between(c, L7_RESPONSE) && !c->lost && !c->split && !h2_backlog(socket);
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
	if (h2_write(msg, c, 0, from, length))
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

/* All that is to be said to the client, into room. A server's first frame is SETTINGS: if it has not come yet, ours is. */
L7_GLOBAL int h2_compose(struct h2_connection *c)
{
	if (!c)
		return 0;
	c->out = 0;
	if (!c->own_settings && (c->settings_due || (!c->seen_settings && (c->answer.stream || c->goaway_due)))) {
		h2_put_settings(c);
		c->settings++;
		c->own_settings = c->settings;
		c->settings_due = 0;
		c->stateless = 1;
		c->untold = 1;
	}
	if (c->answer.stream)
		h2_put_reply(c);
	if (c->owed && c->own_settings + c->seen_settings) {
		h2_put_window_update(c, 0, c->owed);
		c->owed = 0;
	}
	if (c->goaway_due) {
		h2_put_goaway(c, c->goaway - 1, c->goaway_code);
		c->goaway_due = 0;
	}
	return c->out;
}

/* Nothing can be put in here: the server is asked for a PING, and its answer, which has a place of its own, becomes the
 * refusal; or, where it is only the client's window that is due, a PING to the client, whose answer is the next occasion
 * (h2_amend_ping()). */
L7_INLINE int h2_ask(struct sk_msg_md *msg, struct h2_connection *c, struct l7_mark *mark, __u32 bytes)
{
	struct h2_question *question;

	c->out = 0;
	h2_put_ping(c, c->answer.stream ? c->answer.status : 0, c->answer.stream);
	h2_forget_judged(mark, c, H2_PING_LENGTH);
	if (h2_replace(msg, c, bytes, H2_OUT_AT, H2_PING_LENGTH))
		return h2_broken(mark);
	question = &c->questions[L7_INDEX(c->asked + c->pings, H2_QUESTIONS)];
	question->stream = c->answer.stream;
	question->status = c->answer.stream ? c->answer.status : 0;
	c->pings++;
	if (!c->answer.stream)
		c->wakes = 1;
	h2_let_through(mark, c, H2_PING_LENGTH);
	if (c->answer.stream)
		l7_stat(mark->service, L7_STAT_OUTSTANDING_REPLIED, 1);
	return l7_egress(msg, mark, H2_PING_LENGTH);
}

/* Nothing can be said now: the bytes are taken out, and what follows them is looked at. */
L7_INLINE int h2_silently(struct sk_msg_md *msg, struct l7_mark *mark, __u32 bytes)
{
	if (bytes && bpf_msg_pop_data(msg, 0, bytes, 0))
		return SK_DROP;
	return msg->size ? H2_AGAIN : l7_egress(msg, mark, 0);
}

/* Says what is due, instead of the first bytes of the message. */
L7_GLOBAL int h2_respond(struct sk_msg_md *msg, struct h2_connection *c, __u32 bytes)
{
	struct bpf_sock *socket = msg->sk;
	struct l7_mark *mark;
	__u64 cookie;

	if (!c || !socket)
		return SK_DROP;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark || !h2_may_receive(socket))
		return SK_DROP;
	cookie = mark->cookie;
	if (bytes) {
		l7_stat(mark->service, L7_STAT_SWALLOWED, bytes + c->held);
		c->held = 0;
	}
	if (!h2_may_answer(socket, c)) {
		if (bytes && !c->lost && c->pings < H2_QUESTIONS &&
		    (c->answer.stream || (!c->wakes && h2_may_push(socket, H2_PING_LENGTH))))
			return h2_ask(msg, c, mark, bytes);
		return c->answer.stream ? h2_broken(mark) : h2_silently(msg, mark, bytes);
	}
	if (!h2_compose(c))
		return h2_silently(msg, mark, bytes);
	if (c->answer.stream)
		l7_stat(mark->service, L7_STAT_REPLIED, 1);
	if (h2_replace(msg, c, bytes, H2_OUT_AT, c->out))
		return h2_broken(mark);
	return bpf_msg_redirect_hash(msg, &l7_sockets, &cookie, BPF_F_INGRESS);
}

/* --- a run's end ------------------------------------------------------------------------------------------------------ */

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
	c->ends = 1;
	if (!h2_half(c, L7_REQUEST)->begun)
		return SK_DROP; /* nobody speaks HTTP/2 here */
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
		if (!msg->size || (c->undecided && !h2_hold(msg, c)))
			return h2_nothing(msg);
		break;
	}
	return h2_end(msg, room, c);
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
