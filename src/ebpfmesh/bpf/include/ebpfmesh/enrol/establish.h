/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A marked socket's way through sockops: the SYN, the handshake's end, the close. */
#ifndef EBPFMESH_ENROL_ESTABLISH_H
#define EBPFMESH_ENROL_ESTABLISH_H

#include "../address.h"
#include "../http2_tier/unanswered.h"
#include "current.h"
#include "../measure/log.h"
#include "../measure/unanswered.h"
#include "step.h"

#define L7_SOL_TCP 6
#define L7_TCP_USER_TIMEOUT 18
#define L7_GIVE_UP 1000 /* milliseconds that a socket lives which may not send */

/* What an element begins as; nobody writes it. */
L7_TABLE(l7_blank, 1, struct l7_connection);

/* The cgroups that a socket is in, by level from the root's down, so that a process that goes deeper changes nothing above: their
 * ids, which are the inodes of their directories. Before 6.1 (commit 7f203bc89eb6) the kernel kept ids where it now has pointers. */
L7_INLINE void l7_read_cgroups(struct sock *sk, struct l7_connection *connection)
{
	struct cgroup *cgroup = sk->sk_cgrp_data.cgroup, *ancestor;
	__u64 deepest = BPF_CORE_READ(cgroup, level), *ids = 0;
	struct cgroup **ancestors = 0;

	if (bpf_core_field_exists(cgroup->ancestors))
		ancestors = (void *)cgroup + bpf_core_field_offset(cgroup->ancestors);
	else
		ids = (void *)cgroup + bpf_core_field_offset(((struct cgroup___before_6_1 *)cgroup)->ancestor_ids);
#pragma unroll
	for (__u64 level = 0; level < L7_CGROUPS; level++) {
		__u64 id = 0;

		if (level <= deepest && ancestors &&
		    !bpf_probe_read_kernel(&ancestor, sizeof ancestor, ancestors + level))
			id = BPF_CORE_READ(ancestor, kn, id);
		else if (level <= deepest && ids)
			bpf_probe_read_kernel(&id, sizeof id, ids + level);
		connection->cgroups[level] = id;
	}
}

L7_INLINE void l7_read_client(struct sock *sk, struct l7_connection *connection)
{
	if (sk->__sk_common.skc_family == AF_INET) {
		connection->address[2] = MAPPED_PREFIX;
		connection->address[3] = sk->__sk_common.skc_rcv_saddr;
		return;
	}
	connection->address[0] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0];
	connection->address[1] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1];
	connection->address[2] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2];
	connection->address[3] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3];
}

/* Nothing follows this socket: as the policy says, everything or nothing leaves it. One that may not send is given up after a
 * second also where no agent is there to destroy it. */
L7_INLINE void l7_is_unenrolled(struct bpf_sock_ops *ctx, struct l7_mark *mark)
{
	int patience = L7_GIVE_UP;

	__u64 cookie = mark->cookie;
	struct l7_connection *connection = bpf_map_lookup_elem(&l7_connections, &cookie);
	int open = l7_fails_open(mark->service, L7_UNJUDGED_PASSES);

	l7_stat(mark->service, L7_STAT_UNENROLLED, 1);
	if (connection)
		l7_log_connection(connection, L7_LOG_UNENROLLED, open);
	if (open) {
		mark->state = L7_FREE;
		mark->allowed = L7_TO_THE_END;
		return;
	}
	mark->state = L7_UNENROLLED;
	bpf_setsockopt(ctx, L7_SOL_TCP, L7_TCP_USER_TIMEOUT, &patience, sizeof patience);
}

/* The socket has its addresses and its first sequence number, and has sent nothing. */
L7_INLINE void l7_on_syn(struct bpf_sock_ops *ctx, struct bpf_sock *socket, struct l7_mark *mark)
{
	struct connection *record = bpf_sk_storage_get(&connections, socket, 0, 0);
	struct l7_connection *blank = l7_element(&l7_blank, 0), *connection;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(socket);
	__u64 cookie = mark->cookie;

	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	if (!tcp || !blank || !record)
		return l7_is_unenrolled(ctx, mark);
	mark->write = tcp->write_seq;
	mark->base = mark->write + 1; /* the SYN takes a number */
	bpf_map_update_elem(&l7_connections, &cookie, blank, BPF_ANY);
	connection = bpf_map_lookup_elem(&l7_connections, &cookie);
	if (!connection)
		return l7_is_unenrolled(ctx, mark);
	connection->cookie = cookie;
	connection->service = mark->service;
	connection->protocol = mark->protocol;
	connection->port = record->frontend.port;
	connection->backend = record->id;
	connection->counter = record->counter;
	l7_read_client((struct sock *)tcp, connection);
	l7_read_cgroups((struct sock *)tcp, connection);
}

L7_INLINE void l7_on_established(struct bpf_sock_ops *ctx, struct bpf_sock *socket, struct l7_mark *mark)
{
	__u64 cookie = mark->cookie;

	if (mark->state != L7_MARKED)
		return;
	mark->write = mark->base; /* what the SYN carried shows as queued and not judged */
	if (!mark->base || l7_where(socket, mark) ||
	    (!mark->in_map && bpf_sock_hash_update(ctx, &l7_sockets, &cookie, BPF_ANY))) {
		l7_is_unenrolled(ctx, mark);
		return;
	}
	mark->in_map = 1;
	mark->state = L7_ENROLLED;
	mark->enrolled = 1;
	l7_stat(mark->service, L7_STAT_CONNECTIONS, 1);
	l7_stat(mark->service, L7_STAT_OPEN, 1);
}

L7_INLINE void l7_on_closed(struct l7_mark *mark)
{
	__u64 cookie = mark->cookie;
	struct l7_part_key part = { .cookie = cookie };
	struct l7_connection *connection = bpf_map_lookup_elem(&l7_connections, &cookie);

	if (mark->base) {
		if (connection && mark->protocol == L7_HTTP1)
			l7_count_unanswered(connection);
		if (connection && mark->protocol == L7_HTTP2)
			h2_count_unanswered(connection, cookie);
		bpf_map_delete_elem(&l7_connections, &cookie);
		bpf_map_delete_elem(&l7_resends, &cookie);
		if (mark->protocol == L7_HTTP2)
			bpf_map_delete_elem(&l7_http2, &cookie);
		bpf_map_delete_elem(&l7_parts, &part);
		part.direction = 1;
		bpf_map_delete_elem(&l7_parts, &part);
		if (mark->enrolled)
			l7_stat(mark->service, L7_STAT_OPEN, -1);
	}
	mark->enrolled = 0;
	mark->state = 0;
	mark->base = 0;
}

#endif
