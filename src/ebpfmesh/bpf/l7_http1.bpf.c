// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* Tier 1 for HTTP/1: http1_sent judges requests inside the client's own send(), http1_received follows the responses.
 *
 * Both are tail-called by the entry programs of l7.bpf.c, for sockets that are enrolled, with the socket locked. One run judges
 * one request: what precedes and follows it in a message of several gets runs of its own (bpf_msg_apply_bytes()).
 *
 * Minimum kernel: 5.18. */
#include "ebpfmesh/http1_tier/response.h"
#include "ebpfmesh/http1_tier/swallow.h"
#include "ebpfmesh/http1_tier/verdict.h"

L7_ROOM(l7_sent_in);
L7_ROOM(l7_received_in);

/* Bytes that cannot be looked at at all: a program above us on this CPU has every room, or a map lacks an entry. */
L7_INLINE int http1_fails(struct sk_msg_md *msg, struct l7_mark *mark, __u32 stat)
{
	l7_stat(mark->service, stat, 1);
	if (!l7_fails_open(mark->service, L7_ERRORS_PASS))
		return SK_DROP;
	return l7_set_free(msg, mark);
}

L7_INLINE int http1_swallows(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
			     struct l7_connection *connection)
{
	struct http1_walking walking = {
		.context = msg,
		.room = room,
		.connection = connection,
		.config = l7_element(&l7_configs, connection->config),
	};

	if (connection->flags & L7_REPLY_DUE && connection->asked == connection->answered) {
		connection->flags &= ~L7_REPLY_DUE;
		room->decision.reply = connection->reply;
		room->decision.retry_after = connection->retry_after;
		room->decision.method = room->decision.route = 0;
		return http1_deliver(msg, room, connection, room->size, L7_REPLY_CLOSES, L7_STAT_OUTSTANDING_REPLIED);
	}
	if (connection->flags & L7_SWALLOWS_ALL)
		return http1_swallow_message(msg, room, mark);
	if (walking.config)
		bpf_loop(L7_SWALLOW_WALK, http1_swallow_step, &walking, 0);
	/* what is left of a message while its payload is swallowed is payload: it never goes on to be judged */
	if (!walking.config || room->found == L7_FOUND_ERROR || (room->size && connection->flags & L7_SWALLOWS)) {
		connection->flags |= L7_SWALLOWS_ALL;
		return http1_swallow_message(msg, room, mark);
	}
	return -1; /* something may be left of the message */
}

L7_INLINE int http1_walk(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
			 struct l7_connection *connection)
{
	struct http1_walking walking = {
		.context = msg,
		.room = room,
		.connection = connection,
		.config = l7_element(&l7_configs, connection->config),
	};
	int verdict;

	if (connection->flags & L7_HAS_PART) {
		connection->flags &= ~L7_HAS_PART;
		if (l7_fetch_part(room, L7_REQUEST))
			return http1_lost(msg, room, mark, connection);
	}
	if (walking.config)
		bpf_loop(L7_WALK, http1_sent_step, &walking, 0);
	if (room->found == L7_FOUND_NOTHING && room->parsed) {
		room->end = room->base + room->window.start; /* very many chunks: the rest has a run of its own */
		room->found = L7_FOUND_END;
	}
	if (room->found == L7_FOUND_END) {
		verdict = http1_pass_on(msg, room, mark, connection);
		return verdict < 0 ? http1_lost(msg, room, mark, connection) : verdict;
	}
	if (room->found != L7_FOUND_REQUEST)
		return http1_lost(msg, room, mark, connection);
	if (http1_judge(room, connection))
		return http1_admit(msg, room, mark, connection);
	return http1_refuse_request(msg, room, mark, connection);
}

L7_INLINE void http1_enter(struct l7_room *room, __u64 cookie, __u32 size)
{
	room->cookie = cookie;
	room->size = size;
	room->at = room->base = room->head = room->end = 0;
	room->found = room->parsed = room->payload = 0;
	room->window.start = room->window.end = 0;
}

