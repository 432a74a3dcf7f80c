/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Counting, when a connection of HTTP/1 closes, what was asked and is not over: a response that lasts to the end of the
 * connection, or was cut, under its status; requests that nothing came to under class 0. */
#ifndef EBPFMESH_MEASURE_UNANSWERED_H
#define EBPFMESH_MEASURE_UNANSWERED_H

#include "../enrol/connection.h"
#include "count.h"

struct l7_unanswered {
	struct l7_connection *connection;
	__u64 now;
};

L7_CALLBACK long l7_unanswered_step(__u32 number, void *context)
{
	struct l7_unanswered *unanswered = context;
	struct l7_connection *connection = unanswered->connection;
	__u64 ordinal = connection->answered + number;
	struct l7_in_flight *request = &connection->in_flight[L7_INDEX(ordinal, L7_IN_FLIGHT)];
	__u32 begun = !number && connection->flags & L7_IN_RESPONSE;

	if (ordinal >= connection->asked)
		return 1;
	l7_count_request(connection->service, connection->counter, request->route, begun ? connection->status : 0,
			 request->sent, number ? 0 : connection->received, unanswered->now - request->since);
	return 0;
}

/* Called once, by whoever sees the connection close. Responses that could not be followed are not known to be missing, and
 * not counted. Always 0. Minimum kernel: 5.17 (bpf_loop). */
L7_GLOBAL int l7_count_unanswered(struct l7_connection *connection)
{
	struct l7_unanswered unanswered = { .connection = connection, .now = bpf_ktime_get_ns() };

	if (!connection || connection->flags & L7_RESPONSES_LOST)
		return 0;
	l7_loop(L7_IN_FLIGHT, l7_unanswered_step, &unanswered);
	return 0;
}

#endif
