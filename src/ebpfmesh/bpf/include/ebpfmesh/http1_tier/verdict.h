/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What becomes of a message of the client: it goes on, is answered here, is swallowed, or send() fails. */
#ifndef EBPFMESH_HTTP1_TIER_VERDICT_H
#define EBPFMESH_HTTP1_TIER_VERDICT_H

#include "../reply/answer.h"
#include "../trace/insert.h"
#include "../enrol/resend.h"
#include "judge.h"

/* Lets the first bytes of the message, and what was inserted among them, go to the server. */
L7_INLINE int http1_forward(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
			    struct l7_connection *connection, __u32 bytes, __u32 inserted)
{
	if (room->parsed) {
		connection->judged_at = mark->passed;
		connection->judged = room->payload;
		connection->flags &= ~L7_KEPT;
		if (room->tight && l7_keep_structure(room, room->payload))
			connection->flags |= L7_KEPT;
		mark->payload = mark->passed + room->payload + inserted;
	}
	mark->task = bpf_get_current_pid_tgid();
	l7_let_through(mark, connection, bytes + inserted);
	if (!room->tight && bytes + inserted <= room->granted && !(connection->flags & L7_REDIRECTED))
		return l7_pass_on(msg, bytes + inserted);
	if (bytes < room->size)
		connection->flags |= L7_REDIRECTED;
	else
		connection->flags &= ~L7_REDIRECTED;
	return l7_egress(msg, mark, bytes + inserted);
}

/* Takes the whole message out: send() succeeds, and nobody gets it. */
L7_INLINE int http1_swallow_message(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark)
{
	l7_stat(mark->service, L7_STAT_SWALLOWED, room->size);
	return l7_cannot(L7_NO_SWALLOWING) || bpf_msg_pop_data(msg, 0, msg->size, 0) ? SK_DROP :
										       l7_egress(msg, mark, 0);
}

/* Replies instead of the first bytes of the message. */
L7_INLINE int http1_deliver(struct sk_msg_md *msg, struct l7_room *room, struct l7_connection *connection, __u32 bytes,
			    __u32 variant, __u32 stat)
{
	struct l7_decision *decision = &room->decision;
	__u32 number = decision->reply + variant, head_only = decision->method == 1u << L7_HEAD;
	struct l7_reply *reply = l7_element(&l7_replies, number);
	__u32 service = connection->service;
	int verdict = l7_cannot(L7_NO_REPLIES) ?
			      SK_DROP :
			      l7_answer(msg, room->cookie, bytes, number << 1 | head_only, decision->retry_after);

	if (verdict == SK_DROP || !reply) {
		l7_stat(service, L7_STAT_REPLY_FAILED, 1);
		return SK_DROP;
	}
	if (bytes < room->size)
		connection->flags |= L7_REDIRECTED;
	l7_stat(service, stat, 1);
	l7_stat(service, L7_STAT_SWALLOWED, bytes);
	l7_count_request(service, L7_LOCAL, decision->route, reply->status, bytes, reply->length,
			 bpf_ktime_get_ns() - decision->now);
	return verdict;
}

L7_INLINE int http1_reply(struct sk_msg_md *msg, struct l7_room *room, struct l7_connection *connection, __u32 bytes,
			  __u32 variant, __u32 stat)
{
	struct l7_reply *reply = l7_element(&l7_replies, room->decision.reply + variant);

	l7_log_decision(&room->record, &room->decision, connection, 0, reply ? reply->status : 0);
	return http1_deliver(msg, room, connection, bytes, variant, stat);
}

L7_INLINE int http1_drop(struct l7_room *room, struct l7_connection *connection, __u32 stat)
{
	l7_log_decision(&room->record, &room->decision, connection, 0, 0);
	l7_stat(connection->service, stat, 1);
	return SK_DROP;
}

/* No reply can go before responses that are still to come. */
L7_INLINE int http1_refuse_behind(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
				  struct l7_connection *connection)
{
	if (room->decision.service.flags & L7_OUTSTANDING_DROPS || connection->flags & L7_RESPONSES_LOST)
		return http1_drop(room, connection, L7_STAT_OUTSTANDING_DROPPED);
	l7_log_decision(&room->record, &room->decision, connection, 0, 0);
	connection->flags |= L7_SWALLOWS_ALL | L7_REPLY_DUE;
	connection->reply = room->decision.reply;
	connection->retry_after = room->decision.retry_after;
	return http1_swallow_message(msg, room, mark);
}

