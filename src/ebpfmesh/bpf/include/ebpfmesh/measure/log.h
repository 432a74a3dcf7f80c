/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Telling a decision: into the ring l7_log, for who listens, and into l7_recent, for who asks later.
 *
 * An entry is built in its place among the recent ones, which belongs to its writer while the sequence is odd, and copied to
 * the ring from there: nothing of it is ever on a stack. All denials are told while the ring's readers keep up; then they
 * are bounded in rate, as everything else always is, and allowed requests are sampled before. What is not told is counted. */
#ifndef EBPFMESH_MEASURE_LOG_H
#define EBPFMESH_MEASURE_LOG_H

#include "../enrol/connection.h"
#include "../l7/http.h"
#include "measure.h"

#define L7_LOG_TRIES 4 /* of a compare-and-swap, and of finding a place */

/* Whether one more record may be told that is no denial: GCRA on state->told, which is nanoseconds of CLOCK_MONOTONIC;
 * log_burst is how far it may be ahead. */
L7_INLINE int l7_log_admits(struct l7_log_state *state, const struct l7_settings *settings, __u64 now)
{
	__u64 interval = settings->log_interval, burst = settings->log_burst;

	if (!interval)
		return 1;
#pragma unroll
	for (int i = 0; i < L7_LOG_TRIES; i++) {
		__u64 told = *(volatile __u64 *)&state->told, base = told > now ? told : now;

		if (base - now > burst)
			break;
		if (__sync_val_compare_and_swap(&state->told, told, base + interval) == told)
			return 1;
	}
	__sync_fetch_and_add(&state->dropped, 1);
	return 0;
}

/* Whether the ring's readers keep up. If not, or if there are none, an entry that costs half a microsecond would be built in vain. */
L7_INLINE int l7_log_has_room(void)
{
	return bpf_ringbuf_query(&l7_log, BPF_RB_AVAIL_DATA) < L7_LOG_SIZE / 4 * 3;
}

/* Whether an entry of a kind is to be told. Samples are drawn by chance: a shared counter would be a cache line that every
 * CPU writes at every request, and would always draw the same of a regular sequence. */
L7_INLINE int l7_log_wants(struct l7_log_state *state, __u32 kind, int allowed, __u64 now)
{
	struct l7_settings *settings = l7_element(&l7_settings, 0);

	if (!settings)
		return !allowed;
	if (kind == L7_LOG_SAMPLED) {
		__u32 sample = settings->sample;

		if (!sample || (sample > 1 && bpf_get_prandom_u32() % sample))
			return 0;
		__sync_fetch_and_add(&state->samples, 1);
	}
	return (!allowed && l7_log_has_room()) || l7_log_admits(state, settings, now);
}

/* The kind of entry that a decision makes. */
L7_INLINE __u32 l7_log_kind(const struct l7_decision *decision)
{
	if (!decision->allowed)
		return decision->reason == L7_UNDECODABLE ? L7_LOG_UNDECODABLE : L7_LOG_DENIED;
	return decision->audited ? L7_LOG_AUDITED : L7_LOG_SAMPLED;
}

/* A place among the recent ones, its sequence odd, or NULL: writers that were preempted hold all that were tried. */
L7_INLINE struct l7_log_entry *l7_log_place(struct l7_log_state *state)
{
#pragma unroll
	for (int i = 0; i < L7_LOG_TRIES; i++) {
		__u64 number = __sync_fetch_and_add(&state->written, 1);
		struct l7_log_entry *entry = l7_element(&l7_recent, number & (L7_RECENT - 1));
		__u64 sequence;

		if (!entry)
			return NULL;
		sequence = *(volatile __u64 *)&entry->sequence;
		if (!(sequence & 1) &&
		    __sync_val_compare_and_swap(&entry->sequence, sequence, 2 * number + 1) == sequence)
			return entry;
	}
	__sync_fetch_and_add(&state->dropped, 1);
	return NULL;
}

/* Copies a field of text to a place in the entry, zeroes behind it; what does not fit is cut. */
#define L7_LOG_TEXT(place, record, field)                                                                              \
	do {                                                                                                           \
		__u32 l7_length = 0;                                                                                   \
                                                                                                                       \
		for (__u32 l7_i = 0; l7_i < sizeof(place); l7_i += 8)                                                  \
			*(__u64 *)((place) + l7_i) = 0;                                                                \
		if ((record)->present >> (field)&1)                                                                    \
			l7_length = (record)->fields[field].length;                                                    \
		barrier_var(l7_length);                                                                                \
		if (l7_length > sizeof(place))                                                                         \
			l7_length = sizeof(place);                                                                     \
		bpf_probe_read_kernel((place), l7_length,                                                              \
				      (record)->text + L7_INDEX((record)->fields[field].offset, L7_TEXT));             \
	} while (0)

