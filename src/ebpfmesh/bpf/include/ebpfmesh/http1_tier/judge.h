/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* From the end of a head to a decision. */
#ifndef EBPFMESH_HTTP1_TIER_JUDGE_H
#define EBPFMESH_HTTP1_TIER_JUDGE_H

#include "../authorise/decide.h"
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

/* An upgrade to a protocol that would carry requests past us, h2c above all; WebSocket does not. */
L7_INLINE int http1_upgrades_past(struct l7_record *record)
{
	union l7_value upgrade = record->fields[HTTP_UPGRADE];
	const __u8 *text = record->text + L7_INDEX(upgrade.offset, L7_TEXT);
	__u64 lower = 0x2020202020202020ull;

	if (!(record->fields[HTTP_CONNECTION].number & HTTP_UPGRADES) || !(record->present >> HTTP_UPGRADE & 1))
		return 0;
	return record->repeated >> HTTP_UPGRADE & 1 || upgrade.length != 9 ||
	       (l7_load64(text) | lower) != HTTP_WORD("websocke") || (text[8] | 0x20) != 't';
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

/* Decides about the request in the room's record, counts and logs it. 1: it is allowed. */
L7_GLOBAL int http1_judge(struct l7_room *room, struct l7_connection *connection)
{
	struct l7_decision *decision;

	if (!room || !connection)
		return 0;
	decision = &room->decision;
	if (connection->generation != decision->generation)
		l7_source(connection, decision->generation);
	decision->policy = connection->policy;
	decision->workload = connection->workload;
	for (int i = 0; i < 4; i++)
		decision->address[i] = connection->address[i];
	/* A target that names a host overrides the Host header (RFC 9112 section 3.2.2), and not every server reads it so: which of
	 * the two will count is not known, which is what repeated says. */
	if (room->record.present >> HTTP_SCHEME & 1)
		room->record.repeated |= 1u << HTTP_HOST;
	l7_decide(&room->record, decision);
	/* a tunnel would carry requests past us just so, whoever it leads to */
	if (decision->allowed && decision->service.undecodable != L7_PASS_OPAQUE &&
	    (decision->method == 1u << L7_CONNECT || http1_upgrades_past(&room->record))) {
		decision->allowed = 0;
		decision->reason = L7_UNDECODABLE;
		decision->reply = decision->service.undecodable_reply;
	}
	l7_count_decision(connection->service, decision);
	return decision->allowed;
}

#endif
