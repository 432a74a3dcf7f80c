/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What becomes of a request: ebpfmesh.policy.reference says the same in Python, and slowly. */
#ifndef EBPFMESH_AUTHORISE_DECIDE_H
#define EBPFMESH_AUTHORISE_DECIDE_H

#include "rule.h"
#include "walk.h"

L7_INLINE void l7_decision_begins(struct l7_decision *decision)
{
	decision->allowed = 0;
	decision->reason = L7_NOT_DECIDED;
	decision->audited = 0;
	decision->path_ok = L7_PATH_NONE;
	decision->rule = 0;
	decision->list = 0;
	decision->reply = 0;
	decision->route = 0;
	decision->limit = 0;
	decision->retry_after = 0;
	decision->work[L7_WITHOUT_PORT_LENGTH] = 0;
	decision->work[L7_TAKEN_LAST] = 0;
}

/* An entry that must be there is not: the service says what then. */
L7_INLINE int l7_decision_failed(struct l7_decision *decision)
{
	int passes = decision->service.flags & L7_ERRORS_PASS;

	l7_decided(decision, passes ? 1 : 0, L7_LOOK_UP_FAILED, 0, passes ? 0 : decision->service.refusal);
	return 0;
}

/* Decides about the request in record: generation, now, service_number, policy, workload and address of decision are given,
 * the rest is filled in. It changes nothing but limits, which it takes from and counts. Returns 0.
 *
 * The order: a path that cannot be normalised, which ends it; rules that deny; rules that allow, or the default; whatever came of
 * that, whether it is audited and which route it is; if it is allowed, limits, until one refuses, those before it having been
 * taken from; faults. */
L7_GLOBAL int l7_decide(struct l7_record *record, struct l7_decision *decision)
{
	const struct l7_list *list;

	if (!record || !decision)
		return 0;
	l7_decision_begins(decision);
	if (!(decision->service.flags & L7_SERVICE_PRESENT))
		return l7_decision_failed(decision);
	decision->method = l7_method(record);
	if (decision->service.flags & L7_HAS_PATHS) {
		decision->path_ok = l7_path(record, decision);
		if (decision->path_ok == L7_PATH_BAD) {
			l7_decided(decision, 0, L7_BAD_PATH, 0, decision->service.bad_path);
			return 0;
		}
	}
	if (!l7_walk(decision))
		return l7_decision_failed(decision);
	list = l7_element(&l7_lists, decision->list);
	if (!list)
		return l7_decision_failed(decision);
	for (int i = 0; i < L7_RULES; i++) {
		int next;

		if ((__u32)i >= list->count)
			break;
		next = l7_rule_step(record, decision, list->rules[i]);
		if (next == L7_RULE_FAILED)
			return l7_decision_failed(decision);
		if (next == L7_DONE)
			break;
	}
	l7_default(decision);
	return 0;
}

#endif
