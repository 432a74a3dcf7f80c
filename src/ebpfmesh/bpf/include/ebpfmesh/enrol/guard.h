/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The guard: no payload byte of a marked socket leaves before sk_msg has judged it. What was sent while the socket was still
 * connecting, in the SYN, or by a way past sk_msg, is dropped here or passes, as the service's policy says. */
#ifndef EBPFMESH_ENROL_GUARD_H
#define EBPFMESH_ENROL_GUARD_H

#include "../measure/measure.h"
#include "connection.h"

#include <bpf/bpf_endian.h>

#define L7_GUARD_PASSES 1
#define L7_GUARD_DROPS 0
#define L7_IPV6_TCP 6
#define L7_TCP_HEADER 20

/* Bytes before the TCP header, 0 if there is none where it is expected: a marked socket has no other packets. */
L7_INLINE __u32 l7_guard_ip_header(struct __sk_buff *skb)
{
	__u8 first, protocol;

	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return 0;
	if (first >> 4 == 4)
		return bpf_skb_load_bytes(skb, 9, &protocol, 1) || protocol != L7_IPV6_TCP ? 0 : (first & 15) * 4;
	if (bpf_skb_load_bytes(skb, 6, &protocol, 1) || protocol != L7_IPV6_TCP)
		return 0; /* extension headers: the application asked for them, and they could hide a payload */
	return 40;
}

/* Whether all that the socket has queued was judged: then nothing need be known of the packet. */
L7_INLINE int l7_all_judged(struct bpf_sock *socket, const struct l7_mark *mark)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(socket);

	return mark->allowed == L7_TO_THE_END ||
	       (tcp && mark->base && (__s32)(tcp->write_seq - mark->base - (__u32)mark->allowed) <= 0);
}

/* Whether the packet's payload, if it has one, was. */
L7_INLINE int l7_is_judged(struct __sk_buff *skb, const struct l7_mark *mark)
{
	__u32 at = l7_guard_ip_header(skb), sequence, payload;
	__u8 offset;

	if (!at || bpf_skb_load_bytes(skb, at + 4, &sequence, 4) || bpf_skb_load_bytes(skb, at + 12, &offset, 1))
		return 0;
	at += (offset >> 4) * 4;
	if (at >= skb->len)
		return 1;
	payload = skb->len - at;
	if (mark->state == L7_MARKED)
		return 0;
	/* of the stream, behind the packet's last byte; the numbers wrap, the difference is below 2^31 */
	return (__s32)(bpf_ntohl(sequence) + payload - mark->base - (__u32)mark->allowed) <= 0;
}

#endif
