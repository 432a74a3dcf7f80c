/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What is said to the client instead of what it sent: put into its receive queue, or asked of the server as a PING whose answer
 * becomes it. */
#ifndef EBPFMESH_HTTP2_TIER_RESPOND_H
#define EBPFMESH_HTTP2_TIER_RESPOND_H

#include "forward.h"

#define H2_AGAIN -1 /* no verdict yet */

/* Where the kernel does not bear what is due (enum l7_setting_flag), nothing more leaves this connection: send() fails with EACCES
 * for good, and the responses to what was let through still come. */
L7_INLINE int h2_shuts(struct h2_connection *c, __u32 service)
{
	c->ends = H2_SHUT;
	c->goaway_due = 0;
	l7_stat(service, L7_STAT_REPLY_FAILED, 1);
	return SK_DROP;
}

/* Takes the message's first bytes out; a kernel that does not bear that has it shut. */
L7_INLINE int h2_cut(struct sk_msg_md *msg, struct h2_connection *c, __u32 service, __u32 bytes)
{
	if (l7_cannot(L7_NO_SWALLOWING)) {
		h2_shuts(c, service);
		return -1;
	}
	l7_stat(service, L7_STAT_SWALLOWED, bytes + c->held);
	c->held = 0;
	return bytes ? bpf_msg_pop_data(msg, 0, bytes, 0) : 0;
}

/* Servers of gRPC close a connection on which PINGs come that they did not ask for, more than a few of them between two frames
 * with HEADERS or DATA ("too_many_pings"). Where that would be next, and the server says nothing, none is sent. */
L7_INLINE int h2_is_unfed(struct h2_connection *c)
{
	return c->unfed >= H2_UNFED && c->grpc && bpf_ktime_get_ns() - c->fed_at > H2_QUIET;
}

/* A frame may be put between those of the server now: the client's receive queue ends with a whole one, and will when it gets there.
 * Between this run and the redirect the socket's lock is let go; a segment that arrives just then and ends inside a frame would
 * be in front of ours. So none may wait, and where the server's frames are seen to be cut by segments, nothing is put
 * between them for a while. */
L7_INLINE int h2_may_answer(struct bpf_sock *socket, struct h2_connection *c)
{
	return h2_is_between(c, L7_RESPONSE) && !c->lost && (!c->split || h2_is_unfed(c)) && !h2_backlog(socket);
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
	question->grpc = c->answer.grpc;
	c->pings++;
	c->unfed++;
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
	if (l7_cannot(L7_NO_REPLIES | (bytes ? L7_NO_SWALLOWING : 0)))
		return h2_shuts(c, mark->service);
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

#endif
