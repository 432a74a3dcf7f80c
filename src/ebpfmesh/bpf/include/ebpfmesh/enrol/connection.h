/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* An enrolled connection: a mark in the socket's storage, and all that is followed of it in a map by the socket's cookie.
 *
 * Two places, since sk_msg and the guard have socket storage and no cookie, and sk_skb has a cookie and no socket storage.
 * Both belong to one socket, whose lock every program but the guard holds: nothing here needs an atomic operation. */
#ifndef EBPFMESH_ENROL_CONNECTION_H
#define EBPFMESH_ENROL_CONNECTION_H

#include "../authorise/policy.h"
#include "../drive.h"

enum l7_mark_state {
	L7_MARKED = 1,	 /* connecting: no byte may leave */
	L7_ENROLLED = 2, /* what sk_msg has judged may leave */
	L7_FREE = 3, /* everything may leave: opaque by policy, drained, or enrolment failed and the policy is open */
	L7_UNENROLLED = 4,  /* enrolment failed, and the policy is closed: no byte may leave; the agent destroys it */
	L7_OUT_OF_STEP = 5, /* bytes passed unseen, or were lost inside a head: nothing more may leave */
};

/* In the socket's storage. */
struct l7_mark {
	__u64 cookie;
	__u32 service;
	__u32 base;	/* sequence number of the stream's first byte */
	__u32 write;	/* write_seq when sk_msg ran last */
	__u32 state;	/* enum l7_mark_state */
	__u64 position; /* bytes that were queued for the wire when sk_msg ran last */
	__u64 passed;	/* … that were let through by then */
	__u64 allowed;	/* … up to which may leave: what passed, and the rest of a body that is allowed */
	__u64 payload;	/* … from which on all that passed was payload, up to passed */
	__u32 protocol; /* enum l7_protocol */
	__u32 enrolled; /* it counts as open */
	__u64 task;	/* whose send was judged last: thread group and thread */
	__u32 in_map;	/* the socket is in l7_sockets, where it stays until it is closed, connected or not */
	__u32 spare;
};

#define L7_CGROUPS 16	/* levels of cgroups, from the root's down, in which workloads are looked for */
#define L7_IN_FLIGHT 64 /* requests of one connection whose responses are still to come; a power of two */

enum l7_connection_flag {
	L7_SWALLOWS = 1,	 /* the rest of a message that was answered locally is taken out */
	L7_SWALLOWS_ALL = 2,	 /* … and everything that follows */
	L7_REPLY_DUE = 4,	 /* the reply waits for the responses before it */
	L7_RESPONSES_LOST = 8,	 /* responses cannot be followed: they pass */
	L7_KEPT = 16,		 /* l7_resends has the bytes of the structure that was judged last */
	L7_FORWARDED_PART = 32,	 /* a part of the head at hand has left */
	L7_SWALLOWS_COUNT = 64,	 /* what is swallowed ends with the count at hand */
	L7_RESPONSE_COUNT = 128, /* the response ends with the count at hand */
	L7_IN_RESPONSE = 256,	 /* its head was seen */
	L7_HAS_PART = 512,	 /* l7_parts has the record of the request's head at hand */
	L7_HAS_RESPONSE_PART = 1024,
	L7_REDIRECTED = 2048, /* the front of a message was redirected: with SK_PASS the rest would go the same way */
};

struct l7_in_flight {
	__u64 since; /* CLOCK_MONOTONIC, nanoseconds, when its head was let through */
	__u32 route;
	__u32 sent; /* bytes of head and payload, as far as they are known by then; at most 2^32 - 1 */
};

/* By the socket's cookie. Made at connect(), removed when the socket closes. */
struct l7_connection {
	__u64 cookie;
	__u64 cgroups[L7_CGROUPS]; /* the client's, by level; 0 below its own */
	__u32 service;
	__u32 backend; /* id */
	__u32 counter; /* of the backend: element of the connect tier's backend_stats */
	__u32 workload;
	__u32 address[4]; /* of the client */
	__u64 generation; /* that workload and policy were looked up at; 0: not yet */
	__u32 policy;
	__u32 flags;
	__u8 protocol;
	__u8 reserved;
	__u16 port;  /* that the client connected to, of the service's */
	__u32 reply; /* that is due: element of l7_replies */
	__u64 retry_after;
	struct l7_flow flows[2];
	struct l7_state state;
	/* the structure (head, chunk's size) that was judged last, in case it does not leave: enrol/resend.h */
	__u64 judged_at; /* l7_mark.passed before it */
	__u32 judged;	 /* its bytes */
	__u32 resending; /* … that are to come again: the last so many */
	/* requests and their responses, in order; HTTP/2 keeps them by stream elsewhere */
	__u64 asked;
	__u64 answered;
	__u64 received; /* bytes of the response at hand */
	__u32 status;	/* its status */
	__u32 config;	/* element of l7_configs that its requests are read by */
	struct l7_in_flight in_flight[L7_IN_FLIGHT];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct l7_mark);
} l7_marks SEC(".maps");

L7_CLASSIC_MAP(l7_connections, BPF_MAP_TYPE_HASH, 4096, __u64, struct l7_connection, 0);
L7_CLASSIC_MAP(l7_sockets, BPF_MAP_TYPE_SOCKHASH, 4096, __u64, __u64, 0);

/* Heads of which a part was shown: the record that gathers their fields. Few connections have one at a time. */
struct l7_part_key {
	__u64 cookie;
	__u64 direction;
};

L7_CLASSIC_MAP(l7_parts, BPF_MAP_TYPE_HASH, 1024, struct l7_part_key, struct l7_record, 0);

/* Bytes that were judged while the socket's buffer was nearly full. Few connections are in that state at a time. */
struct l7_resend {
	__u8 bytes[L7_WINDOW + L7_SLACK];
};

L7_CLASSIC_MAP(l7_resends, BPF_MAP_TYPE_HASH, 1024, __u64, struct l7_resend, 0);

/* The programs of each protocol, by enum l7_protocol. */
L7_CLASSIC_MAP(l7_sent, BPF_MAP_TYPE_PROG_ARRAY, 8, __u32, __u32, 0);
L7_CLASSIC_MAP(l7_received, BPF_MAP_TYPE_PROG_ARRAY, 8, __u32, __u32, 0);

#endif
