/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* From a request's head to what becomes of it. */
#ifndef EBPFMESH_HTTP2_TIER_JUDGE_H
#define EBPFMESH_HTTP2_TIER_JUDGE_H

#include "../authorise/judge.h"
#include "../authorise/source.h"
#include "../enrol/current.h"
#include "../enrol/room.h"
#include "../measure/count.h"
#include "../measure/log.h"
#include "rewrite.h"
#include "trace.h"

/* What is in force: for the whole of this run. 0 if it cannot be said. */
L7_INLINE int h2_begin_decision(struct l7_decision *decision, __u32 service)
{
	struct l7_service_entry *entry = l7_element(&l7_services, service);

	if (!entry)
		return 0;
	decision->generation = l7_generation();
	decision->service = *l7_current_service(entry, decision->generation);
	decision->service_number = service;
	decision->now = bpf_ktime_get_ns();
	return 1;
}

L7_INLINE void h2_count_decision(__u32 service, const struct l7_decision *decision)
{
	l7_stat(service, L7_STAT_REQUESTS, 1);
	if (decision->allowed)
		l7_stat(service, L7_STAT_ALLOWED, 1);
	else if (decision->reason == L7_LIMITED)
		l7_stat(service, L7_STAT_LIMITED, 1);
	else if (decision->reason == L7_FAULTED)
		l7_stat(service, L7_STAT_FAULTED, 1);
	else if (decision->reason == L7_BAD_PATH)
		l7_stat(service, L7_STAT_BAD_PATH, 1);
	else
		l7_stat(service, L7_STAT_DENIED, 1);
	if (decision->audited)
		l7_stat(service, L7_STAT_AUDITED, 1);
	if (decision->reason == L7_LOOK_UP_FAILED)
		l7_stat(service, L7_STAT_LOOK_UPS_FAILED, 1);
}

/* Decides about the request in the room's record, and counts it. 1: it is allowed. */
L7_INLINE int h2_decide(struct l7_room *room)
{
	struct l7_decision *decision = &room->decision;
	struct l7_connection *connection;
	__u64 cookie = room->cookie;

	connection = bpf_map_lookup_elem(&l7_connections, &cookie);
	if (!connection)
		return 0;
	if (connection->generation != decision->generation)
		l7_source(connection, decision->generation);
	decision->policy = connection->policy;
	decision->workload = connection->workload;
	for (int i = 0; i < 4; i++)
		decision->address[i] = connection->address[i];
	l7_judge(&room->record, decision, 0);
	h2_count_decision(decision->service_number, decision);
	return decision->allowed ? 1 : 0;
}

/* Tells the decision about the request in the record. */
L7_GLOBAL int h2_log(struct l7_room *room, __u32 status)
{
	struct l7_connection *connection;
	__u64 cookie;

	if (!room)
		return 0;
	cookie = room->cookie;
	connection = bpf_map_lookup_elem(&l7_connections, &cookie);
	if (connection)
		l7_log_decision(&room->record, &room->decision, connection, 0, status);
	return 0;
}

/* The place where a request in flight is noted, if it is that of this stream. */
L7_INLINE struct h2_request *h2_request_of(struct h2_connection *c, __u32 id)
{
	int place = http2_find(&c->tables, id);
	struct h2_request *request;

	if (place < 0)
		return 0;
	request = &c->requests[L7_INDEX((__u32)place, HTTP2_STREAMS)];
	return request->stream == id ? request : 0;
}

/* The request was let through. */
L7_INLINE void h2_note(struct l7_room *room, struct h2_connection *c, __u32 id, __u32 bytes)
{
	int place = http2_find(&c->tables, id);
	struct h2_request *request;

	if (place < 0)
		return;
	request = &c->requests[L7_INDEX((__u32)place, HTTP2_STREAMS)];
	request->stream = id;
	request->route = room->decision.route;
	request->status = 0;
	request->since = room->decision.now;
	request->sent = bytes;
	request->received = 0;
}

/* The request is over, and counted. */
L7_GLOBAL int h2_finish(struct l7_room *room, struct h2_connection *c, __u32 id)
{
	struct l7_connection *connection;
	struct h2_request *request;
	__u64 cookie;

	if (!room || !c)
		return 0;
	request = h2_request_of(c, id);
	cookie = room->cookie;
	connection = bpf_map_lookup_elem(&l7_connections, &cookie);
	if (!request || !connection)
		return 0;
	l7_count_request(connection->service, connection->counter, request->route, request->status, request->sent,
			 request->received, bpf_ktime_get_ns() - request->since);
	request->stream = 0;
	return 0;
}

