/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* From the end of a head to a decision. */
#ifndef EBPFMESH_HTTP1_TIER_JUDGE_H
#define EBPFMESH_HTTP1_TIER_JUDGE_H

#include "../authorise/judge.h"
#include "../authorise/source.h"
#include "../enrol/current.h"
#include "../measure/count.h"
#include "../measure/log.h"
#include "walk.h"

/* What is in force, and who asks: for the whole of this run. 0 if it cannot be said. */
L7_INLINE int l7_begin_decision(struct l7_decision *decision, struct l7_connection *connection)
{
	struct l7_service_entry *entry = l7_element(&l7_services, connection->service);

	if (!entry)
		return 0;
	decision->generation = l7_generation();
	decision->service = *l7_current_service(entry, decision->generation);
	decision->service_number = connection->service;
	decision->now = bpf_ktime_get_ns();
	return 1;
}

L7_INLINE void l7_count_decision(__u32 service, const struct l7_decision *decision)
{
	l7_stat(service, L7_STAT_REQUESTS, 1);
	if (decision->audited)
		l7_stat(service, L7_STAT_AUDITED, 1);
	switch (decision->allowed ? L7_NOT_DECIDED : decision->reason) {
	case L7_NOT_DECIDED:
		l7_stat(service, L7_STAT_ALLOWED, 1);
		break;
	case L7_LIMITED:
		l7_stat(service, L7_STAT_LIMITED, 1);
		break;
	case L7_FAULTED:
		l7_stat(service, L7_STAT_FAULTED, 1);
		break;
	case L7_BAD_PATH:
		l7_stat(service, L7_STAT_BAD_PATH, 1);
		break;
	default:
		l7_stat(service, L7_STAT_DENIED, 1);
	}
	if (decision->reason == L7_LOOK_UP_FAILED)
		l7_stat(service, L7_STAT_LOOK_UPS_FAILED, 1);
}

/* Who asks, of what is in force now. */
L7_INLINE void http1_source(struct l7_decision *decision, struct l7_connection *connection)
{
	if (connection->generation != decision->generation)
		l7_source(connection, decision->generation);
	decision->policy = connection->policy;
	decision->workload = connection->workload;
	for (int i = 0; i < 4; i++)
		decision->address[i] = connection->address[i];
}

/* Decides about the request in the room's record, counts and logs it. 1: it is allowed. */
L7_GLOBAL int http1_judge(struct l7_room *room, struct l7_connection *connection)
{
	struct l7_decision *decision;

	if (!room || !connection)
		return 0;
	decision = &room->decision;
	http1_source(decision, connection);
	l7_judge(&room->record, decision, 1);
	l7_count_decision(connection->service, decision);
	return decision->allowed;
}

/* Decides about what is no request that could be judged. In the room lies what was decided before, about somebody else. */
L7_GLOBAL int http1_cannot_judge(struct l7_room *room, struct l7_connection *connection)
{
	struct l7_decision *decision;

	if (!room || !connection)
		return 0;
	decision = &room->decision;
	l7_decision_begins(decision);
	http1_source(decision, connection);
	decision->method = 0;
	l7_decided(decision, 0, L7_UNDECODABLE, 0, decision->service.undecodable_reply);
	return 0;
}

#endif
