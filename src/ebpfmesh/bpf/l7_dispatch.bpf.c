/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* One entry to several parsers: a tail call to the protocol whose number is in the packet's mark. The parsers are objects of
 * their own, built in or not; a slot is all that they need. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define PROTOCOLS 64
#define NO_PROTOCOL 2 /* returned for an empty slot; a harness program returns 0 */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, PROTOCOLS);
	__type(key, __u32);
	__type(value, __u32);
} l7_protocols SEC(".maps");

SEC("tc") int l7_dispatch(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &l7_protocols, skb->mark);
	return NO_PROTOCOL;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
