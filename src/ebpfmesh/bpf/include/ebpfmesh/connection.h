/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What becomes of a connection: its record in socket storage, freed by the kernel with the socket, and the counters.
 *
 * A record is picked, then open, then done; each step is one compare-and-swap, so every count changes exactly once even when
 * a close races with a reset. `active` holds from the pick to the end: it is what keeps a backend's id from being reused. */
#ifndef EBPFMESH_CONNECTION_H
#define EBPFMESH_CONNECTION_H

#include "address.h"

enum connection_state { CONNECTION_NONE = 0, CONNECTION_PICKED = 1, CONNECTION_OPEN = 2 };

struct connection {
	__u64 state;
	__u32 service;
	__u32 id;
	__u32 counter;
	__u32 padding;
	struct endpoint frontend; /* what the application asked for, and what getpeername() says */
	struct endpoint backend;
};

struct counters {
	__u64 opened;
	__u64 active;
	__u64 failed;
	__u64 closed;
	__u64 bytes_sent; /* acknowledged by the peer; TCP, added when the connection ends */
	__u64 bytes_received;
	__u64 datagrams; /* sent by unconnected UDP sockets, each balanced by itself */
};

struct service_counters {
	struct counters traffic;
	__u64 refused;	    /* no backend was left */
	__u64 errors;	    /* a look-up or an allocation failed; the service's on_error decided */
	__u64 reply_misses; /* a UDP reply without a translation: evicted, or of no backend */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct service_counters);
} service_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct counters);
} backend_stats SEC(".maps");

#define count(service, backend, field, amount)                                                                         \
	({                                                                                                             \
		__u32 s_ = (service), b_ = (backend);                                                                  \
		struct service_counters *of_service_ = bpf_map_lookup_elem(&service_stats, &s_);                       \
		struct counters *of_backend_ = bpf_map_lookup_elem(&backend_stats, &b_);                               \
		if (of_service_)                                                                                       \
			__sync_fetch_and_add(&of_service_->traffic.field, (amount));                                   \
		if (of_backend_)                                                                                       \
			__sync_fetch_and_add(&of_backend_->field, (amount));                                           \
	})

#define count_service(service, field)                                                                                  \
	({                                                                                                             \
		__u32 s_ = (service);                                                                                  \
		struct service_counters *of_service_ = bpf_map_lookup_elem(&service_stats, &s_);                       \
		if (of_service_)                                                                                       \
			__sync_fetch_and_add(&of_service_->field, 1);                                                  \
	})

static __always_inline int moves(struct connection *connection, __u64 from, __u64 to)
{
	return __sync_val_compare_and_swap(&connection->state, from, to) == from;
}

static __always_inline void connection_open(struct connection *connection)
{
	if (moves(connection, CONNECTION_PICKED, CONNECTION_OPEN))
		count(connection->service, connection->counter, opened, 1);
}

static __always_inline void count_end(struct counters *to, int opened, __u64 sent, __u64 received)
{
	if (!to)
		return;
	__sync_fetch_and_add(opened ? &to->closed : &to->failed, 1);
	if (sent)
		__sync_fetch_and_add(&to->bytes_sent, sent);
	if (received)
		__sync_fetch_and_add(&to->bytes_received, received);
	__sync_fetch_and_add(&to->active, -1);
}

/* The socket is through with it: closed if it was open, failed if it never was. */
static __always_inline void connection_end(struct connection *connection, __u64 sent, __u64 received)
{
	__u32 service = connection->service, backend = connection->counter;
	int opened = moves(connection, CONNECTION_OPEN, CONNECTION_NONE);

	if (!opened && !moves(connection, CONNECTION_PICKED, CONNECTION_NONE))
		return;
	if (!opened)
		sent = received = 0;
	count_end(bpf_map_lookup_elem(&service_stats, &service), opened, sent, received);
	count_end(bpf_map_lookup_elem(&backend_stats, &backend), opened, sent, received);
}

#endif
