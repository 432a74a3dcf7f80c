/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The harness on real sockets: parses what enrolled sockets send (requests, by sk_msg) and receive (responses, by sk_skb),
 * tells it through a ring, and passes every byte. Part of harness.h.
 *
 * One connection's state is not shared at the same time: sk_msg runs with the socket locked, and a segment that arrives
 * meanwhile waits in the socket's backlog. Its window is per CPU and is: see scratch.h. */
#ifndef EBPFMESH_HARNESS_SOCKETS_H
#define EBPFMESH_HARNESS_SOCKETS_H

#include "scratch.h"

#define L7_RING (1 << 20)

/* Which link a socket is. Both programs find these in their contexts. */
struct l7_ports {
	__u32 local;  /* in the machine's byte order */
	__u32 remote; /* in the network's */
};

enum l7_counter {
	L7_RUNS_MSG = 0,
	L7_RUNS_SKB = 1,
	L7_EMPTY_AT_FIRST = 2, /* messages of which nothing was visible before the pull */
	L7_PART_AT_FIRST = 3,  /* messages of which a part was: those of several elements */
	L7_PULLED = 4,	       /* windows that were to be filled from a message */
	L7_NOT_FILLED = 5,     /* windows that could not be: their bytes count as lost */
	L7_NO_SCRATCH = 6,     /* messages that found every scratch taken: lost in the same way */
	L7_RING_FULL = 7,      /* events that were not told */
	L7_STRANGERS = 8,      /* messages of sockets that are no link */
	L7_COUNTERS = 9,
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, L7_LINKS);
	__type(key, __u32);
	__type(value, __u64);
} l7_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, L7_LINKS);
	__type(key, struct l7_ports);
	__type(value, __u32);
} l7_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, L7_RING);
} l7_events SEC(".maps");

L7_ARRAY(l7_counters, L7_COUNTERS, __u64);
L7_SCRATCH(l7_scratch_msg)
L7_SCRATCH(l7_scratch_skb)

L7_INLINE void l7_count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&l7_counters, &counter);

	if (value)
		__sync_fetch_and_add(value, 1);
}

/* What a step is given: the rest of what is known of a message is in the scratch. */
struct l7_passing {
	void *context; /* struct sk_msg_md or __sk_buff */
	struct l7_scratch *scratch;
};

/* The next bytes of a message: only its first element is visible, and of one that sendfile(), splice() or MSG_ZEROCOPY gave
 * not even that; a pull makes the range asked for one piece. More than a page at a time would ask for a large allocation. */
L7_INLINE int l7_fill_msg(struct sk_msg_md *msg, __u8 *to, __u32 at, __u32 length)
{
	void *data, *end;

	if (bpf_msg_pull_data(msg, at, at + length, 0))
		return -1;
	data = msg->data;
	end = msg->data_end;
	/* a read behind the end would succeed, and show other memory */
	barrier_var(length); /* as in tell.h */
	if ((__u64)(end - data) < length || length > L7_WINDOW)
		return -1;
	return bpf_probe_read_kernel(to, length, data);
}

L7_INLINE int l7_fill(void *context, struct l7_scratch *scratch, int sent, __u32 length)
{
	__u32 before_last = length - 1;

	/* 1 to 4096, said so that a verifier sees it that learns nothing from "not 0" (6.1) */
	barrier_var(before_last);
	if (before_last >= L7_WINDOW)
		return -1;
	length = before_last + 1;
	if (!sent)
		return bpf_skb_load_bytes(context, scratch->at, scratch->window.data, length);
	l7_count(L7_PULLED);
	return l7_fill_msg(context, scratch->window.data, scratch->at, length);
}

/* Shows the core the next window of the message, if all of the one before was parsed. */
L7_INLINE int l7_show(void *context, struct l7_scratch *scratch, int sent)
{
	__u32 number = scratch->link; /* a key is on the stack, or in a map: 6.1 refuses an argument's memory */
	struct l7_link *link = bpf_map_lookup_elem(&l7_links, &number);
	__u8 direction = sent ? L7_REQUEST : L7_RESPONSE;
	struct l7_flow *flow;
	__u32 length;

	if (!link)
		return L7_NEXT_STOP;
	flow = &link->flows[direction];
	if (scratch->window.start >= scratch->window.end) {
		scratch->at += l7_unseen(flow, scratch->size - scratch->at);
		if (scratch->at >= scratch->size)
			return L7_NEXT_STOP;
		length = scratch->size - scratch->at;
		if (length > L7_WINDOW)
			length = L7_WINDOW;
		if (l7_fill(context, scratch, sent, length)) {
			l7_count(L7_NOT_FILLED);
			l7_lost(flow, length);
			scratch->at += length;
			return L7_NEXT_STEP;
		}
		scratch->at += length;
		l7_begin_window(&scratch->window, flow, &link->records[direction], length, direction, 0);
	}
	scratch->call.position = flow->position;
	scratch->call.start = scratch->window.start;
	return L7_NEXT_CALL;
}

