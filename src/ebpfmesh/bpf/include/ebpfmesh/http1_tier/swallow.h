/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The rest of a request that was answered here: its payload is taken out of what the client still sends. */
#ifndef EBPFMESH_HTTP1_TIER_SWALLOW_H
#define EBPFMESH_HTTP1_TIER_SWALLOW_H

#include "walk.h"

#define L7_SWALLOW_WALK (1 << 17) /* steps: more than chunks can be in a message */

/* Takes the first bytes of the message out. */
L7_INLINE int http1_cut(struct sk_msg_md *msg, struct l7_room *room, __u32 service, __u32 bytes)
{
	if (bytes && bpf_msg_pop_data(msg, 0, bytes, 0))
		return -1;
	l7_stat(service, L7_STAT_SWALLOWED, bytes);
	room->size -= bytes;
	room->at = room->base = 0;
	room->window.start = room->window.end = 0;
	return 0;
}

/* One piece of a chunked payload. Returns L7_STEP_CALL if the core is to be called for it. */
L7_GLOBAL int http1_next_swallowed(struct sk_msg_md *msg, struct l7_room *room, struct l7_connection *connection)
{
	struct l7_flow *flow;
	__u32 length;

	if (!room || !connection)
		return L7_STEP_STOP;
	flow = &connection->flows[L7_REQUEST];
	length = l7_unseen(flow, room->size);
	if (length && http1_cut(msg, room, connection->service, length)) {
		room->found = L7_FOUND_ERROR;
		return L7_STEP_STOP;
	}
	if (connection->flags & L7_SWALLOWS_COUNT && !flow->remaining) {
		connection->flags &= ~(L7_SWALLOWS | L7_SWALLOWS_COUNT);
		return L7_STEP_STOP;
	}
	if (!room->size)
		return L7_STEP_STOP;
	length = room->size < L7_WINDOW ? room->size : L7_WINDOW;
	if (l7_fill_sent(msg, room, length)) {
		room->found = L7_FOUND_ERROR;
		return L7_STEP_STOP;
	}
	l7_open_window(room, flow, length, L7_REQUEST);
	room->call.start = 0;
	return L7_STEP_CALL;
}

L7_GLOBAL int http1_swallowed_answer(struct sk_msg_md *msg, struct l7_room *room, struct l7_connection *connection,
				     int op)
{
	int ends;

	if (!room || !connection)
		return 1;
	op = l7_advance(&connection->flows[L7_REQUEST], &room->window, op, &room->record);
	ends = room->record.flags & L7_MESSAGE_ENDS;
	if (op == L7_ERROR || op == L7_ESCALATE || http1_cut(msg, room, connection->service, room->window.start)) {
		room->found = L7_FOUND_ERROR;
		return 1;
	}
	if (!ends)
		return 0;
	connection->flags &= ~L7_SWALLOWS;
	return 1;
}

L7_CALLBACK long http1_swallow_step(__u32 number, void *context)
{
	struct http1_walking *walking = context;
	int next = http1_next_swallowed(walking->context, walking->room, walking->connection);

	(void)number;
	if (next != L7_STEP_CALL)
		return 1;
	return http1_swallowed_answer(walking->context, walking->room, walking->connection, http1_call(walking)) ? 1 :
														   0;
}

#endif
