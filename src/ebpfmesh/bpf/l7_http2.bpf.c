// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* Tier 1 for HTTP/2 and gRPC: http2_sent judges requests, stream by stream, inside the client's own send(), http2_received follows
 * what the server answers. docs/http2-in-the-kernel.md has the whole story.
 *
 * Both are tail-called by the entry programs of l7.bpf.c, for sockets that are enrolled, with the socket locked. The core needs
 * nearly all of the stack: the programs keep everything in the room of this CPU and in the connection's element.
 *
 * Minimum kernel: 5.18. */
#include "ebpfmesh/http2_tier/response.h"
#include "ebpfmesh/http2_tier/verdict.h"

L7_ROOM(l7_room_msg);
L7_ROOM(l7_room_skb);

#define H2_PASSES 4 /* over what is left of a message from which bytes were taken out without an answer */

enum h2_entry {
	H2_WALK = -1,
	H2_OVER = -2, /* decided: the verdict is in the room */
};

/* Bytes that cannot be looked at at all: a program above us on this CPU has every room, or a map lacks an entry. */
L7_INLINE int h2_fails(struct sk_msg_md *msg, struct l7_mark *mark, __u32 stat)
{
	l7_stat(mark->service, stat, 1);
	return l7_fails_open(mark->service, L7_ERRORS_PASS) ? l7_set_free(msg, mark) : SK_DROP;
}

/* The connection's element, made with its first byte, has no room: as the policy says of what cannot be followed. */
L7_INLINE int h2_no_room(struct sk_msg_md *msg, struct l7_mark *mark)
{
	const struct l7_service *service = l7_service_now(mark->service);

	if (!service || service->undecodable != L7_PASS_OPAQUE) {
		l7_stat(mark->service, L7_STAT_UNDECODABLE_REFUSED, 1);
		return SK_DROP;
	}
	l7_stat(mark->service, L7_STAT_UNDECODABLE_PASSED, 1);
	return l7_set_free(msg, mark);
}

/* Bytes that left under the verdict of a payload: what the flow awaits of it becomes less. 0 if they are more than that. */
L7_INLINE int h2_left_unseen(struct l7_mark *mark, struct h2_connection *c)
{
	__u64 extra = mark->position - mark->passed;

	if (mark->position > mark->allowed || c->rest_kind != H2_KEEP ||
	    l7_unseen(&c->flows[L7_REQUEST], extra) != extra)
		return 0;
	mark->passed = mark->position;
	return 1;
}

/* Whether what this message begins with is new. H2_WALK, or a verdict. */
L7_GLOBAL int h2_enter(struct sk_msg_md *msg)
{
	struct bpf_sock *socket = msg->sk;
	struct h2_connection *c;
	struct l7_mark *mark;
	__u64 cookie;

	if (!socket)
		return SK_DROP;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark)
		return SK_DROP;
	cookie = mark->cookie;
	c = h2_find(cookie);
	if (!c && h2_make(cookie))
		c = h2_find(cookie);
	if (!c)
		return h2_no_room(msg, mark);
	if (l7_where(socket, mark))
		return h2_fails(msg, mark, L7_STAT_LOOK_UPS_FAILED);
	if (mark->position < mark->passed)
		return h2_again(msg, c);
	if (mark->position > mark->passed && !h2_left_unseen(mark, c)) {
		l7_falls_out(mark);
		return SK_DROP;
	}
	if (c->ends) {
		if (c->ends == H2_SHUT)
			return SK_DROP;
		c->answer.stream = 0;
		if (c->goaway_due)
			return h2_respond(msg, c, msg->size);
		return h2_cut(msg, c, mark->service, msg->size) ? SK_DROP : l7_egress(msg, mark, 0);
	}
	c->answer.stream = 0;
	if (c->settings_due && !c->held && h2_may_answer(socket, c)) {
		if (!l7_cannot(L7_NO_REPLIES | L7_NO_SWALLOWING))
			return h2_respond(msg, c, 0);
		c->settings_due = 0; /* blocks that refer to the table are reworded for good */
	}
	return H2_WALK;
}

/* What no room is left for. */
L7_GLOBAL int h2_without(struct sk_msg_md *msg, __u32 scratch)
{
	struct bpf_sock *socket = msg->sk;
	struct l7_mark *mark;

	if (!socket)
		return SK_DROP;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark)
		return SK_DROP;
	if (scratch)
		return h2_fails(msg, mark, L7_STAT_NO_SCRATCH);
	return h2_fails(msg, mark, L7_STAT_LOOK_UPS_FAILED);
}

/* Sets the room up for a message; 0 if what is in force cannot be said. */
L7_GLOBAL int h2_set_up(struct sk_msg_md *msg, struct l7_room *room)
{
	struct bpf_sock *socket = msg->sk;
	struct l7_mark *mark;

	if (!room || !socket)
		return 0;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark)
		return 0;
	room->cookie = mark->cookie;
	room->found = 0;
	return h2_begin_decision(&room->decision, mark->service);
}