L7_GLOBAL int l7_next_sent(struct sk_msg_md *msg, struct l7_scratch *scratch)
{
	return scratch ? l7_show(msg, scratch, 1) : L7_NEXT_STOP;
}

L7_GLOBAL int l7_next_received(struct __sk_buff *skb, struct l7_scratch *scratch)
{
	return scratch ? l7_show(skb, scratch, 0) : L7_NEXT_STOP;
}

/* Carries out and tells what the core answered to the scratch's window. */
L7_GLOBAL int l7_passed(struct l7_scratch *scratch, int op)
{
	struct l7_record *record;
	struct l7_link *link;
	__u32 size, number;

	if (!scratch)
		return 1;
	number = scratch->link;
	link = bpf_map_lookup_elem(&l7_links, &number);
	if (!link)
		return 1;
	record = &link->records[scratch->window.direction & 1];
	scratch->call.op = l7_advance(&link->flows[scratch->window.direction & 1], &scratch->window, op, record);
	if (!l7_is_told(scratch->call.op, record))
		return 0;
	scratch->head = scratch->link;
	size = sizeof scratch->head + l7_tell(&scratch->told, &scratch->call, &scratch->window, record);
	barrier_var(size);
	if (size > sizeof scratch->head + sizeof scratch->told)
		return 1;
	if (bpf_ringbuf_output(&l7_events, &scratch->head, size, 0))
		l7_count(L7_RING_FULL);
	return 0;
}

/* Calls the core for the scratch's window. */
L7_INLINE long l7_pass_step(struct l7_scratch *scratch, int next)
{
	struct l7_config *config;
	struct l7_link *link;

	if (next != L7_NEXT_CALL)
		return next == L7_NEXT_STOP;
	link = bpf_map_lookup_elem(&l7_links, &scratch->link);
	config = bpf_map_lookup_elem(&l7_configs, &scratch->link);
	if (!link || !config)
		return 1;
	return l7_passed(scratch, l7_parse(config, &scratch->window, &link->state, scratch->link,
					   &link->records[scratch->window.direction & 1])) != 0;
}

L7_CALLBACK long l7_sent_step(__u32 number, void *context)
{
	struct l7_passing *passing = context;

	(void)number;
	return l7_pass_step(passing->scratch, l7_next_sent(passing->context, passing->scratch));
}

L7_CALLBACK long l7_received_step(__u32 number, void *context)
{
	struct l7_passing *passing = context;

	(void)number;
	return l7_pass_step(passing->scratch, l7_next_received(passing->context, passing->scratch));
}

/* The scratch for a message of size bytes, if its socket is a link; else NULL. */
L7_INLINE struct l7_scratch *l7_prepare(__u32 local, __u32 remote, __u32 size, int sent)
{
	struct l7_ports ports = { .local = local, .remote = remote };
	__u32 *number = bpf_map_lookup_elem(&l7_ports, &ports);
	struct l7_scratch *scratch;
	struct l7_link *link;

	if (!number) {
		l7_count(L7_STRANGERS);
		return NULL;
	}
	scratch = sent ? l7_scratch_msg_take() : l7_scratch_skb_take();
	if (scratch) {
		scratch->link = *number;
		scratch->at = 0;
		scratch->size = size;
		scratch->window.start = scratch->window.end = 0;
		return scratch;
	}
	l7_count(L7_NO_SCRATCH);
	link = bpf_map_lookup_elem(&l7_links, number);
	if (link)
		l7_lost(&link->flows[sent ? L7_REQUEST : L7_RESPONSE], size);
	return NULL;
}

L7_INLINE void l7_message_sent(struct sk_msg_md *msg)
{
	struct l7_passing passing = { .context = msg };

	l7_count(L7_RUNS_MSG);
	if (msg->data == msg->data_end)
		l7_count(L7_EMPTY_AT_FIRST);
	else if ((__u64)(msg->data_end - msg->data) < msg->size)
		l7_count(L7_PART_AT_FIRST);
	passing.scratch = l7_prepare(msg->local_port, msg->remote_port, msg->size, 1);
	if (!passing.scratch)
		return;
	bpf_loop(L7_STEPS, l7_sent_step, &passing, 0);
	l7_give(passing.scratch);
}

L7_INLINE void l7_segment_received(struct __sk_buff *skb)
{
	struct l7_passing passing = { .context = skb };

	l7_count(L7_RUNS_SKB);
	passing.scratch = l7_prepare(skb->local_port, skb->remote_port, skb->len, 0);
	if (!passing.scratch)
		return;
	bpf_loop(L7_STEPS, l7_received_step, &passing, 0);
	l7_give(passing.scratch);
}

#endif
