// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
// Sees every IPv4 connect() of a cgroup: counts by destination in a hash, and sends one record each to a ring buffer.
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct destination {
	__u8 address[4];
	__u16 port;
	__u16 pad;
};
struct connect {
	struct destination to;
	__u64 cookie;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct destination);
	__type(value, __u64);
} counts SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} connects SEC(".maps");
__u64 lost; // records that found the ring full: only the program can know

SEC("cgroup/connect4")
int on_connect(struct bpf_sock_addr *ctx)
{
	struct connect record = { .cookie = bpf_get_socket_cookie(ctx) };
	__u64 one = 1, *count;
	__u32 address = ctx->user_ip4;

	__builtin_memcpy(record.to.address, &address, 4);
	record.to.port = bpf_ntohs((__u16)ctx->user_port);
	count = bpf_map_lookup_elem(&counts, &record.to);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&counts, &record.to, &one, BPF_ANY);
	if (bpf_ringbuf_output(&connects, &record, sizeof(record), 0))
		__sync_fetch_and_add(&lost, 1);
	return 1;
}

SEC("license") const char licence[] = "Dual BSD/GPL";
