/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What the server sends: followed, so that requests are timed and counted, and that it is known where its frames begin. It always
 * goes on. */
#ifndef EBPFMESH_HTTP2_TIER_RESPONSE_H
#define EBPFMESH_HTTP2_TIER_RESPONSE_H

#include "amend.h"
#include "judge.h"

#define H2_STEPS_RECEIVED (1 << 16)

L7_INLINE void h2_responses_lost(struct h2_connection *c, __u32 service)
{
	if (c->lost)
		return;
	c->lost = 1;
	l7_stat(service, L7_STAT_RESPONSES_LOST, 1);
}

/* An answer to a PING of ours that the segment before this one began is changed to its end: behind what shows the segment to the
 * core, which is to see it as it came. */
L7_GLOBAL int h2_go_on(struct __sk_buff *skb, struct h2_connection *c)
{
	if (!c || !c->tail_due)
		return 0;
	c->tail_due = 0;
	return h2_store_answer(skb, c, 0, H2_PING_LENGTH - c->answer_left, skb->len);
}

L7_GLOBAL int h2_next_received(struct __sk_buff *skb, struct l7_room *room, struct h2_connection *c)
{
	struct l7_flow *flow;
	__u32 length;

	if (!room || !c)
		return 1;
	flow = &c->flows[L7_RESPONSE];
	if (c->lost || l7_is_final(flow))
		return 1;
	if (room->window.start >= room->window.end) {
		room->at += l7_unseen(flow, room->size - room->at);
		if (room->at >= room->size)
			return 1;
		length = room->size - room->at;
		if (length > L7_WINDOW)
			length = L7_WINDOW;
		if (l7_fill_received(skb, room, length)) {
			h2_responses_lost(c, room->decision.service_number);
			return 1;
		}
		l7_open_window(room, flow, length, L7_RESPONSE);
		h2_go_on(skb, c);
	}
	h2_amend(skb, room, c);
	room->call.start = room->window.start;
	return 0;
}

/* What was told of the server's frames. */
L7_INLINE void h2_on_response(struct l7_room *room, struct h2_connection *c)
{
	struct l7_record *record = &room->record;
	struct h2_request *request;

	if (record->kind == HTTP_SETTINGS) {
		if (record->present >> HTTP_ACK & 1)
			return;
		c->settings++;
		c->seen_settings = 1;
		return;
	}
	if (!record->stream)
		return;
	c->unfed =
		c->pings +
		c->client_pings; /* what comes behind an answer was sent after that PING came; before, it may have waited */
	c->fed_at = room->decision.now;
	request = h2_request_of(c, record->stream);
	if (!request)
		return;
	request->received += record->count;
	if (record->kind == HTTP_RESPONSE)
		request->status = record->fields[HTTP_STATUS].number;
	if (record->kind == HTTP_RESET || record->flags & L7_MESSAGE_ENDS)
		h2_finish(room, c, record->stream);
}

L7_GLOBAL int h2_received_answer(struct l7_room *room, struct h2_connection *c, int op)
{
	if (!room || !c)
		return 1;
	op = l7_advance(&c->flows[L7_RESPONSE], &room->window, op, &room->record);
	if (op == L7_ERROR || op == L7_ESCALATE) {
		h2_responses_lost(c, room->decision.service_number);
		return 1;
	}
	h2_on_response(room, c);
	return 0;
}

struct h2_receiving {
	struct __sk_buff *skb;
	struct l7_room *room;
	struct h2_connection *c;
};

L7_CALLBACK long h2_received_step(__u32 number, void *context)
{
	struct h2_receiving *receiving = context;
	struct l7_room *room = receiving->room;
	struct h2_connection *c = receiving->c;
	struct l7_config *config = bpf_map_lookup_elem(&l7_configs, &room->decision.service.config);

	(void)number;
	if (!config || h2_next_received(receiving->skb, room, c))
		return 1;
	return h2_received_answer(room, c, http2_parse(config, &room->window, &c->state, &c->tables, &room->record)) ?
		       1 :
		       0;
}

/* Whether the server's frames fit into segments, lately: h2_may_answer() asks. */
L7_GLOBAL int h2_note_border(struct h2_connection *c)
{
	if (!c)
		return 0;
	if (!h2_is_between(c, L7_RESPONSE))
		c->split = H2_SPLIT;
	else if (c->split)
		c->split--;
	return 0;
}

#endif