/* application/grpc, with "+", ";" or nothing behind it. */
L7_INLINE int h2_is_grpc(const struct l7_record *record)
{
	union l7_value type = record->fields[HTTP_CONTENT_TYPE];
	const __u8 *text = record->text + L7_INDEX(type.offset, L7_TEXT);

	return record->present >> HTTP_CONTENT_TYPE & 1 && type.length >= 16 &&
	       http2_lower(l7_load64(text)) == HTTP_WORD("applicat") &&
	       http2_lower(l7_load64(text + 8)) == HTTP_WORD("ion/grpc") &&
	       (type.length == 16 || text[16] == '+' || text[16] == ';');
}

/* A stream is refused: the server will know nothing of it, and the client is answered. One that the client leaves open is followed
 * to its end, as long as there are not many: then it is forgotten at once. What still comes on a stream that is in no table is
 * taken out as well (h2_is_unknown()), but nobody knows when it ends. */
L7_INLINE void h2_refuse_stream(struct h2_connection *c, __u32 id)
{
	struct http2_state *connection = (struct http2_state *)c->state.words;
	struct http2_stream *stream = h2_stream(c, id);

	if (id > c->refused)
		c->refused = id;
	if (!stream)
		return;
	stream->flags |= H2_REFUSED;
	http2_end_side(connection, stream, L7_RESPONSE);
	if (!(stream->flags & HTTP2_STREAM_LIVE) || connection->live <= H2_LEFT_OPEN)
		return;
	http2_close(connection, stream);
	http2_forget(connection, id);
	__builtin_memset(stream, 0, sizeof *stream);
	c->forgotten = 1;
}

#define H2_GRPC_STATUS_AT 33 /* of a reply of gRPC: the length of grpc-status' value (policy/render.py) */

L7_INLINE __u32 h2_grpc_status(const struct l7_reply *reply)
{
	const __u8 *value = reply->text + H2_GRPC_STATUS_AT;

	if (reply->length < H2_GRPC_STATUS_AT + 3)
		return 0;
	return value[0] == 1 ? 1 | value[1] << 8 : value[0] == 2 ? 2 | value[1] << 8 | value[2] << 16 : 0;
}

/* A denied request: what is due. */
L7_GLOBAL int h2_refuse(struct l7_room *room, struct h2_connection *c)
{
	struct l7_reply *reply;
	__u32 number, service, bytes, grpc;

	if (!room || !c)
		return H2_END;
	service = room->decision.service_number;
	number = room->decision.reply;
	grpc = room->decision.service.flags & L7_IS_GRPC || h2_is_grpc(&room->record);
	number += grpc ? L7_REPLY_GRPC : L7_REPLY_HTTP2;
	reply = l7_element(&l7_replies, number);
	c->next_answer.grpc = grpc && reply ? h2_grpc_status(reply) : 0;
	if (grpc)
		c->grpc = 1;
	c->next_answer.stream = room->record.stream;
	c->next_answer.reply = number;
	c->next_answer.retry_after = room->decision.retry_after;
	c->next_answer.status = reply && reply->status ? reply->status : 403;
	bytes = reply ? reply->length : 0;
	h2_refuse_stream(c, room->record.stream);
	h2_log(room, c->next_answer.status);
	l7_stat(service, L7_STAT_STREAMS_REFUSED, 1);
	l7_count_request(service, L7_LOCAL, room->decision.route, c->next_answer.status, room->record.count, bytes,
			 bpf_ktime_get_ns() - room->decision.now);
	return H2_ANSWER;
}

/* Decided about, and let through. */
L7_INLINE int h2_admit(struct l7_room *room, struct h2_connection *c, __u32 id, int rewrites)
{
	int kind = h2_trace(room, c, h2_half(c, L7_REQUEST), rewrites);

	if (rewrites)
		kind = h2_rewrite(room, c);

	c->allowed = id;
	h2_log(room, 0);
	h2_note(room, c, id, c->undecided);
	return kind;
}

/* The service is gone, and the connection could not be let go of yet: everything new is let through. */
L7_INLINE int h2_is_drained(const struct l7_decision *decision)
{
	return !(decision->service.flags & L7_SERVICE_PRESENT) || decision->service.flags & L7_DRAINS;
}

/* The head of a new request is complete. Returns what becomes of it. */
L7_GLOBAL int h2_on_request(struct l7_room *room, struct h2_connection *c)
{
	__u32 id, effects;

	if (!room || !c)
		return H2_END;
	id = room->record.stream;
	effects = c->tables.block[L7_REQUEST].effects;
	if (!h2_is_drained(&room->decision) && !h2_decide(room)) {
		h2_withhold(c, effects);
		return h2_refuse(room, c);
	}
	return h2_admit(room, c, id, h2_must_rewrite(c, effects));
}

#endif
