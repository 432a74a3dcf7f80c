// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* The decision alone, without a socket: BPF_PROG_TEST_RUN of authorise_tc takes a request from a map, and writes down what was
 * decided. Tests compare it with the reference in Python, benchmarks time it, and explain asks it on a copy of the tables
 * of a mesh. It is attached to nothing.
 *
 * Minimum kernel: 5.17. */
#include "ebpfmesh/authorise/judge.h"
#include "ebpfmesh/authorise/source.h"

#define L7_TRIALS 4 /* places, so that as many processors can be at it at a time: skb->mark says which */

enum l7_trial_flag {
	L7_TRIAL_SOURCE = 1, /* the source is looked up for the connection at this place, else it is the decision's */
	L7_TRIAL_HTTP1 = 2,  /* the request is of HTTP/1 */
};

struct l7_trial {
	__u32 flags;
	__u32 source; /* what l7_source() gave */
	__u64 now;    /* of each run, if it is not 0; else the clock says */
	__u64 first;  /* nanoseconds: of the first run by the clock, and of the last */
	__u64 last;
	__u64 runs;
	__u64 allowed; /* runs that were */
};

L7_TABLE(l7_trials, L7_TRIALS, struct l7_trial);
L7_TABLE(l7_records, L7_TRIALS, struct l7_record);
L7_TABLE(l7_decisions, L7_TRIALS, struct l7_decision);
L7_TABLE(l7_clients, L7_TRIALS, struct l7_connection);

L7_INLINE void authorise_source(struct l7_trial *trial, struct l7_decision *decision, __u32 place)
{
	struct l7_connection *client = l7_element(&l7_clients, place);

	if (!client)
		return;
	client->generation = 0;
	trial->source = l7_source(client, decision->generation);
	decision->policy = client->policy;
	decision->workload = client->workload;
	for (int i = 0; i < 4; i++)
		decision->address[i] = client->address[i];
}

/* The version of the service that is current at the decision's generation is copied to it. */
L7_INLINE void authorise_service(struct l7_decision *decision)
{
	const struct l7_service_entry *entry;

	entry = l7_element(&l7_services, decision->service_number);
	if (!entry) {
		decision->service.flags = 0;
		decision->service.refusal = 0;
		return;
	}
	decision->service = *l7_current_service(entry, decision->generation);
}

SEC("tc") int authorise_tc(struct __sk_buff *skb)
{
	__u32 place = skb->mark;
	struct l7_trial *trial = l7_element(&l7_trials, place);
	struct l7_record *record = l7_element(&l7_records, place);
	struct l7_decision *decision = l7_element(&l7_decisions, place);

	if (!trial || !record || !decision)
		return 1;
	if (trial->flags & L7_TRIAL_SOURCE)
		authorise_source(trial, decision, place);
	decision->now = trial->now;
	if (!trial->now) {
		decision->now = bpf_ktime_get_ns();
		if (!trial->runs)
			trial->first = decision->now;
		trial->last = decision->now;
	}
	trial->runs++;
	authorise_service(decision);
	if (trial->flags & L7_TRIAL_HTTP1)
		l7_judge(record, decision, 1);
	else
		l7_judge(record, decision, 0);
	trial->allowed += decision->allowed;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
