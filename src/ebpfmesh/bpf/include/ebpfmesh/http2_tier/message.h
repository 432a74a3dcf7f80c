/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Bytes between a message that is being sent and the connection's room: copied out, copied in, compared. */
#ifndef EBPFMESH_HTTP2_TIER_MESSAGE_H
#define EBPFMESH_HTTP2_TIER_MESSAGE_H

#include "connection.h"

#define H2_COPIED 128 /* bytes a step, as long as there are as many */

struct h2_copying {
	struct sk_msg_md *msg;
	struct h2_connection *c;
};

L7_INLINE void h2_begin_copy(struct h2_connection *c, __u32 place, __u32 at, __u32 left)
{
	c->copy_place = place;
	c->copy_at = at;
	c->copy_left = left;
	c->copy_failed = 0;
	L7_FORGET();
}

L7_INLINE void h2_copied(struct h2_connection *c, __u32 n)
{
	c->copy_failed = 0;
	c->copy_place += n;
	c->copy_at += n;
	c->copy_left -= n;
}

/* So many bytes of room, from at on, can be written to a place behind msg->data, from here; NULL if not. */
L7_INLINE const __u8 *h2_write_from(struct h2_connection *c, __u32 at, const __u32 size)
{
	barrier_var(at);
	return at > H2_ROOM + 64 - size ? 0 : c->room + at;
}

/* Words are volatile: clang 14 has dropped constant stores. */
L7_INLINE int h2_write_words(struct sk_msg_md *msg, struct h2_connection *c, __u32 place, __u32 at)
{
	__u8 *data = msg->data, *end = msg->data_end;
	const __u8 *from = h2_write_from(c, at, H2_COPIED);

	barrier_var(place);
	if (place > 0x3fff || !from)
		return -1;
	data += place;
	if (data + H2_COPIED > end)
		return -1;
#pragma unroll
	for (__u32 word = 0; word < H2_COPIED; word += 8)
		*(volatile __u64 *)(data + word) = *(const volatile __u64 *)(from + word);
	return 0;
}

L7_INLINE int h2_write_word(struct sk_msg_md *msg, struct h2_connection *c, __u32 place, __u32 at)
{
	__u8 *data = msg->data, *end = msg->data_end;
	const __u8 *from = h2_write_from(c, at, 8);

	barrier_var(place);
	if (place > H2_COPIED || !from)
		return -1;
	data += place;
	if (data + 8 > end)
		return -1;
	*(volatile __u64 *)data = *(const volatile __u64 *)from;
	return 0;
}

/* Writes length bytes of room, from at on, over the message's first ones, in steps of which the last one may overlap. */
L7_GLOBAL int h2_write(struct sk_msg_md *msg, struct h2_connection *c, __u32 at, __u32 length)
{
	__u32 done, place;
	__u8 *data;

	if (!c)
		return -1;
	if (!length)
		return 0;
	if (bpf_msg_pull_data(msg, 0, length, 0))
		return -1;
	if (length >= H2_COPIED) {
		for (done = 0; done < H2_ROOM; done += H2_COPIED) {
			if (done >= length)
				break;
			place = done + H2_COPIED > length ? length - H2_COPIED : done;
			if (h2_write_words(msg, c, place, at + place))
				return -1;
		}
		return 0;
	}
	for (done = 0; done + 8 <= H2_COPIED; done += 8) {
		if (done + 8 > length)
			break;
		if (h2_write_word(msg, c, done, at + done))
			return -1;
	}
	if (length >= 8)
		return h2_write_word(msg, c, length - 8, at + length - 8);
	data = msg->data;
	barrier_var(at);
	if (at > H2_ROOM)
		return -1;
	for (done = 0; done < 8; done++) {
		if (done >= length)
			break;
		if ((void *)(data + done + 1) > msg->data_end)
			return -1;
		*(volatile __u8 *)(data + done) = c->room[at + done];
	}
	return 0;
}

/* Copies the message's first length bytes to room, from at on. */
L7_GLOBAL int h2_read(struct sk_msg_md *msg, struct h2_connection *c, __u32 at, __u32 length)
{
	void *data, *end;

	if (!c)
		return -1;
	if (!length)
		return 0;
	/* from 0 on: a window may have been filled from elsewhere, and what is visible begins there */
	if (bpf_msg_pull_data(msg, 0, length, 0))
		return -1;
	data = msg->data;
	end = msg->data_end;
	barrier_var(length);
	if (length > H2_HELD || (__u64)(end - data) < length)
		return -1;
	barrier_var(at);
	if (at > H2_HELD || at + length > H2_HELD)
		return -1;
	barrier_var(at);
	if (at > H2_OUT) {
		/* the verifier adds the bounds of both: a place beyond those 2 KiB is only for short ones */
		if (at > H2_HELD || length > H2_OUT)
			return -1;
		return bpf_probe_read_kernel(c->room + H2_HELD_AT + at, length, data);
	}
	return bpf_probe_read_kernel(c->room + H2_HELD_AT + at, length, data);
}

L7_CALLBACK long h2_compare_step(__u32 i, void *context)
{
	struct h2_copying *copying = context;
	struct h2_connection *c = copying->c;
	__u8 *data = copying->msg->data, *end = copying->msg->data_end;
	__u32 place = c->copy_place, at = c->copy_at, left = c->copy_left;
	__u32 n = left >= 8 ? 8 : 1;

	(void)i;
	if (!left)
		return 1;
	barrier_var(place);
	barrier_var(at);
	c->copy_failed = 1;
	if (place > 0x7fff || at > H2_HELD)
		return 1;
	data += place;
	if (n == 8) {
		if (data + 8 > end)
			return 1;
		if (*(__u64 *)data != *(__u64 *)(c->room + H2_HELD_AT + at))
			return 1;
	} else {
		if (data + 1 > end)
			return 1;
		if (*data != c->room[H2_HELD_AT + at])
			return 1;
	}
	h2_copied(c, n);
	return 0;
}

/* Whether the message's first length bytes are those of room, from at on. */
L7_GLOBAL int h2_is_same(struct sk_msg_md *msg, struct h2_connection *c, __u32 at, __u32 length)
{
	struct h2_copying copying = { .msg = msg, .c = c };

	if (!c)
		return 0;
	if (!length)
		return 1;
	if (bpf_msg_pull_data(msg, 0, length, 0))
		return 0;
	h2_begin_copy(c, 0, at, length);
	bpf_loop(H2_HELD, h2_compare_step, &copying, 0);
	return !c->copy_failed && !c->copy_left;
}

#endif
