/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Text of ours into a message that is being sent. */
#ifndef EBPFMESH_REPLY_WRITE_H
#define EBPFMESH_REPLY_WRITE_H

#include "reply.h"

#define L7_INSERT_FAILED 0xffffffffu

/* Copies length bytes of text, at least 8 and at most `most`, to a place behind msg->data. Unrolled, and the stores volatile:
 * clang 14 has dropped constant stores here. What is left of less than eight bytes goes with those before it. */
L7_INLINE int l7_write_text(struct sk_msg_md *msg, __u32 place, const __u8 *text, __u32 length, const __u32 most)
{
	__u8 *data = msg->data, *end = msg->data_end;
	__u32 last;

	barrier_var(length);
	if (length < 8 || length > most)
		return -1;
	barrier_var(place);
	if (place > L7_WINDOW)
		return -1;
	data += place;
#pragma unroll
	for (__u32 i = 0; i < L7_REPLY_TEXT / 8; i++) {
		if (i * 8 + 8 > most || i * 8 + 8 > length)
			break;
		if (data + i * 8 + 8 > end)
			return -1;
		*(volatile __u64 *)(data + i * 8) = *(const volatile __u64 *)(text + i * 8);
	}
	last = length - 8;
	barrier_var(last);
	if (last > most - 8)
		return -1;
	data += last;
	if (data + 8 > end)
		return -1;
	*(volatile __u64 *)data = *(const volatile __u64 *)(text + last);
	return 0;
}

#endif
