/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A request as it came, decided: the rules, and what of its protocol counts whatever they say. */
#ifndef EBPFMESH_AUTHORISE_JUDGE_H
#define EBPFMESH_AUTHORISE_JUDGE_H

#include "decide.h"

/* An upgrade of HTTP/1 to a protocol that would carry requests past us, h2c above all; WebSocket does not. That Upgrade came
 * is known from the connection's options, be it that nothing of it had room in the record. */
L7_INLINE int l7_upgrades_past(const struct l7_record *record)
{
	union l7_value upgrade = record->fields[HTTP_UPGRADE];
	const __u8 *text = record->text + L7_INDEX(upgrade.offset, L7_TEXT);
	__u64 lower = 0x2020202020202020ull;

	if (!(record->fields[HTTP_CONNECTION].number & HTTP_UPGRADES))
		return 0;
	return !(record->present >> HTTP_UPGRADE & 1) || (record->repeated | record->truncated) >> HTTP_UPGRADE & 1 ||
	       upgrade.length != 9 || (l7_load64(text) | lower) != HTTP_WORD("websocke") || (text[8] | 0x20) != 't';
}

/* Decides as l7_decide(), of a request of HTTP/1 or not. Two things are known here that no rule can say:
 *
 * A target of HTTP/1 that names a host overrides the Host header (RFC 9112 section 3.2.2), and not every server reads it so: which
 * of the two will count is not known, which is what repeated says.
 *
 * A tunnel would carry requests past us, whoever it leads to: CONNECT, extended or not (RFC 8441), and most upgrades of HTTP/1.
 * It is refused unless what cannot be followed passes. Limits have been taken from by then: it was a request. */
L7_INLINE void l7_judge(struct l7_record *record, struct l7_decision *decision, int http1)
{
	if (http1 && record->present >> HTTP_SCHEME & 1)
		record->repeated |= 1u << HTTP_HOST;
	l7_decide(record, decision);
	if (!decision->allowed || decision->service.undecodable == L7_PASS_OPAQUE)
		return;
	if (decision->method == 1u << L7_CONNECT || (http1 && l7_upgrades_past(record)))
		l7_decided(decision, 0, L7_TUNNELS, 0, decision->service.undecodable_reply);
}

#endif
