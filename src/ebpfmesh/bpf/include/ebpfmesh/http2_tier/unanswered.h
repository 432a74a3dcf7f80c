/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Counting, when a connection of HTTP/2 closes, what was asked and is not over: a response that was cut under its status, requests
 * that nothing came to under class 0. */
#ifndef EBPFMESH_HTTP2_TIER_UNANSWERED_H
#define EBPFMESH_HTTP2_TIER_UNANSWERED_H

#include "../measure/count.h"
#include "connection.h"

struct h2_unanswered {
	struct h2_connection *c;
	struct l7_connection *connection;
	__u64 now;
};

L7_CALLBACK long h2_unanswered_step(__u32 place, void *context)
{
	struct h2_unanswered *unanswered = context;
	struct l7_connection *connection = unanswered->connection;
	struct h2_request *request = &unanswered->c->requests[L7_INDEX(place, HTTP2_STREAMS)];

	if (request->stream)
		l7_count_request(connection->service, connection->counter, request->route, request->status,
				 request->sent, request->received, unanswered->now - request->since);
	return 0;
}

/* Called once, by whoever sees the connection close. Where responses could not be followed nobody knows what is missing: nothing is
 * counted. Always 0. Minimum kernel: 5.17 (bpf_loop). */
L7_GLOBAL int h2_count_unanswered(struct l7_connection *connection, __u64 cookie)
{
	struct h2_unanswered unanswered = { .connection = connection, .now = bpf_ktime_get_ns() };

	unanswered.c = h2_find(cookie);
	if (!connection || !unanswered.c || unanswered.c->lost)
		return 0;
	l7_loop(HTTP2_STREAMS, h2_unanswered_step, &unanswered);
	return 0;
}

#endif
