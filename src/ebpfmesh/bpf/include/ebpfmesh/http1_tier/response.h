/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What the server answers: followed to know when a response ends, timed and counted. It always goes on. */
#ifndef EBPFMESH_HTTP1_TIER_RESPONSE_H
#define EBPFMESH_HTTP1_TIER_RESPONSE_H

#include "../enrol/room.h"
#include "../l7/http1.h"
#include "../measure/count.h"
#include "walk.h"

/* A part of a head was shown, and not its end. */
L7_INLINE int http1_is_in_head(const struct l7_connection *connection)
{
	const struct http1_half *half = &((const struct http1_state *)connection->state.words)->half[L7_RESPONSE];

	return connection->flows[L7_RESPONSE].op == L7_MORE && half->phase != HTTP1_START &&
	       (half->phase < HTTP1_CHUNK_FIRST || half->phase >= HTTP1_LINE);
}

/* The response at hand is complete: its request is no longer in flight. */
L7_INLINE void http1_response_ends(struct l7_connection *connection)
{
	struct l7_in_flight *request = &connection->in_flight[L7_INDEX(connection->answered, L7_IN_FLIGHT)];
	__u64 now = bpf_ktime_get_ns();

	connection->flags &= ~(L7_RESPONSE_COUNT | L7_IN_RESPONSE);
	if (connection->asked == connection->answered)
		return; /* unasked: the server gave up a head that it saw a part of */
	l7_count_request(connection->service, connection->counter, request->route, connection->status, request->sent,
			 connection->received, now - request->since);
	connection->answered++;
	connection->received = 0;
}

L7_INLINE void http1_responses_lost(struct l7_connection *connection)
{
	if (connection->flags & L7_RESPONSES_LOST)
		return;
	connection->flags |= L7_RESPONSES_LOST;
	l7_stat(connection->service, L7_STAT_RESPONSES_LOST, 1);
}

L7_INLINE __u32 http1_pass_unseen(struct l7_connection *connection, struct l7_flow *flow, __u32 available)
{
	__u32 unseen = l7_unseen(flow, available);

	connection->received += unseen;
	if (connection->flags & L7_RESPONSE_COUNT && !flow->remaining)
		http1_response_ends(connection);
	return unseen;
}

L7_GLOBAL int http1_next_received(struct __sk_buff *skb, struct l7_room *room, struct l7_connection *connection)
{
	struct l7_flow *flow;
	__u32 length;

	if (!room || !connection)
		return L7_STEP_STOP;
	flow = &connection->flows[L7_RESPONSE];
	if (room->window.start >= room->window.end) {
		room->at += http1_pass_unseen(connection, flow, room->size - room->at);
		if (room->at >= room->size)
			return L7_STEP_STOP;
		length = room->size - room->at;
		if (length > L7_WINDOW)
			length = L7_WINDOW;
		if (l7_fill_received(skb, room, length)) {
			http1_responses_lost(connection);
			return L7_STEP_STOP;
		}
		l7_open_window(room, flow, length, L7_RESPONSE);
	}
	room->call.start = room->window.start;
	return L7_STEP_CALL;
}

L7_GLOBAL int http1_received_answer(struct l7_room *room, struct l7_connection *connection, int op)
{
	struct l7_record *record;
	struct l7_flow *flow;

	if (!room || !connection)
		return 1;
	record = &room->record;
	flow = &connection->flows[L7_RESPONSE];
	op = l7_advance(flow, &room->window, op, record);
	connection->received += room->window.start - room->call.start;
	if (op == L7_ERROR || op == L7_ESCALATE) {
		http1_responses_lost(connection);
		return 1;
	}
	if (record->kind == HTTP_RESPONSE || record->kind == HTTP_UPGRADED) {
		connection->status = record->fields[HTTP_STATUS].number;
		connection->flags |= L7_IN_RESPONSE;
	}
	if (record->kind == HTTP_UPGRADED)
		http1_response_ends(connection); /* from here on, bytes of another protocol */
	else if (record->flags & L7_MESSAGE_ENDS && !flow->remaining)
		http1_response_ends(connection);
	else if (record->flags & L7_MESSAGE_ENDS)
		connection->flags |= L7_RESPONSE_COUNT;
	return room->window.start >= room->window.end &&
	       room->at >= room->size; /* or the loop would come again for nothing */
}

L7_CALLBACK long http1_received_step(__u32 number, void *context)
{
	struct http1_walking *walking = context;
	int next = http1_next_received(walking->context, walking->room, walking->connection);

	(void)number;
	if (next != L7_STEP_CALL)
		return next == L7_STEP_STOP ? 1 : 0;
	return http1_received_answer(walking->room, walking->connection, http1_call(walking)) ? 1 : 0;
}

#endif
