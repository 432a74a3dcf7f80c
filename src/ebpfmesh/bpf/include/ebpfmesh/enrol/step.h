/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Whether what was judged is what has left.
 *
 * A send may push less than the program has judged: a non-blocking one whose buffer is full. The rest is freed, the
 * application sends it again, or sends something else. write_seq says how much was really queued; what is missing must come again
 * (resend.h). That works because judged bytes are redirected to their own socket's egress: after SK_PASS the kernel would keep the
 * verdict of a push that failed, and not run the program for what comes next (tcp_bpf_send_verdict()).
 * What left without having been judged cannot be followed: such a connection is out of step, and nothing more leaves it. */
#ifndef EBPFMESH_ENROL_STEP_H
#define EBPFMESH_ENROL_STEP_H

#include "../measure/measure.h"
#include "connection.h"

/* Reads write_seq of a socket; what has been queued since the last time is added to the position. */
L7_INLINE int l7_where(struct bpf_sock *socket, struct l7_mark *mark)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(socket);
	__u32 now;

	if (!tcp)
		return -1;
	now = tcp->write_seq;
	mark->position += (__u32)(now - mark->write);
	mark->write = now;
	return 0;
}

/* Whether judged bytes that are missing may be those of a send that is still under way in another thread, which released the
 * socket's lock inside its push: what is sent now would then come in between, or before. The thread that sent them has no other
 * send under way; where it is another thread, nobody else may be inside: psock's owner and this send hold one reference each. */
L7_INLINE int l7_is_alone(struct bpf_sock *socket, struct l7_mark *mark)
{
	struct sock *sk = (struct sock *)bpf_skc_to_tcp_sock(socket);
	struct sk_psock *psock;

	if (mark->task == bpf_get_current_pid_tgid())
		return 1;
	if (!sk)
		return 0;
	psock = (struct sk_psock *)((__u64)BPF_CORE_READ(sk, sk_user_data) & ~7ull);
	return BPF_CORE_READ(psock, refcnt.refs.counter) <= 2;
}

#define L7_TIGHT 8192 /* bytes of a socket's buffer beyond the message's own, below which a push may stop half-way */

/* Whether pushing so many bytes may stop half-way for want of room: a non-blocking send() then returns less than it was given. */
L7_INLINE int l7_is_tight(struct bpf_sock *socket, __u32 bytes)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(socket);
	struct sock *sk = (struct sock *)tcp;

	if (!tcp)
		return 1;
	return (__s64)sk->sk_sndbuf - sk->sk_wmem_queued < (__s64)bytes + bytes / 8 + L7_TIGHT ||
	       (tcp->notsent_lowat && tcp->write_seq - tcp->snd_nxt + bytes + L7_TIGHT > tcp->notsent_lowat);
}

#define L7_OVERHEAD 2048 /* more than the kernel accounts for the first packet of a queue, apart from its data */

/* Bytes whose push cannot fail. Room in the buffer is not enough: the socket's memory is charged to the client's cgroup and to the
 * machine, and either may be at its limit. But what a socket with empty queues needs up to tcp_wmem[0] is charged in any case
 * (sk_forced_mem_schedule(), tcp_wmem_schedule()). */
L7_INLINE __u32 l7_granted(struct bpf_sock *socket)
{
	struct sock *sk = (struct sock *)bpf_skc_to_tcp_sock(socket);
	int least;

	if (!sk || sk->sk_wmem_queued)
		return 0;
	least = sk->__sk_common.skc_net.net->ipv4.sysctl_tcp_wmem[0];
	return least > L7_OVERHEAD ? least - L7_OVERHEAD : 0;
}

/* Judged bytes that did not leave. Payload comes again unseen. A structure was judged as a whole: what is missing of it must come
 * again just as it was, which needs that it was kept. 0 if it was not. */
L7_INLINE int l7_step_back(struct l7_mark *mark, struct l7_connection *connection)
{
	__u64 missing = mark->passed - mark->position, payload = missing;
	struct l7_flow *flow = &connection->flows[L7_REQUEST];

	if (mark->position < mark->payload) {
		if (!(connection->flags & L7_KEPT) || mark->position < connection->judged_at)
			return 0;
		payload = mark->passed - mark->payload;
		connection->resending = mark->payload - mark->position;
	}
	if (!l7_is_final(flow) && flow->remaining != L7_TO_THE_END)
		flow->remaining += payload;
	flow->position -= payload;
	mark->passed = mark->position;
	mark->allowed = mark->position;
	l7_stat(mark->service, L7_STAT_RESENT, missing);
	return 1;
}

/* Nothing more leaves it. */
L7_INLINE void l7_falls_out(struct l7_mark *mark)
{
	mark->state = L7_OUT_OF_STEP;
	mark->allowed = mark->passed;
	l7_stat(mark->service, L7_STAT_OUT_OF_STEP, 1);
}

/* 1: the bytes of this message follow those that were judged last. */
L7_GLOBAL int l7_in_step(struct l7_mark *mark, struct l7_connection *connection)
{
	struct l7_flow *flow;
	__u64 extra;

	if (!mark || !connection)
		return 0;
	if (mark->position == mark->passed)
		return 1;
	if (mark->position < mark->passed) {
		if (l7_step_back(mark, connection))
			return 1;
	} else {
		flow = &connection->flows[L7_REQUEST];
		extra = mark->position - mark->passed;
		if (mark->position <= mark->allowed && l7_unseen(flow, extra) == extra) {
			mark->passed = mark->position;
			return 1;
		}
	}
	l7_falls_out(mark);
	return 0;
}

/* The rest of the message goes to the server, or where it is empty nowhere, and an earlier run's verdict on it is forgotten: what
 * that run said of this message, how far and where to, would stand. After a redirect SK_PASS alone would redirect again
 * (sk_psock_map_verd()). */
L7_INLINE int l7_egress(struct sk_msg_md *msg, struct l7_mark *mark, __u32 bytes)
{
	__u64 cookie = mark->cookie;

	bpf_msg_apply_bytes(msg, bytes);
	return bpf_msg_redirect_hash(msg, &l7_sockets, &cookie, 0);
}

/* The same for a message of which nothing was redirected yet, and whose push cannot fail (l7_granted()); cheaper: the socket stays
 * locked, and nobody else comes in between. Where a push fails the kernel would keep the verdict, and other bytes than those that
 * were judged would leave in their place: the guard counts bytes, and could not tell. */
L7_INLINE int l7_pass_on(struct sk_msg_md *msg, __u32 bytes)
{
	bpf_msg_apply_bytes(msg, bytes);
	return SK_PASS;
}

/* Nothing of this connection is judged any more. */
L7_INLINE int l7_set_free(struct sk_msg_md *msg, struct l7_mark *mark)
{
	mark->state = L7_FREE;
	mark->allowed = L7_TO_THE_END;
	return l7_egress(msg, mark, 0);
}

#define L7_AHEAD (1 << 30) /* bytes of a payload that may leave before the program looks again */

/* These bytes of the message are let through; what the flow still awaits of a payload may leave too. */
L7_INLINE void l7_let_through(struct l7_mark *mark, struct l7_connection *connection, __u64 bytes)
{
	__u64 remaining = connection->flows[L7_REQUEST].remaining;

	mark->passed += bytes;
	/* sequence numbers are compared by their difference, which must stay far below 2^31 */
	mark->allowed = remaining == L7_TO_THE_END ? L7_TO_THE_END :
						     mark->passed + (remaining < L7_AHEAD ? remaining : L7_AHEAD);
}

#endif
