/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Headers of ours into the heads of a piece: all of it is built anew in the room, and takes the message's place. One page, and one
 * copy, however many heads: each bpf_msg_push_data() would be a page, and a piece of the message that the transport is slow with. */
#ifndef EBPFMESH_HTTP2_TIER_INSERT_H
#define EBPFMESH_HTTP2_TIER_INSERT_H

#include "message.h"
#include "trace.h"

#define H2_BUILT 6144 /* bytes up to which a piece may grow, while more is copied to it */
#define H2_INSERT_BROKE (-(1 << 20))
#define H2_SEGMENT 4160 /* … at a time: both fit where bytes are held */

_Static_assert(H2_HELD_AT + H2_BUILT + H2_SEGMENT <= H2_ROOM + 64, "a piece that is built exceeds its room");

/* Where the copy is. A pointer at once: 6.1 forgets the bound of a number that has to wait on the stack. */
L7_INLINE __u8 *h2_built(struct h2_connection *c)
{
	__u32 out = c->copy_at;
	__u8 *to;

	barrier_var(out);
	if (out > H2_BUILT)
		return 0;
	to = c->room + H2_HELD_AT + out;
	barrier_var(to);
	return to;
}

/* The message's bytes from where the copy is, up to an end. */
L7_INLINE int h2_build_segment(struct sk_msg_md *msg, struct h2_connection *c, __u32 end)
{
	__u8 *to = h2_built(c), *data = msg->data;
	__u32 from = c->copy_place, length;

	if (!to || end < from || (__u64)((__u8 *)msg->data_end - data) < end)
		return -1;
	barrier_var(from);
	if (from > 0x7fff)
		return -1;
	data += from;
	barrier_var(data);
	L7_FORGET(); /* and the length last, as close to its use as that */
	length = end - c->copy_place;
	barrier_var(length);
	if (length > H2_SEGMENT)
		return -1;
	if (bpf_probe_read_kernel(to, length, data))
		return -1;
	c->copy_place = end;
	c->copy_at += length;
	return 0;
}

/* A literal that is never indexed: 0x10, 11, "traceparent", 55, the value; the line has name and value where they belong. */
L7_INLINE int h2_build_trace(struct h2_connection *c, const struct h2_head *head)
{
	__u8 *to = h2_built(c);

	if (!to)
		return -1;
#pragma unroll
	for (__u32 word = 8; word < 72; word += 8)
		l7_store64(to + 1 + word, l7_load64(head->line + word));
	l7_store64(to, 0x7065636172740b10ull);	   /* …, "tracep" */
	l7_store64(to + 6, 0x37746e6572617065ull); /* "eparent", 55 */
	c->copy_at += H2_TRACE_BLOCK;
	return 0;
}

/* The service's own headers. */
L7_INLINE int h2_build_own(struct h2_connection *c, __u32 number)
{
	struct l7_insert *insert = l7_element(&l7_inserts, number);
	__u8 *to = h2_built(c);
	__u32 length, at;

	if (!insert || !to)
		return -1;
	length = insert->block;
	at = insert->length;
	barrier_var(length);
	barrier_var(at);
	if (at > L7_INSERT_TEXT || length > L7_INSERT_TEXT - at)
		return -1;
	barrier_var(length);
	if (length > L7_INSERT_TEXT)
		return -1;
	bpf_probe_read_kernel(to, length, insert->text + at);
	c->copy_at += length;
	return 0;
}

/* The next head of the piece, and what precedes it. held bytes are in front of the piece by now. */
L7_GLOBAL int h2_build_head(struct sk_msg_md *msg, struct h2_connection *c, __u32 number, __u32 held)
{
	const struct h2_head *head;
	__u32 at, frame, end, length;

	if (!c)
		return -1;
	head = &c->heads[L7_INDEX(number, H2_HEADS)];
	at = head->at ? head->at + held : 0; /* what was held is the beginning of the first frame */
	end = head->end + held;
	frame = c->copy_at + at - c->copy_place;
	length = end - at - 9 + head->bytes - head->cut;
	if (head->cut) {
		if (h2_build_segment(msg, c, at + head->cut_at))
			return -1;
		c->copy_place += head->cut;
	}
	if (h2_build_segment(msg, c, end))
		return -1;
	barrier_var(frame);
	if (frame > H2_BUILT)
		return -1;
	c->room[H2_HELD_AT + frame] = length >> 16;
	c->room[H2_HELD_AT + frame + 1] = length >> 8;
	c->room[H2_HELD_AT + frame + 2] = length;
	if (head->traced && h2_build_trace(c, head))
		return -1;
	return head->insert ? h2_build_own(c, head->insert) : 0;
}

/* The heads of the piece, and what follows them if it is not long. Returns how many of the message's bytes that stands for; 0 if
 * it cannot be. */
L7_GLOBAL __u32 h2_build(struct sk_msg_md *msg, struct h2_connection *c, __u32 held)
{
	__u32 span, end;

	if (!c)
		return 0;
	end = c->piece + held;
	span = c->heads[L7_INDEX(c->inserted - 1, H2_HEADS)].end + held;
	if (end - span <= L7_WINDOW)
		span = end;
	if (bpf_msg_pull_data(msg, 0, span, 0)) /* from 0 on: a window may have been filled from elsewhere */
		return 0;
	c->copy_place = c->copy_at = 0;
	for (__u32 i = 0; i < H2_HEADS; i++) {
		if (i >= c->inserted)
			break;
		if (h2_build_head(msg, c, i, held))
			return 0;
	}
	h2_build_segment(msg, c, span); /* or it stays where it is */
	return c->copy_place;
}

/* Gives the heads of the piece their headers; held bytes precede it by now. Returns by how much it grew (less than 0 where more
 * was taken out), or H2_INSERT_BROKE: the message is broken. Where they found no room, none are inserted. */
L7_GLOBAL int h2_insert(struct sk_msg_md *msg, struct h2_connection *c, __u32 held)
{
	__u32 span, built;

	if (!c)
		return 0;
	span = h2_build(msg, c, held);
	built = c->copy_at;
	if (!span || bpf_msg_push_data(msg, 0, built, 0)) {
		c->inserted = 0;
		return 0;
	}
	if (h2_write(msg, c, H2_HELD_AT, built) || bpf_msg_pop_data(msg, built, span, 0))
		return H2_INSERT_BROKE;
	return built - span;
}

#endif