L7_INLINE void l7_log_request(struct l7_log_entry *entry, const struct l7_record *record)
{
	entry->stream = record->stream;
	entry->path_length = 0;
	if (record->present >> HTTP_PATH & 1)
		entry->path_length = record->fields[HTTP_PATH].length;
	L7_LOG_TEXT(entry->method, record, HTTP_METHOD);
	L7_LOG_TEXT(entry->host, record, HTTP_HOST);
	L7_LOG_TEXT(entry->traceparent, record, HTTP_TRACEPARENT);
	L7_LOG_TEXT(entry->path, record, HTTP_PATH);
}

L7_INLINE void l7_log_fill(struct l7_log_entry *entry, const struct l7_decision *decision,
			   const struct l7_connection *connection)
{
	entry->cookie = connection->cookie;
	entry->backend = connection->backend;
	entry->protocol = connection->protocol;
	entry->service = decision->service_number;
	entry->workload = decision->workload;
	entry->policy = decision->policy;
	entry->list = decision->list;
	entry->rule = decision->rule;
	entry->route = decision->route;
	entry->limit = decision->limit;
	entry->retry_after = decision->retry_after;
	entry->allowed = decision->allowed;
	entry->reason = decision->reason;
	for (int i = 0; i < 4; i++)
		entry->address[i] = decision->address[i];
}

/* Copies the entry to the ring, and makes it one that readers of the recent ones take. */
L7_INLINE void l7_log_publish(struct l7_log_state *state, struct l7_log_entry *entry)
{
	__u64 sequence = entry->sequence;

	if (bpf_ringbuf_output(&l7_log, entry, sizeof *entry, 0))
		__sync_fetch_and_add(&state->ring_full, 1);
	__sync_lock_test_and_set(&entry->sequence, sequence + 1); /* an exchange orders what was written before it */
}

/* Tells what was decided about the request in record, on a connection. kind is enum l7_log_kind, 0: as the decision is;
 * status that of the local reply, 0 if there is none. Always 0. Minimum kernel: 5.12 (atomic exchange). */
L7_GLOBAL int l7_log_decision(struct l7_record *record, struct l7_decision *decision, struct l7_connection *connection,
			      __u32 kind, __u32 status)
{
	struct l7_log_state *state = l7_element(&l7_log_state, 0);
	struct l7_log_entry *entry;
	__u64 now;

	if (!record || !decision || !connection || !state)
		return 0;
	if (!kind)
		kind = l7_log_kind(decision);
	now = decision->now;
	if (!l7_log_wants(state, kind, decision->allowed, now))
		return 0;
	entry = l7_log_place(state);
	if (!entry)
		return 0;
	entry->time = now;
	entry->kind = kind;
	entry->status = status;
	l7_log_fill(entry, decision, connection);
	l7_log_request(entry, record);
	l7_log_publish(state, entry);
	return 0;
}

/* Tells of a connection about which nothing was decided: it could not be enrolled, or cannot be followed. allowed says
 * whether its bytes pass. Bounded in rate either way, since a full map refuses every connection. Always 0. */
L7_GLOBAL int l7_log_connection(struct l7_connection *connection, __u32 kind, __u32 allowed)
{
	struct l7_log_state *state = l7_element(&l7_log_state, 0);
	__u64 now = bpf_ktime_get_ns();
	struct l7_log_entry *entry;

	if (!connection || !state || !l7_log_wants(state, kind, 1, now))
		return 0;
	entry = l7_log_place(state);
	if (!entry)
		return 0;
	/* all but the sequence, word by word */
	for (__u32 i = 1; i < sizeof *entry / 8; i++)
		((__u64 *)entry)[i] = 0;
	entry->time = now;
	entry->kind = kind;
	entry->allowed = allowed != 0;
	entry->reason = kind == L7_LOG_UNDECODABLE ? L7_UNDECODABLE : L7_UNJUDGED;
	entry->cookie = connection->cookie;
	entry->service = connection->service;
	entry->backend = connection->backend;
	entry->workload = connection->workload;
	entry->policy = connection->policy;
	entry->protocol = connection->protocol;
	for (int i = 0; i < 4; i++)
		entry->address[i] = connection->address[i];
	l7_log_publish(state, entry);
	return 0;
}

#endif