/* What was judged and did not leave comes again, and behind it the payload. */
L7_INLINE int http1_resend(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
			   struct l7_connection *connection)
{
	int again = l7_comes_again(msg, room);
	__u32 bytes;

	if (again < 0) {
		l7_falls_out(mark);
		return SK_DROP;
	}
	connection->resending -= again;
	bytes = again;
	if (!connection->resending)
		bytes += l7_unseen(&connection->flows[L7_REQUEST], room->size - bytes);
	return http1_forward(msg, room, mark, connection, bytes, 0);
}

SEC("sk_msg") int http1_sent(struct sk_msg_md *msg)
{
	struct bpf_sock *socket = msg->sk;
	struct l7_connection *connection;
	struct l7_room *room;
	struct l7_mark *mark;
	int verdict = -1;

	if (!socket)
		return SK_DROP;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark)
		return SK_DROP;
	connection = bpf_map_lookup_elem(&l7_connections, &mark->cookie);
	if (!connection || l7_where(socket, mark))
		return http1_fails(msg, mark, L7_STAT_LOOK_UPS_FAILED);
	if (mark->position < mark->passed && !l7_is_alone(socket, mark)) {
		l7_falls_out(mark);
		return SK_DROP;
	}
	if (mark->position != mark->passed && !l7_in_step(mark, connection))
		return SK_DROP;
	room = l7_sent_in_take();
	if (!room)
		return http1_fails(msg, mark, L7_STAT_NO_SCRATCH);
	http1_enter(room, mark->cookie, msg->size);
	room->tight = l7_is_tight(socket, msg->size);
	room->granted = l7_granted(socket);
	if (!l7_begin_decision(&room->decision, connection)) {
		l7_leave(room);
		return http1_fails(msg, mark, L7_STAT_LOOK_UPS_FAILED);
	}
	if (room->decision.service.flags & L7_SERVICE_PRESENT && connection->config != room->decision.service.config)
		connection->config = room->decision.service.config;
	if (connection->flags & (L7_SWALLOWS | L7_SWALLOWS_ALL)) {
		verdict = http1_swallows(msg, room, mark, connection);
		if (verdict < 0 && !room->size) {
			verdict = l7_egress(msg, mark, 0); /* nothing is left */
		}
	}
	if (verdict < 0 && connection->resending)
		verdict = http1_resend(msg, room, mark, connection);
	if (verdict < 0)
		verdict = http1_walk(msg, room, mark, connection);
	l7_leave(room);
	return verdict;
}

SEC("sk_skb/stream_verdict") int http1_received(struct __sk_buff *skb)
{
	struct http1_walking walking = { .context = skb };
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct l7_connection *connection = bpf_map_lookup_elem(&l7_connections, &cookie);
	struct l7_room *room;

	if (!connection)
		return SK_PASS;
	room = l7_received_in_take();
	if (!room) {
		l7_stat(connection->service, L7_STAT_NO_SCRATCH, 1);
		http1_responses_lost(connection);
		l7_lost(&connection->flows[L7_RESPONSE], skb->len);
		return SK_PASS;
	}
	walking.room = room;
	walking.connection = connection;
	http1_enter(room, cookie, skb->len);
	if (connection->flags & L7_HAS_RESPONSE_PART) {
		connection->flags &= ~L7_HAS_RESPONSE_PART;
		if (l7_fetch_part(room, L7_RESPONSE))
			http1_responses_lost(connection);
	}
	walking.config = l7_element(&l7_configs, connection->config);
	if (walking.config && !(connection->flags & L7_RESPONSES_LOST))
		bpf_loop(L7_WALK, http1_received_step, &walking, 0);
	if (http1_is_in_head(connection) && !(connection->flags & L7_RESPONSES_LOST)) {
		connection->flags |= L7_HAS_RESPONSE_PART;
		if (l7_keep_part(room, L7_RESPONSE))
			http1_responses_lost(connection);
	}
	l7_leave(room);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
