/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* connect() and sendmsg() to a service, behind the connect tier's programs, which have picked a backend and written the socket's
 * record: rules that ask for no request decide here, and a socket that will be followed is marked. */
#ifndef EBPFMESH_ENROL_CONNECT_H
#define EBPFMESH_ENROL_CONNECT_H

#include "../address.h"
#include "../measure/measure.h"
#include "current.h"
#include "connection.h"

#define L7_EACCES 13
#define L7_ENOMEM 12
#define L7_PROCEED 1
#define L7_REFUSED 0
#define L7_SOCK_STREAM 1

L7_INLINE int l7_refuse(int error)
{
	bpf_set_retval(-error);
	return L7_REFUSED;
}

/* The calling process's workload: that of its cgroup, else of the nearest one above that has a name. */
L7_INLINE __u32 l7_workload_here(__u32 identities)
{
	__u32 *workload, found = 0;

	if (!identities)
		return 0;
#pragma unroll
	for (int level = 0; level < L7_CGROUPS; level++) {
		struct l7_workload_key key = { .cgroup = bpf_get_current_ancestor_cgroup_id(level),
					       .identities = identities };

		workload = bpf_map_lookup_elem(&l7_workloads, &key);
		if (workload)
			found = *workload;
	}
	return found;
}

/* Whether a service without a protocol takes this caller at this port. Its rules ask for no more than that, so of a list, which
 * is by action, denials first, the first rule decides. */
L7_INLINE int l7_takes_caller(const struct l7_service *service, __u16 port)
{
	struct l7_source_key key = {
		.rules = service->rules,
		.workload = service->flags & L7_ASKS_WORKLOAD ? l7_workload_here(service->identities) : 0,
		.port = service->flags & L7_ASKS_PORT ? port : 0,
	};
	int otherwise = !(service->flags & L7_HAS_ALLOW);
	__u32 *found = bpf_map_lookup_elem(&l7_sources, &key);
	struct l7_policy *policy = l7_element(&l7_policies, found ? *found : service->policy);
	struct l7_list *list = policy ? l7_element(&l7_lists, policy->list) : 0;
	struct l7_rule *rule;

	if (!list)
		return !!(service->flags & L7_ERRORS_PASS);
	if (!policy->list || !list->count)
		return otherwise;
	rule = l7_element(&l7_rules, list->rules[0]);
	if (!rule)
		return !!(service->flags & L7_ERRORS_PASS);
	return rule->action == L7_ALLOW || (rule->action != L7_DENY && otherwise);
}

/* MPTCP sends what one subflow was given over any other, also over those that no hook sees connect. */
L7_INLINE int l7_is_mptcp(struct bpf_sock_addr *ctx)
{
	struct tcp_sock *tcp;

	if (ctx->protocol == IPPROTO_MPTCP)
		return 1;
	tcp = bpf_skc_to_tcp_sock(ctx->sk);
	return tcp && bpf_core_field_exists(tcp->is_mptcp) && BPF_CORE_READ_BITFIELD(tcp, is_mptcp);
}

/* Marks the socket, so that nothing leaves it before it is followed. 0, or the refusal. */
L7_INLINE int l7_mark_socket(struct bpf_sock_addr *ctx, __u32 number, const struct l7_service *service)
{
	struct l7_mark *mark = bpf_sk_storage_get(&l7_marks, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!mark) {
		l7_stat(number, L7_STAT_UNENROLLED, 1);
		return service->flags & L7_UNJUDGED_PASSES ? 0 : -1;
	}
	mark->cookie = bpf_get_socket_cookie(ctx);
	mark->service = number;
	mark->protocol = service->protocol;
	mark->state = L7_MARKED;
	mark->base = mark->write = mark->enrolled = 0;
	mark->position = mark->passed = mark->allowed = mark->payload = 0;
	return 0;
}

L7_INLINE int l7_on_connect(struct bpf_sock_addr *ctx)
{
	const struct l7_service *service;
	struct connection *record;
	struct l7_mark *mark;
	__u32 number;

	if (!ctx->sk)
		return L7_PROCEED;
	mark = bpf_sk_storage_get(&l7_marks, ctx->sk, 0, 0);
	if (mark && mark->state == L7_MARKED)
		mark->state = 0; /* of a connect() that failed */
	record = bpf_sk_storage_get(&connections, ctx->sk, 0, 0);
	if (!record || record->state == CONNECTION_NONE)
		return L7_PROCEED;
	number = record->service;
	service = l7_service_now(number);
	if (!service || !(service->flags & L7_SERVICE_PRESENT) || service->flags & L7_DRAINS)
		return L7_PROCEED;
	if (service->protocol == L7_OPAQUE || ctx->type != L7_SOCK_STREAM) {
		if (l7_takes_caller(service, record->frontend.port)) {
			l7_stat(number, L7_STAT_ALLOWED, 1);
			return L7_PROCEED;
		}
		l7_stat(number, L7_STAT_DENIED, 1);
		return l7_refuse(L7_EACCES);
	}
	if (l7_is_mptcp(ctx)) {
		l7_stat(number, L7_STAT_UNENROLLED, 1);
		return service->flags & L7_UNJUDGED_PASSES ? L7_PROCEED : l7_refuse(L7_EACCES);
	}
	return l7_mark_socket(ctx, number, service) ? l7_refuse(L7_ENOMEM) : L7_PROCEED;
}

/* A datagram of an unconnected socket: the connect tier has just turned it to a backend, and noted the way back. By that, and not
 * by what the socket did last: another thread may send on it at the same time. */
L7_INLINE int l7_judge_datagram(struct bpf_sock_addr *ctx, const struct endpoint *backend)
{
	const struct l7_service *service;
	struct reply_key key;
	struct reply *reply;

	reply_key(&key, bpf_get_socket_cookie(ctx), backend);
	reply = bpf_map_lookup_elem(&replies, &key);
	if (!reply)
		return L7_PROCEED;
	service = l7_service_now(reply->service);
	if (!service || !(service->flags & L7_SERVICE_PRESENT) || l7_takes_caller(service, reply->frontend.port))
		return L7_PROCEED;
	l7_stat(reply->service, L7_STAT_DENIED, 1);
	return l7_refuse(L7_EACCES);
}

#endif
