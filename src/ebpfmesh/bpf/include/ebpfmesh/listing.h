/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The listing of sockets that hold a connection record, for whoever destroys or counts them. */
#ifndef EBPFMESH_LISTING_H
#define EBPFMESH_LISTING_H

#include "connection.h"

/* One line of the socket listing: what SOCK_DESTROY needs to name this socket and no other. */
struct listed_socket {
	__u64 cookie;
	__u64 namespace;
	__u64 state;
	__u32 service;
	__u32 id;
	__u32 counter;
	__u16 family;
	__u16 protocol;
	__u32 device; /* SO_BINDTODEVICE: the kernel finds such a socket by its interface only */
	__u32 padding;
	struct endpoint source;
	struct endpoint destination;
};

static __always_inline void describe_socket(struct sock *sk, const struct connection *connection,
					    struct listed_socket *line)
{
	line->cookie = bpf_get_socket_cookie(sk);
	line->namespace = sk->__sk_common.skc_net.net->net_cookie;
	line->state = connection->state;
	/* UDP's connect() is under way, or the socket was disconnected, which no hook sees */
	if (sk->sk_protocol == IPPROTO_UDP && sk->__sk_common.skc_state != BPF_TCP_ESTABLISHED)
		line->state = CONNECTION_PICKED;
	line->service = connection->service;
	line->id = connection->id;
	line->counter = connection->counter;
	line->family = sk->__sk_common.skc_family;
	line->protocol = sk->sk_protocol;
	line->device = sk->__sk_common.skc_bound_dev_if;
	line->source.port = sk->__sk_common.skc_num;
	if (line->family == AF_INET) {
		line->source.address[2] = MAPPED_PREFIX;
		line->source.address[3] = sk->__sk_common.skc_rcv_saddr;
	} else {
		line->source.address[0] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		line->source.address[1] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		line->source.address[2] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		line->source.address[3] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3];
	}
	line->destination = connection->backend;
}

#endif
