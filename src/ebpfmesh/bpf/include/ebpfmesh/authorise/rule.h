/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* One rule after the other of a list: whether it is about the request, and what follows from that. */
#ifndef EBPFMESH_AUTHORISE_RULE_H
#define EBPFMESH_AUTHORISE_RULE_H

#include "../limit/bucket.h"
#include "condition.h"

enum l7_next_rule { L7_GOES_ON = 0, L7_DONE = 1, L7_RULE_FAILED = -1 };

/* The bit of the request's method. */
L7_INLINE __u32 l7_method(const struct l7_record *record)
{
	__u32 length = record->fields[HTTP_METHOD].length;
	__u64 word = l7_load64(l7_text_at(record, record->fields[HTTP_METHOD].offset));

	if (!(record->present >> HTTP_METHOD & 1) || (record->truncated | record->repeated) >> HTTP_METHOD & 1 ||
	    length > 7)
		return 1u << L7_OTHER_METHOD;
	word = http_low_bytes(word, length);
	if (word == HTTP_WORD("GET\0\0\0\0\0"))
		return 1u << L7_GET;
	if (word == HTTP_WORD("POST\0\0\0\0"))
		return 1u << L7_POST;
	if (word == HTTP_WORD("HEAD\0\0\0\0"))
		return 1u << L7_HEAD;
	if (word == HTTP_WORD("PUT\0\0\0\0\0"))
		return 1u << L7_PUT;
	if (word == HTTP_WORD("DELETE\0\0"))
		return 1u << L7_DELETE;
	if (word == HTTP_WORD("CONNECT\0"))
		return 1u << L7_CONNECT;
	if (word == HTTP_WORD("OPTIONS\0"))
		return 1u << L7_OPTIONS;
	if (word == HTTP_WORD("TRACE\0\0\0"))
		return 1u << L7_TRACE;
	if (word == HTTP_WORD("PATCH\0\0\0"))
		return 1u << L7_PATCH;
	return 1u << L7_OTHER_METHOD;
}

/* What a rule does of which something is not known: as if it matched, or as if it did not, whichever is against the request;
 * the other way round if it is open. */
L7_INLINE int l7_unknown(const struct l7_rule *rule)
{
	return (rule->action == L7_ALLOW) == !!(rule->flags & L7_RULE_OPEN);
}

/* Whether a rule is about the request: L7_TRUE, L7_FALSE, L7_NO_TRUTH. */
L7_INLINE int l7_rule_matches(struct l7_record *record, struct l7_decision *decision, const struct l7_rule *rule)
{
	int matches = L7_TRUE, truth;

	if (!(rule->methods & decision->method))
		return L7_FALSE;
	for (int i = 0; i < L7_CONDITIONS; i++) {
		if (!rule->conditions[i])
			break;
		truth = l7_condition_holds(record, decision, rule->conditions[i]);
		if (truth == L7_FALSE || truth == L7_NO_TRUTH)
			return truth;
		if (truth == L7_UNKNOWN)
			matches = L7_UNKNOWN;
	}
	return matches == L7_UNKNOWN ? l7_unknown(rule) : matches;
}

L7_INLINE void l7_decided(struct l7_decision *decision, __u32 allowed, __u32 reason, __u32 rule, __u32 reply)
{
	decision->allowed = allowed;
	decision->reason = reason;
	decision->rule = rule;
	decision->reply = reply;
}

/* No rule that denies or allows is left. */
L7_INLINE void l7_default(struct l7_decision *decision)
{
	if (decision->reason)
		return;
	if (decision->service.flags & L7_HAS_ALLOW)
		l7_decided(decision, 0, L7_NOT_ALLOWED, 0, decision->service.refusal);
	else
		l7_decided(decision, 1, L7_BY_DEFAULT, 0, 0);
}

/* A rule that matches is carried out: enum l7_next_rule. */
L7_INLINE int l7_rule_acts(struct l7_record *record, struct l7_decision *decision, const struct l7_rule *rule)
{
	int admitted;

	switch (rule->action) {
	case L7_DENY:
		l7_decided(decision, 0, L7_BY_RULE, rule->number, rule->reply);
		break;
	case L7_ALLOW:
		l7_decided(decision, 1, L7_BY_RULE, rule->number, 0);
		break;
	case L7_AUDIT:
		decision->audited = 1;
		break;
	case L7_ROUTE:
		decision->route = rule->argument;
		break;
	case L7_LIMIT:
		decision->work[L7_TAKEN_LAST] = rule->number;
		admitted = l7_limit_take(record, decision, rule->argument);
		if (admitted < 0)
			return L7_RULE_FAILED;
		if (!admitted) {
			decision->limit = rule->argument;
			l7_decided(decision, 0, L7_LIMITED, rule->number, rule->reply);
			return L7_DONE;
		}
		break;
	case L7_FAULT:
		decision->work[L7_TAKEN_LAST] = rule->number;
		if (rule->argument == ~0u || bpf_get_prandom_u32() < rule->argument) {
			l7_decided(decision, 0, L7_FAULTED, rule->number, rule->reply);
			return L7_DONE;
		}
		break;
	}
	return L7_GOES_ON;
}

/* The next rule of the list, by its index: enum l7_next_rule. */
L7_GLOBAL int l7_rule_step(struct l7_record *record, struct l7_decision *decision, __u32 index)
{
	const struct l7_rule *rule = l7_element(&l7_rules, index);
	int matches;

	if (!record || !decision || !rule)
		return L7_RULE_FAILED;
	if (rule->action >= L7_AUDIT)
		l7_default(decision);
	else if (decision->reason)
		return L7_GOES_ON;
	if (rule->action >= L7_LIMIT) {
		if (!decision->allowed)
			return L7_DONE;
		if (decision->work[L7_TAKEN_LAST] == rule->number)
			return L7_GOES_ON;
	}
	if (rule->action == L7_ROUTE && decision->route)
		return L7_GOES_ON;
	matches = l7_rule_matches(record, decision, rule);
	if (matches != L7_TRUE)
		return matches == L7_FALSE ? L7_GOES_ON : L7_RULE_FAILED;
	return l7_rule_acts(record, decision, rule);
}

#endif
