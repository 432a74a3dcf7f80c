/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What is read of a socket's queues, by CO-RE: whether bytes wait for its lock, and how much room is left. */
#ifndef EBPFMESH_HTTP2_TIER_KERNEL_H
#define EBPFMESH_HTTP2_TIER_KERNEL_H

#include "../kernel.h"
#include "../parser.h"

struct sock___queues {
	struct {
		struct {
			int counter;
		} rmem_alloc;
		int len;
	} sk_backlog;
	int sk_rcvbuf;
	int sk_sndbuf;
	int sk_wmem_queued;
} CORE;

/* Segments that arrived while the socket was locked: they reach sk_skb before anything that is redirected now. */
L7_INLINE int h2_backlog(struct bpf_sock *socket)
{
	struct sock___queues *sk = (void *)bpf_skc_to_tcp_sock(socket);

	return sk ? BPF_CORE_READ(sk, sk_backlog.len) : 1;
}

/* What was not read by the application is within its receive buffer: redirected bytes know no back-pressure of their own. */
L7_INLINE int h2_may_receive(struct bpf_sock *socket)
{
	struct sock___queues *sk = (void *)bpf_skc_to_tcp_sock(socket);

	return sk && BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter) <= BPF_CORE_READ(sk, sk_rcvbuf);
}

/* A push of so many bytes will find room: what is not the application's own must not be cut by EAGAIN. */
L7_INLINE int h2_may_push(struct bpf_sock *socket, __u32 bytes)
{
	struct sock___queues *sk = (void *)bpf_skc_to_tcp_sock(socket);

	return sk && (__s64)BPF_CORE_READ(sk, sk_sndbuf) - BPF_CORE_READ(sk, sk_wmem_queued) > 4096 + 2 * (__s64)bytes;
}

#endif
