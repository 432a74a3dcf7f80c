// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* Tier 1: which sockets are followed, and by which programs.
 *
 * authorise_connect4/6 and authorise_sendmsg4/6 run behind the connect tier's programs: rules that need no request decide here, and
 * a socket whose service has a protocol is marked. enrol (sockops) puts it into the sockhash once it is established, so that sent
 * and received see its bytes; guard drops what left before that. sent and received are small and stay: a socket keeps the
 * programs that it was enrolled with, and they tail-call what is current. list_marks lists marked sockets, and free_marks lets go of those whose service is gone.
 *
 * Minimum kernel: 5.18. */
#include "ebpfmesh/connection.h"
#include "ebpfmesh/datagram.h"

#include "ebpfmesh/authorise/source.h"
#include "ebpfmesh/enrol/connect.h"
#include "ebpfmesh/enrol/establish.h"
#include "ebpfmesh/enrol/guard.h"
#include "ebpfmesh/enrol/listing.h"
#include "ebpfmesh/enrol/step.h"
/* for their maps, which the tier's only writer fills whatever protocols there are */
#include "ebpfmesh/limit/limit.h"
#include "ebpfmesh/reply/reply.h"

SEC("cgroup/connect4") int authorise_connect4(struct bpf_sock_addr *ctx)
{
	return l7_on_connect(ctx);
}

SEC("cgroup/connect6") int authorise_connect6(struct bpf_sock_addr *ctx)
{
	return l7_on_connect(ctx);
}

SEC("cgroup/sendmsg4") int authorise_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint backend;

	read_v4(ctx, &backend);
	return l7_judge_datagram(ctx, &backend);
}

SEC("cgroup/sendmsg6") int authorise_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint backend;

	read_v6(ctx, &backend);
	return l7_judge_datagram(ctx, &backend);
}

SEC("sockops") int enrol(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *socket = ctx->sk; /* read once: the verifier forgets the check of a second read */
	struct l7_mark *mark;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
	    ctx->op != BPF_SOCK_OPS_STATE_CB)
		return 1;
	if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] != BPF_TCP_CLOSE)
		return 1;
	if (!socket)
		return 1;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark || !mark->state)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		l7_on_syn(ctx, socket, mark);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		l7_on_established(ctx, socket, mark);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		l7_on_closed(mark);
		break;
	}
	return 1;
}

/* A socket that is closed before a SYN was sent is told to nobody else. */
SEC("cgroup/sock_release") int forget(struct bpf_sock *ctx)
{
	struct l7_mark *mark = bpf_sk_storage_get(&l7_marks, ctx, 0, 0);

	if (mark && mark->state && !mark->base)
		mark->state = 0;
	return 1;
}

SEC("cgroup_skb/egress") int guard(struct __sk_buff *skb)
{
	struct bpf_sock *socket = skb->sk;
	struct l7_mark *mark;

	if (!socket)
		return L7_GUARD_PASSES;
	socket = bpf_sk_fullsock(socket);
	if (!socket)
		return L7_GUARD_PASSES;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark || !mark->state || mark->state == L7_FREE)
		return L7_GUARD_PASSES;
	if (l7_all_judged(socket, mark) || l7_is_judged(skb, mark))
		return L7_GUARD_PASSES;
	l7_stat(mark->service, L7_STAT_UNJUDGED_PACKETS, 1);
	if (l7_fails_open(mark->service, L7_UNJUDGED_PASSES))
		return L7_GUARD_PASSES;
	if (mark->state == L7_ENROLLED)
		l7_falls_out(mark); /* or it would send the same again until it gives up: the agent destroys it */
	return L7_GUARD_DROPS;
}

SEC("sk_msg") int sent(struct sk_msg_md *msg)
{
	struct bpf_sock *socket = msg->sk;
	struct l7_mark *mark;

	if (!socket)
		return SK_PASS;
	mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);
	if (!mark)
		return SK_PASS;
	if (!mark->state)
		return l7_egress(msg, mark, 0); /* connected again, to something that is no service */
	if (mark->state == L7_FREE ||
	    (mark->state == L7_ENROLLED && l7_is_drained(mark->service) && l7_can_go(mark) && h2_can_go(mark->cookie)))
		return l7_set_free(msg, mark);
	if (mark->state != L7_ENROLLED)
		return SK_DROP;
	if (mark->protocol == L7_HTTP1)
		bpf_tail_call_static(msg, &l7_sent, L7_HTTP1);
	else if (mark->protocol == L7_HTTP2)
		bpf_tail_call_static(msg, &l7_sent, L7_HTTP2);
	l7_stat(mark->service, L7_STAT_LOOK_UPS_FAILED, 1);
	return l7_fails_open(mark->service, L7_ERRORS_PASS) ? l7_set_free(msg, mark) : SK_DROP;
}

SEC("sk_skb/stream_verdict") int received(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct l7_connection *connection = bpf_map_lookup_elem(&l7_connections, &cookie);

	if (connection && connection->protocol == L7_HTTP1)
		bpf_tail_call_static(skb, &l7_received, L7_HTTP1);
	else if (connection && connection->protocol == L7_HTTP2)
		bpf_tail_call_static(skb, &l7_received, L7_HTTP2);
	return SK_PASS; /* a response is never held back: its request was allowed */
}

SEC("?iter/bpf_sk_storage_map") int list_marks(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	return l7_list(ctx);
}

SEC("?iter/bpf_sk_storage_map") int free_marks(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	return l7_free_drained(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
