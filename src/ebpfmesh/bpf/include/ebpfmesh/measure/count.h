/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Counting a request into the row of its service, backend, route and status class. */
#ifndef EBPFMESH_MEASURE_COUNT_H
#define EBPFMESH_MEASURE_COUNT_H

#include "latency.h"

#define L7_LOCAL 0xffffffffu /* for the backend: answered locally */

/* Element 0 counts what found no row, since all are in use; element 1 is a new row's value and never written. A map of its
 * own, so that no key is set apart for it and its room is certain. */
L7_CLASSIC_MAP(l7_overflow, BPF_MAP_TYPE_PERCPU_ARRAY, 2, __u32, struct l7_metric, 0);

/* The row of a key, made if there is room; NULL if not. */
L7_INLINE struct l7_metric *l7_metric_row(struct l7_metric_key *key)
{
	struct l7_metric *row = bpf_map_lookup_elem(&l7_metrics, key);
	struct l7_metric *zeroes;

	if (row)
		return row;
	zeroes = l7_element(&l7_overflow, 1);
	if (zeroes)
		bpf_map_update_elem(&l7_metrics, key, zeroes, BPF_NOEXIST);
	return bpf_map_lookup_elem(&l7_metrics, key); /* ours, or that of another CPU that was faster */
}

L7_INLINE void l7_metrics_are_full(void)
{
	struct l7_log_state *state = l7_element(&l7_log_state, 0);

	if (state)
		__sync_fetch_and_add(&state->metrics_full, 1);
}

/* A global function, verified once; it takes five words, so the key comes in two. A row is per CPU, and still changed by
 * atomics: a task that sends can be preempted, and a soft interrupt that brings a response comes in at any time. */
L7_GLOBAL int l7_count(__u64 service_backend, __u64 route_class, __u64 sent, __u64 received, __u64 nanoseconds)
{
	struct l7_metric_key key = {
		.service = service_backend >> 32,
		.backend = service_backend,
		.route = route_class >> 32,
		.class_ = route_class,
	};
	struct l7_metric *row = l7_metric_row(&key);
	__u32 bucket = l7_latency_bucket(nanoseconds);

	if (!row) {
		l7_metrics_are_full();
		row = l7_element(&l7_overflow, 0);
	}
	if (!row)
		return 0;
	__sync_fetch_and_add(&row->requests, 1);
	__sync_fetch_and_add(&row->sent, sent);
	__sync_fetch_and_add(&row->received, received);
	__sync_fetch_and_add(&row->nanoseconds, nanoseconds);
	barrier_var(bucket); /* its bound is shown to the verifier where it is used */
	if (bucket < L7_BUCKETS)
		__sync_fetch_and_add(&row->buckets[bucket], 1);
	return 0;
}

/* One request that is over: its service, the backend's element of the connect tier's counters or L7_LOCAL, its route, the
 * status of its response (0: none came), bytes of request and response, and the time from the head that was let through
 * to the response's first byte or head, whichever the caller means by it. */
L7_INLINE void l7_count_request(__u32 service, __u32 backend, __u32 route, __u32 status, __u64 sent, __u64 received,
				__u64 nanoseconds)
{
	__u32 class_ = status / 100;

	l7_count((__u64)service << 32 | backend, (__u64)route << 32 | (class_ < L7_CLASSES ? class_ : 0), sent,
		 received, nanoseconds);
}

#endif
