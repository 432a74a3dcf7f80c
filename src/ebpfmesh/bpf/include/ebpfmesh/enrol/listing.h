/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The listing of marked sockets, for whoever counts, drains or destroys them. The iterator may also set a mark free: what it
 * writes is one word, and a program that reads the old state at that moment judges one more message. */
#ifndef EBPFMESH_ENROL_LISTING_H
#define EBPFMESH_ENROL_LISTING_H

#include "../listing.h"
#include "../http2_tier/connection.h"
#include "current.h"
#include "connection.h"

/* One struct listed_socket for each marked socket: its state is that of the mark. */
L7_INLINE int l7_list(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct l7_mark *mark = ctx->value;
	struct connection record = {};
	struct listed_socket line = {};
	struct sock *sk = ctx->sk;

	if (!sk || !mark || !mark->state)
		return 0;
	describe_socket(sk, &record, &line);
	line.state = mark->state;
	line.service = mark->service;
	line.destination.port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (line.family == AF_INET) {
		line.destination.address[2] = MAPPED_PREFIX;
		line.destination.address[3] = sk->__sk_common.skc_daddr;
	} else {
		line.destination.address[0] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0];
		line.destination.address[1] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[1];
		line.destination.address[2] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[2];
		line.destination.address[3] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3];
	}
	bpf_seq_write(ctx->meta->seq, &line, sizeof line);
	return 0;
}

/* Marks of services that are drained are free from here on, whether or not they send anything. */
L7_INLINE int l7_free_drained(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct l7_mark *mark = ctx->value;

	if (!mark || !mark->state || !l7_is_drained(mark->service) || !l7_can_go(mark) || !h2_can_go(mark->cookie))
		return 0;
	mark->allowed = L7_TO_THE_END;
	mark->state = L7_FREE;
	return 0;
}

#endif
