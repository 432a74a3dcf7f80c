/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Addresses are 128 bits wide everywhere (IPv4 is v4-mapped, RFC 4291 section 2.5.5.2), in network order; ports are in host
 * order. This is the only file that converts. */
#ifndef EBPFMESH_ADDRESS_H
#define EBPFMESH_ADDRESS_H

#include "kernel.h"

#include <bpf/bpf_endian.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define MAPPED_PREFIX bpf_htonl(0x0000ffff)

struct endpoint {
	__u32 address[4];
	__u16 port;
};

static __always_inline int is_v4(const __u32 address[4])
{
	return address[0] == 0 && address[1] == 0 && address[2] == MAPPED_PREFIX;
}

static __always_inline int is_unspecified(const __u32 address[4])
{
	return (address[0] | address[1] | address[2] | address[3]) == 0;
}

static __always_inline int same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
	return a->address[0] == b->address[0] && a->address[1] == b->address[1] && a->address[2] == b->address[2] &&
	       a->address[3] == b->address[3] && a->port == b->port;
}

/* The address the socket is bound to; unspecified if it is not. */
static __always_inline void read_source(struct bpf_sock *sk, __u32 to[4])
{
	if (sk->family == AF_INET) {
		to[0] = 0;
		to[1] = 0;
		to[2] = sk->src_ip4 ? MAPPED_PREFIX : 0;
		to[3] = sk->src_ip4;
	} else {
		barrier_var(sk); /* or clang merges the branches into arithmetic on the pointer, which is refused */
		to[0] = sk->src_ip6[0];
		to[1] = sk->src_ip6[1];
		to[2] = sk->src_ip6[2];
		to[3] = sk->src_ip6[3];
	}
}

/* The address that the program's caller passed, or that is being returned to it. */
static __always_inline void read_v4(const struct bpf_sock_addr *ctx, struct endpoint *to)
{
	to->address[0] = 0;
	to->address[1] = 0;
	to->address[2] = MAPPED_PREFIX;
	to->address[3] = ctx->user_ip4;
	to->port = bpf_ntohs((__u16)ctx->user_port);
}

static __always_inline void read_v6(const struct bpf_sock_addr *ctx, struct endpoint *to)
{
	to->address[0] = ctx->user_ip6[0];
	to->address[1] = ctx->user_ip6[1];
	to->address[2] = ctx->user_ip6[2];
	to->address[3] = ctx->user_ip6[3];
	to->port = bpf_ntohs((__u16)ctx->user_port);
}

static __always_inline void write_v4(struct bpf_sock_addr *ctx, const struct endpoint *from)
{
	ctx->user_ip4 = from->address[3];
	ctx->user_port = bpf_htons(from->port);
}

static __always_inline void write_v6(struct bpf_sock_addr *ctx, const struct endpoint *from)
{
	ctx->user_ip6[0] = from->address[0];
	ctx->user_ip6[1] = from->address[1];
	ctx->user_ip6[2] = from->address[2];
	ctx->user_ip6[3] = from->address[3];
	ctx->user_port = bpf_htons(from->port);
}

#endif
