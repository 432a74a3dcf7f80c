/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Limits as the kernel holds them. Only the agent writes l7_limits; the buckets' words change by compare-and-swap. */
#ifndef EBPFMESH_LIMIT_LIMIT_H
#define EBPFMESH_LIMIT_LIMIT_H

#include "../authorise/policy.h"

enum l7_limit_key { L7_PER_SERVICE = 0, L7_PER_ADDRESS = 1, L7_PER_IDENTITY = 2, L7_PER_FIELD = 3 };

/* Generic cell rate algorithm (ITU-T I.371): one word a key, the theoretical arrival time of the next request. */
struct l7_limit {
	__u64 interval; /* nanoseconds a request: 1 / rate */
	__u64 burst;	/* nanoseconds that a key may be ahead: (burst - 1) * interval */
	__u8 key;	/* enum l7_limit_key */
	__u8 field; /* PER_FIELD: enum http_field; a request without it shares one bucket with all others without it */
	__u16 flags;
	__u32 number; /* part of the bucket's key: the same as long as the limit has its name */
};

struct l7_bucket_key {
	__u32 limit;  /* number */
	__u32 length; /* of a field's value; 0 for the others */
	__u64 key[2]; /* address; workload; SipHash of the value */
};

struct l7_limit_counters {
	__u64 admitted;
	__u64 refused;
	__u64 overflowed; /* requests of keys that found no room: they share the limit's overflow bucket */
	__u64 contended;  /* refused because the word kept changing */
};

#define L7_LIMIT_TRIES 8 /* of the compare-and-swap; then the request is refused */

L7_TABLE(l7_limits, 1024, struct l7_limit);
L7_TABLE(l7_limit_stats, 1024, struct l7_limit_counters); /* as of l7_limits, by number */
L7_TABLE(l7_limit_full, 1024, __u64);			  /* overflow buckets, by number */
L7_CLASSIC_MAP(l7_buckets, BPF_MAP_TYPE_HASH, 65536, struct l7_bucket_key, __u64, 0);

#endif
