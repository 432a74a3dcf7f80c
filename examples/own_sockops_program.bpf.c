// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Counts the TCP connections that the processes of a cgroup open and accept. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} connections SEC(".maps");

SEC("sockops") int count_connections(struct bpf_sock_ops *event)
{
	__u32 accepted = event->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB;
	__u64 *count = bpf_map_lookup_elem(&connections, &accepted);

	if (count && (accepted || event->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB))
		__sync_fetch_and_add(count, 1);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
