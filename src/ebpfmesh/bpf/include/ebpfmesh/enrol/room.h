/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Room for one message while a program judges it: a window, a record, a decision. As scratch.h says of the harness's: per CPU,
 * one map for each type of program, an element taken by an atomic exchange, since tasks and soft interrupts come in between. */
#ifndef EBPFMESH_ENROL_ROOM_H
#define EBPFMESH_ENROL_ROOM_H

#include "../authorise/decision.h"
#include "../tell.h"
#include "connection.h"

#define L7_ROOM_DEPTH 4

/* What the walk over a message came to. */
enum l7_found {
	L7_FOUND_NOTHING = 0, /* not yet */
	L7_FOUND_END = 1,     /* of the message: all of it goes on */
	L7_FOUND_REQUEST = 2, /* the head of a request ends in it */
	L7_FOUND_ERROR = 3,   /* it cannot be followed */
};

struct l7_room {
	__u64 taken;
	__u64 cookie;
	__u32 size;   /* of the message */
	__u32 at;     /* bytes of it that were shown, or went unseen */
	__u32 base;   /* of the window in the message */
	__u32 head;   /* where the head at hand ends in the message */
	__u32 end;    /* as far as this run goes: where its payload ends, as far as it is here */
	__u32 found;  /* enum l7_found */
	__u32 parsed; /* something was: payload says behind which byte of the message all is payload */
	__u32 payload;
	__u32 tight;   /* pushing this message may stop half-way: one structure a run */
	__u32 granted; /* bytes of it whose push cannot fail */
	struct l7_call call;
	__u8 line[72]; /* a header line that is inserted */
	struct l7_decision decision;
	struct l7_window window;
	struct l7_record record;
};

#define L7_ROOM(name)                                                                                                  \
	L7_CLASSIC_MAP(name, BPF_MAP_TYPE_PERCPU_ARRAY, L7_ROOM_DEPTH, __u32, struct l7_room, 0);                      \
                                                                                                                       \
	L7_GLOBAL int name##_search(void)                                                                              \
	{                                                                                                              \
		for (__u32 i = 1; i < L7_ROOM_DEPTH; i++) {                                                            \
			__u32 index = i;                                                                               \
			struct l7_room *room = bpf_map_lookup_elem(&name, &index);                                     \
                                                                                                                       \
			if (room && !__sync_lock_test_and_set(&room->taken, 1))                                        \
				return i;                                                                              \
		}                                                                                                      \
		return L7_ROOM_DEPTH;                                                                                  \
	}                                                                                                              \
                                                                                                                       \
	L7_INLINE struct l7_room *name##_take(void)                                                                    \
	{                                                                                                              \
		__u32 index = 0;                                                                                       \
		struct l7_room *room = bpf_map_lookup_elem(&name, &index);                                             \
                                                                                                                       \
		if (room && !__sync_lock_test_and_set(&room->taken, 1))                                                \
			return room;                                                                                   \
		index = name##_search();                                                                               \
		return bpf_map_lookup_elem(&name, &index);                                                             \
	}

L7_INLINE void l7_leave(struct l7_room *room)
{
	*(volatile __u64 *)&room->taken = 0;
}

/* Fills the window with the next length bytes (1 to 4096) of a message; -1 if they cannot be seen. Only a message's first
 * element is visible, and of one that sendfile(), splice() or MSG_ZEROCOPY gave not even that: a pull makes one piece. */
L7_INLINE int l7_fill_sent(struct sk_msg_md *msg, struct l7_room *room, __u32 length)
{
	__u32 before_last = length - 1, at = room->at;
	void *data = msg->data, *end = msg->data_end;

	barrier_var(before_last); /* verifiers up to 6.1 learn nothing from "not 0" */
	if (before_last >= L7_WINDOW)
		return -1;
	length = before_last + 1;
	if (at || (__u64)(end - data) < length) {
		if (bpf_msg_pull_data(msg, at, at + length, 0))
			return -1;
		data = msg->data;
		end = msg->data_end;
	}
	/* a read behind the end would succeed, and show other memory */
	if ((__u64)(end - data) < length)
		return -1;
	return bpf_probe_read_kernel(room->window.data, length, data);
}

L7_INLINE int l7_fill_received(struct __sk_buff *skb, struct l7_room *room, __u32 length)
{
	__u32 before_last = length - 1;

	barrier_var(before_last);
	if (before_last >= L7_WINDOW)
		return -1;
	return bpf_skb_load_bytes(skb, room->at, room->window.data, before_last + 1);
}

L7_INLINE void l7_open_window(struct l7_room *room, struct l7_flow *flow, __u32 length, __u8 direction)
{
	struct l7_window *window = &room->window;

	room->record.size = sizeof room->record;
	room->base = room->at;
	room->at += length;
	window->size = sizeof *window;
	window->start = 0;
	window->end = length;
	window->direction = direction;
	window->flags = 0;
	window->gap = flow->gap;
	flow->gap = 0;
}

/* A head of which a part was shown waits in l7_parts for the rest. */
L7_INLINE int l7_keep_part(struct l7_room *room, __u64 direction)
{
	struct l7_part_key key = { .cookie = room->cookie, .direction = direction };

	return bpf_map_update_elem(&l7_parts, &key, &room->record, BPF_ANY);
}

L7_INLINE int l7_fetch_part(struct l7_room *room, __u64 direction)
{
	struct l7_part_key key = { .cookie = room->cookie, .direction = direction };
	struct l7_record *part = bpf_map_lookup_elem(&l7_parts, &key);

	if (!part)
		return -1;
	bpf_probe_read_kernel(&room->record, sizeof room->record, part);
	bpf_map_delete_elem(&l7_parts, &key);
	return 0;
}

#endif