/* Case (b), and whatever else ends a connection: reply, and take out all that follows. */
L7_INLINE int http1_refuse_last(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
				struct l7_connection *connection)
{
	if (connection->asked != connection->answered || connection->flags & L7_RESPONSES_LOST)
		return http1_refuse_behind(msg, room, mark, connection);
	if (connection->flags & L7_FORWARDED_PART && room->decision.service.flags & L7_PARTIAL_DROPS)
		return http1_drop(room, connection, L7_STAT_PARTIAL_DROPPED);
	connection->flags |= L7_SWALLOWS_ALL;
	return http1_reply(msg, room, connection, room->size, L7_REPLY_CLOSES,
			   connection->flags & L7_FORWARDED_PART ? L7_STAT_PARTIAL_REPLIED : L7_STAT_REPLIED);
}

/* A denied request whose head begins and ends in this message, at its front, with nothing outstanding: case (a). */
L7_INLINE int http1_refuse_one(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
			       struct l7_connection *connection)
{
	struct l7_flow *flow = &connection->flows[L7_REQUEST];
	__u64 options = room->record.fields[HTTP_CONNECTION].number;

	/* with Expect, nobody can say whether the payload will come */
	if (options & HTTP_EXPECTS || !(options & HTTP_PERSISTS))
		return http1_refuse_last(msg, room, mark, connection);
	http1_withdraw((struct http1_state *)connection->state.words);
	if (!(room->record.flags & L7_MESSAGE_ENDS))
		connection->flags |= L7_SWALLOWS;
	else if (flow->remaining)
		connection->flags |= L7_SWALLOWS | L7_SWALLOWS_COUNT;
	return http1_reply(msg, room, connection, room->end, L7_REPLY_OPEN, L7_STAT_REPLIED);
}

L7_INLINE int http1_refuse_request(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
				   struct l7_connection *connection)
{
	if (connection->flags & L7_FORWARDED_PART)
		return http1_refuse_last(msg, room, mark, connection);
	if (connection->asked != connection->answered || connection->flags & L7_RESPONSES_LOST)
		return http1_refuse_behind(msg, room, mark, connection);
	return http1_refuse_one(msg, room, mark, connection);
}

L7_INLINE int http1_admit(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
			  struct l7_connection *connection)
{
	struct l7_in_flight *request = &connection->in_flight[L7_INDEX(connection->asked, L7_IN_FLIGHT)];
	__u32 inserted;

	connection->flags &= ~L7_FORWARDED_PART;
	inserted = l7_insert(msg, room, connection);
	if (inserted == L7_INSERT_FAILED) {
		l7_stat(connection->service, L7_STAT_REPLY_FAILED, 1);
		return SK_DROP;
	}
	l7_log_decision(&room->record, &room->decision, connection, 0, 0);
	request->since = room->decision.now;
	request->route = room->decision.route;
	request->sent = room->head + (__u32)(room->record.count - room->record.head);
	connection->asked++;
	return http1_forward(msg, room, mark, connection, room->end, inserted);
}

/* The run ends, and no head does. */
L7_INLINE int http1_pass_on(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
			    struct l7_connection *connection)
{
	struct http1_state *state = (struct http1_state *)connection->state.words;

	if (room->parsed && connection->flows[L7_REQUEST].op == L7_MORE && http1_is_begun(&state->half[L7_REQUEST])) {
		if (l7_keep_part(room, L7_REQUEST))
			return -1;
		connection->flags |= L7_FORWARDED_PART | L7_HAS_PART;
	}
	return http1_forward(msg, room, mark, connection, room->end, 0);
}

/* The traffic cannot be followed: as the policy says. */
L7_INLINE int http1_lost(struct sk_msg_md *msg, struct l7_room *room, struct l7_mark *mark,
			 struct l7_connection *connection)
{
	struct l7_decision *decision = &room->decision;

	if (decision->service.undecodable == L7_PASS_OPAQUE) {
		l7_stat(connection->service, L7_STAT_UNDECODABLE_PASSED, 1);
		l7_log_connection(connection, L7_LOG_UNDECODABLE, 1);
		return l7_set_free(msg, mark);
	}
	l7_stat(connection->service, L7_STAT_UNDECODABLE_REFUSED, 1);
	http1_cannot_judge(room, connection);
	return http1_refuse_last(msg, room, mark, connection);
}

#endif
