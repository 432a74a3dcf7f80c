/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What is counted, timed and logged of requests. Every map has a bound, and what does not fit is counted. */
#ifndef EBPFMESH_MEASURE_MEASURE_H
#define EBPFMESH_MEASURE_MEASURE_H

#include "../authorise/decision.h"

/* Of one service; element of l7_stats: number of the service. Changed by atomics only. */
enum l7_stat {
	/* what nearly every request changes: one cache line */
	L7_STAT_REQUESTS = 0, /* heads decided about */
	L7_STAT_ALLOWED,
	L7_STAT_DENIED,
	L7_STAT_LIMITED,
	L7_STAT_REPLIED,   /* (a) whole head in one message, nothing outstanding */
	L7_STAT_SWALLOWED, /* bytes that were taken out */
	L7_STAT_TRACED,
	L7_STAT_TRACE_CONTINUED,
	/* the rest */
	L7_STAT_CONNECTIONS,	  /* enrolled */
	L7_STAT_OPEN,		  /* … and not closed yet */
	L7_STAT_UNENROLLED,	  /* enrolment failed: the map is full, or another owner has the socket */
	L7_STAT_UNJUDGED_PACKETS, /* that the guard dropped, or let pass by policy */
	L7_STAT_FAULTED,
	L7_STAT_AUDITED,
	L7_STAT_BAD_PATH,
	L7_STAT_PARTIAL_REPLIED, /* (b) */
	L7_STAT_PARTIAL_DROPPED,
	L7_STAT_OUTSTANDING_REPLIED, /* (c) */
	L7_STAT_OUTSTANDING_DROPPED,
	L7_STAT_REPLY_FAILED, /* the message could not be changed: EACCES */
	L7_STAT_UNDECODABLE_REFUSED,
	L7_STAT_UNDECODABLE_PASSED,
	L7_STAT_UNDECODABLE_ESCALATED,
	L7_STAT_RESPONSES_LOST, /* responses could not be followed any more */
	L7_STAT_NOT_TRACED,	/* no room, or the head's end was in another message */
	L7_STAT_RESENT,		/* bytes that were judged, did not go out, and were judged again */
	L7_STAT_OUT_OF_STEP,	/* connections on which bytes were seen out of turn: refused from then on */
	L7_STAT_LOOK_UPS_FAILED,
	L7_STAT_NO_SCRATCH,
	L7_STAT_NOT_FILLED,	 /* bytes that could not be shown */
	L7_STAT_GOAWAY,		 /* HTTP/2 connections ended cleanly */
	L7_STAT_STREAMS_REFUSED, /* HTTP/2 streams answered locally */
	L7_STATS,
	L7_STATS_ROOM = 48,
};

struct l7_service_stats {
	__u64 counters[L7_STATS_ROOM];
};

#define L7_CLASSES 6  /* status classes: 0 is none (no response came), 1 to 5 */
#define L7_BUCKETS 96 /* the last begins at 12.9 s: measure/latency.h */

struct l7_metric_key {
	__u32 service;
	__u32 backend; /* element of the connect tier's counters; 0xffffffff: answered locally */
	__u32 route;
	__u32 class_;
};

/* Latency: bucket 0 is below 1024 ns; then four buckets to each power of two (l7_latency_bucket()). */
struct l7_metric {
	__u64 requests;
	__u64 sent;	/* bytes of requests, heads and payload */
	__u64 received; /* … of responses */
	__u64 nanoseconds;
	__u64 buckets[L7_BUCKETS];
};

/* One decision or one sampled request: the ring's record, and the element of the recent ones. */
struct l7_log_entry {
	__u64 sequence; /* of the recent ones; 0: never written; odd while it is written */
	__u64 time;
	__u64 cookie; /* of the socket */
	__u64 stream;
	__u64 retry_after;
	__u32 service;
	__u32 backend;
	__u32 workload;
	__u32 policy;
	__u32 list;
	__u32 rule;
	__u32 route;
	__u32 limit;
	__u32 address[4];
	__u8 kind; /* enum l7_log_kind */
	__u8 allowed;
	__u8 reason; /* enum l7_reason */
	__u8 protocol;
	__u16 status; /* of the local reply; 0 if there is none */
	__u16 path_length;
	__u8 method[16];
	__u8 host[40];
	__u8 traceparent[56];
	__u8 path[80]; /* as sent, cut */
};

enum l7_log_kind {
	L7_LOG_SAMPLED = 1,
	L7_LOG_DENIED = 2,
	L7_LOG_AUDITED = 3,
	L7_LOG_UNENROLLED = 4,
	L7_LOG_UNDECODABLE = 5
};

#define L7_RECENT 1024
#define L7_LOG_SIZE (1 << 20) /* bytes of the ring */

struct l7_log_state {
	__u64 written; /* of the recent ones */
	__u64 told;    /* arrival time of the log's own limit */
	__u64 dropped; /* by the rate bound, or all places tried were being written */
	__u64 ring_full;
	__u64 samples;	    /* allowed requests that were drawn */
	__u64 metrics_full; /* requests that were counted in l7_overflow (measure/count.h): no row was free */
};

L7_TABLE(l7_stats, 1024, struct l7_service_stats);
L7_TABLE(l7_recent, L7_RECENT, struct l7_log_entry);
L7_TABLE(l7_log_state, 1, struct l7_log_state);
L7_CLASSIC_MAP(l7_metrics, BPF_MAP_TYPE_PERCPU_HASH, 4096, struct l7_metric_key, struct l7_metric, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, L7_LOG_SIZE);
} l7_log SEC(".maps");

L7_INLINE void l7_stat(__u32 service, __u32 counter, __u64 amount)
{
	struct l7_service_stats *stats = l7_element(&l7_stats, service);

	barrier_var(counter);
	if (stats && counter < L7_STATS_ROOM)
		__sync_fetch_and_add(&stats->counters[counter], amount);
}

#endif
