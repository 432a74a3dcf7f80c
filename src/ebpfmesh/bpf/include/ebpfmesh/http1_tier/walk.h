/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Over a message of the client, up to the end of the first request's head in it: one run judges at most one request. */
#ifndef EBPFMESH_HTTP1_TIER_WALK_H
#define EBPFMESH_HTTP1_TIER_WALK_H

#include "../enrol/room.h"
#include "../enrol/step.h"
#include "../l7/http1.h"

#define L7_WALK 4096 /* steps: pieces of a chunked body, windows */

enum l7_next_step { L7_STEP_CALL = 0, L7_STEP_AGAIN = 1, L7_STEP_STOP = 2 };

/* Whether the next byte of the client begins a message. */
L7_INLINE int http1_is_between(const struct l7_connection *connection)
{
	const struct http1_state *state = (const struct http1_state *)connection->state.words;

	return connection->flows[L7_REQUEST].op != L7_MORE && state->half[L7_REQUEST].phase == HTTP1_START &&
	       !state->tunnel;
}

/* Whether the run ends before this byte of the message: it is the last, or what comes has a run of its own. In a tight run that is
 * every window but the first: then what was judged is at the front, and can be kept. */
L7_INLINE int http1_pauses(struct l7_room *room, const struct l7_connection *connection, __u32 at, __u32 tight)
{
	if (at < room->size && !(at && (tight || http1_is_between(connection))))
		return 0;
	room->end = at;
	room->found = L7_FOUND_END;
	return 1;
}

/* Fills the window if all of the one before was parsed. */
L7_GLOBAL int http1_next_sent(struct sk_msg_md *msg, struct l7_room *room, struct l7_connection *connection)
{
	struct l7_flow *flow;
	__u32 length;

	if (!room || !connection)
		return L7_STEP_STOP;
	flow = &connection->flows[L7_REQUEST];
	if (room->window.start >= room->window.end) {
		room->at += l7_unseen(flow, room->size - room->at);
		if (http1_pauses(room, connection, room->at, room->tight))
			return L7_STEP_STOP;
		length = room->size - room->at;
		if (length > L7_WINDOW)
			length = L7_WINDOW;
		if (l7_fill_sent(msg, room, length)) {
			l7_stat(connection->service, L7_STAT_NOT_FILLED, length);
			room->found = L7_FOUND_ERROR;
			return L7_STEP_STOP;
		}
		l7_open_window(room, flow, length, L7_REQUEST);
	}
	if (http1_pauses(room, connection, room->base + room->window.start, 0))
		return L7_STEP_STOP;
	room->call.start = room->window.start;
	return L7_STEP_CALL;
}

/* Carries out what the core answered; 1 to stop. */
L7_GLOBAL int http1_sent_answer(struct l7_room *room, struct l7_connection *connection, int op)
{
	struct l7_record *record;
	struct l7_flow *flow;

	if (!room || !connection)
		return 1;
	record = &room->record;
	flow = &connection->flows[L7_REQUEST];
	op = l7_advance(flow, &room->window, op, record);
	room->payload = op == L7_MORE ? room->at : room->base + room->call.start + (__u32)record->head;
	room->parsed = 1;
	if (op == L7_ERROR || op == L7_ESCALATE) {
		room->found = L7_FOUND_ERROR;
		return 1;
	}
	if (record->kind != HTTP_REQUEST)
		return 0;
	room->head = room->base + room->call.start + record->head;
	/* of its payload, what is in the window was passed over by now; more of it may be behind */
	room->at = room->base + room->window.start;
	room->at += l7_unseen(flow, room->size - room->at);
	room->end = room->at;
	room->window.start = room->window.end;
	room->found = L7_FOUND_REQUEST;
	return 1;
}

/* What a step is given. */
struct http1_walking {
	void *context; /* struct sk_msg_md or __sk_buff */
	struct l7_room *room;
	struct l7_connection *connection;
	struct l7_config *config;
};

L7_INLINE int http1_call(const struct http1_walking *walking)
{
	return http1_parse(walking->config, &walking->room->window, &walking->connection->state, 0,
			   &walking->room->record);
}

L7_CALLBACK long http1_sent_step(__u32 number, void *context)
{
	struct http1_walking *walking = context;
	int next = http1_next_sent(walking->context, walking->room, walking->connection);

	(void)number;
	if (next != L7_STEP_CALL)
		return next == L7_STEP_STOP ? 1 : 0;
	return http1_sent_answer(walking->room, walking->connection, http1_call(walking)) ? 1 : 0;
}

#endif