/* Before a walk over what the message is now. */
L7_GLOBAL int h2_start(struct sk_msg_md *msg, struct l7_room *room)
{
	struct h2_connection *c;
	__u64 cookie;

	if (!room)
		return 0;
	cookie = room->cookie;
	c = h2_find(cookie);
	if (!c)
		return 0;
	room->size = msg->size;
	room->base = 0;
	room->window.start = room->window.end = 0;
	h2_note_generation(c, room->decision.generation);
	h2_begin_walk(room, c);
	return 1;
}

/* The core is told of SETTINGS of ours, as if the server had sent them. */
L7_GLOBAL int h2_tell_settings(struct l7_room *room)
{
	struct h2_connection *c;
	struct l7_config *config;
	__u64 cookie;
	__u32 number;

	if (!room)
		return 0;
	cookie = room->cookie;
	c = h2_find(cookie);
	number = room->decision.service.config;
	config = l7_element(&l7_configs, number);
	if (!c || !config)
		return 0;
	c->untold = 0;
	l7_store64(room->window.data, 0x0000000004060000ull);	  /* length 6, SETTINGS, no flags, stream 0 */
	l7_store64(room->window.data + 8, 0x0000000000010000ull); /* HEADER_TABLE_SIZE = 0 */
	room->window.size = sizeof room->window;
	room->window.start = 0;
	room->window.end = 15;
	room->window.direction = L7_RESPONSE;
	room->window.flags = 0;
	room->window.gap = 0;
	return http2_parse(config, &room->window, &c->state, &c->tables, &room->record);
}

L7_GLOBAL int h2_is_untold(struct l7_room *room)
{
	struct h2_connection *c;
	__u64 cookie;

	if (!room)
		return 0;
	cookie = room->cookie;
	c = h2_find(cookie);
	return c && c->untold;
}

SEC("sk_msg") int http2_sent(struct sk_msg_md *msg)
{
	struct h2_walking walking = { .msg = msg };
	int verdict = h2_enter(msg);

	if (verdict == SK_DROP)
		return SK_DROP;
	walking.room = l7_room_msg_take();
	if (!walking.room)
		return verdict == H2_WALK ? h2_without(msg, 1) : verdict;
	if (!h2_set_up(msg, walking.room)) {
		l7_leave(walking.room);
		return verdict == H2_WALK ? h2_without(msg, 0) : verdict;
	}
	for (int pass = 0; pass < H2_PASSES && verdict < 0; pass++) {
		if (!h2_start(msg, walking.room))
			break;
		walking.c = h2_find(walking.room->cookie);
		if (!walking.c)
			break;
		bpf_loop(H2_STEPS, h2_sent_step, &walking, 0);
		verdict = h2_conclude(msg, walking.room);
	}
	if (h2_is_untold(walking.room))
		h2_tell_settings(walking.room);
	l7_leave(walking.room);
	return verdict < 0 ? SK_DROP : verdict;
}

/* The room for a segment; 0 if it cannot be followed. */
L7_GLOBAL int h2_receive(struct __sk_buff *skb, struct l7_room *room)
{
	struct l7_connection *connection;
	struct h2_connection *c;
	__u64 cookie = bpf_get_socket_cookie(skb);

	if (!room)
		return 0;
	connection = bpf_map_lookup_elem(&l7_connections, &cookie);
	if (!connection)
		return 0;
	c = h2_find(cookie);
	if (!c && h2_make(cookie))
		c = h2_find(cookie);
	if (!c || !h2_begin_decision(&room->decision, connection->service))
		return 0;
	room->cookie = cookie;
	room->size = skb->len;
	room->at = room->base = room->found = 0;
	room->window.start = room->window.end = 0;
	c->tail_due = c->answer_left ? 1 : 0;
	h2_note_generation(c, room->decision.generation);
	return 1;
}

L7_GLOBAL int h2_received_end(struct __sk_buff *skb, struct l7_room *room)
{
	struct h2_connection *c;
	__u64 cookie;

	if (!room)
		return 0;
	cookie = room->cookie;
	c = h2_find(cookie);
	if (!c)
		return 0;
	h2_go_on(skb, c);
	return h2_note_border(c);
}

/* A segment that could not be looked at. */
L7_GLOBAL int h2_unseen(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct h2_connection *c = h2_find(cookie);
	struct l7_connection *connection = bpf_map_lookup_elem(&l7_connections, &cookie);

	if (!c || !connection)
		return 0;
	l7_stat(connection->service, L7_STAT_NO_SCRATCH, 1);
	h2_responses_lost(c, connection->service);
	return 0;
}

SEC("sk_skb/stream_verdict") int http2_received(struct __sk_buff *skb)
{
	struct h2_receiving receiving = { .skb = skb };

	receiving.room = l7_room_skb_take();
	if (!receiving.room) {
		h2_unseen(skb);
		return SK_PASS;
	}
	if (h2_receive(skb, receiving.room)) {
		receiving.c = h2_find(receiving.room->cookie);
		if (receiving.c)
			bpf_loop(H2_STEPS_RECEIVED, h2_received_step, &receiving, 0);
		h2_received_end(skb, receiving.room);
	}
	l7_leave(receiving.room);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
