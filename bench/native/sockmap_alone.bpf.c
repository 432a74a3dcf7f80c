// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the kernel's own way through a sockmap costs: clients' sockets are put in, and both programs do nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} messages SEC(".maps");

SEC("sockops") int enrol(struct bpf_sock_ops *event)
{
	__u64 key = bpf_get_socket_cookie(event);

	if (event->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		bpf_sock_hash_update(event, &sockets, &key, BPF_ANY);
	return 1;
}

/* That they run at all is asked once, before anything is measured: a counter is part of no floor worth the name. */
static __always_inline int seen(__u32 direction)
{
	__u64 *count = bpf_map_lookup_elem(&messages, &direction);

	if (count)
		*count = 1;
	return SK_PASS;
}

SEC("sk_msg") int sent(struct sk_msg_md *message __attribute__((unused)))
{
	return seen(0);
}

SEC("sk_skb/stream_verdict") int received(struct __sk_buff *packet __attribute__((unused)))
{
	return seen(1);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
