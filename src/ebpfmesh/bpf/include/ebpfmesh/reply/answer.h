/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A local reply: the first bytes of a message that is being sent become the reply, and are redirected to the sender's own
 * receive queue. Needs the copied_seq fix (b40cc5a); the behaviour probes try it at start. */
#ifndef EBPFMESH_REPLY_ANSWER_H
#define EBPFMESH_REPLY_ANSWER_H

#include "../enrol/connection.h"
#include "reply.h"
#include "write.h"

/* The seconds after which a client may try again, at least 1: digits from the right, over what stands there. */
L7_INLINE int l7_write_retry(struct sk_msg_md *msg, __u32 place, __u64 nanoseconds)
{
	__u8 *data = msg->data, *end = msg->data_end;
	__u64 seconds = (nanoseconds + 999999999) / 1000000000;

	if (!seconds)
		seconds = 1;
	barrier_var(place);
	if (place > L7_REPLY_TEXT - L7_RETRY_DIGITS)
		return -1;
	data += place;
	if (data + L7_RETRY_DIGITS > end)
		return -1;
#pragma unroll
	for (int i = 1; i <= L7_RETRY_DIGITS; i++) {
		if (seconds)
			*(volatile __u8 *)(data + L7_RETRY_DIGITS - i) = '0' + seconds % 10;
		seconds /= 10;
	}
	return 0;
}

/* Replaces the first old bytes of the message by reply number `number` (element of l7_replies; only its head if asked) and lets
 * the program return what redirects them. SK_DROP if it cannot be done: the message may be changed by then. */
L7_GLOBAL int l7_answer(struct sk_msg_md *msg, __u64 cookie, __u32 old, __u32 number_and_head, __u64 retry_after)
{
	struct l7_reply *reply = l7_element(&l7_replies, number_and_head >> 1);
	__u32 length;

	if (!reply)
		return SK_DROP;
	length = number_and_head & 1 ? reply->head : reply->length;
	/* room for the reply is put in front, in one piece, and the old bytes go when it is written */
	if (length < 8 || length > L7_REPLY_TEXT || bpf_msg_push_data(msg, 0, length, 0))
		return SK_DROP;
	if (l7_write_text(msg, 0, reply->text, length, L7_REPLY_TEXT))
		return SK_DROP;
	if (reply->retry && l7_write_retry(msg, reply->retry, retry_after))
		return SK_DROP;
	if (bpf_msg_pop_data(msg, length, old, 0))
		return SK_DROP;
	bpf_msg_apply_bytes(msg, length);
	return bpf_msg_redirect_hash(msg, &l7_sockets, &cookie, BPF_F_INGRESS);
}

#endif
