/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Runs any core in the kernel, where it can be fed by hand, and on real sockets. A file of two lines
 *
 *	#include "mycore.h"
 *	L7_HARNESS(mycore, struct l7_no_tables)
 *
 * makes an object with the programs mycore_tc, mycore_sk_msg and mycore_sk_skb, so that the core is verified in each type.
 * mycore_tc reads pieces of a stream from a map and writes down what the core tells; it is run by BPF_PROG_TEST_RUN and
 * attached to nothing. The other two (harness_sockets.h) parse what enrolled sockets send and receive, and pass it.
 *
 * The second argument is the type of the protocol's tables, struct l7_no_tables if it has none. Minimum kernel: 5.17. */
#ifndef EBPFMESH_HARNESS_H
#define EBPFMESH_HARNESS_H

#include "tell.h"

#define L7_INPUT (256 << 10) /* bytes that one run can be given */
#define L7_OUTPUT (1 << 20)  /* bytes of events that it can tell */
#define L7_CHUNKS (32 << 10) /* pieces that its input can have */
#define L7_STEPS (1 << 20)   /* that it makes at most: calls of the core, and pieces without one */
#define L7_LINKS 16	     /* connections: the one that is fed by hand, and those of enrolled sockets */

enum l7_chunk_kind {
	L7_BYTES = 0, /* the next length bytes of the input; a window never holds bytes of two pieces */
	L7_LOST = 1,  /* length bytes of the stream were not seen */
	L7_ENDS = 2,  /* the stream ends */
};

struct l7_chunk {
	__u64 length;
	__u8 kind;
	__u8 direction;
	__u8 reserved[6];
};

enum l7_run_flag {
	L7_QUIET = 1,	     /* nothing is told */
	L7_AGAIN = 2,	     /* each run begins at the first piece: for runs that are repeated, to be timed */
	L7_FROM_SAVED = 4,   /* with L7_AGAIN: state and flows are those of the saved link */
	L7_SAVED_TABLES = 8, /* with L7_AGAIN: and so are the tables */
};

/* What a run is to do, and how far it came. Where it stopped before it was done, a further run goes on. */
struct l7_run {
	__u32 flags;
	__u32 chunks;
	__u32 limit;   /* bytes of output, at most L7_OUTPUT: no call is made where it may not hold its event */
	__u32 chunk;   /* the piece it is at */
	__u64 taken;   /* bytes of this piece */
	__u32 input;   /* bytes of the input */
	__u32 written; /* bytes of output */
	__u32 calls;   /* of the core */
	__u16 full;    /* it stopped for want of room */
	__u16 done;    /* nothing is left of the input */
	struct l7_call call;
};

/* One connection, except for its tables and the window. */
struct l7_link {
	struct l7_state state;
	struct l7_flow flows[2];
	struct l7_record records[2];
};

struct l7_input {
	__u8 bytes[L7_INPUT + L7_WINDOW];
};

struct l7_output {
	__u8 bytes[L7_OUTPUT + L7_EVENT_ROOM];
};

struct l7_chunks {
	struct l7_chunk at[L7_CHUNKS];
};

#define L7_ARRAY(name, elements, value_type)                                                                           \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                      \
		__uint(map_flags, BPF_F_MMAPABLE);                                                                     \
		__uint(max_entries, elements);                                                                         \
		__type(key, __u32);                                                                                    \
		__type(value, value_type);                                                                             \
	} name SEC(".maps")

L7_ARRAY(l7_run, 1, struct l7_run);
L7_ARRAY(l7_chunks, 1, struct l7_chunks);
L7_ARRAY(l7_input, 1, struct l7_input);
L7_ARRAY(l7_output, 1, struct l7_output);
L7_ARRAY(l7_configs, L7_LINKS, struct l7_config);
L7_ARRAY(l7_window, 1, struct l7_window);
L7_ARRAY(l7_links, L7_LINKS, struct l7_link);
L7_ARRAY(l7_saved, 1, struct l7_link);

/* Calls the core for link number link; L7_HARNESS defines it. */
L7_INLINE int l7_parse(struct l7_config *config, struct l7_window *window, struct l7_state *state, __u32 link,
		       struct l7_record *record);

/* Copies the saved tables to link 0; L7_HARNESS defines it. */
L7_INLINE void l7_restore_tables(void);

/* The element of a map that has but one. */
L7_INLINE void *l7_only(void *map)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(map, &zero);
}

/* The window begins anew: what is in front of it was lost, or is 0. */
L7_INLINE void l7_begin_window(struct l7_window *window, struct l7_flow *flow, struct l7_record *record, __u32 length,
			       __u8 direction, __u8 flags)
{
	record->size = sizeof *record;
	window->size = sizeof *window;
	window->start = 0;
	window->end = length;
	window->direction = direction;
	window->flags = flags;
	window->gap = flow->gap;
	flow->gap = 0;
}

/* A program has 512 bytes of stack, with the core and all that it calls. So nothing is kept there: everything is looked up
 * where it is used, and what is done before and after a call of the core is in functions of their own. */

enum l7_next {
	L7_NEXT_CALL = 0, /* the core is to be called */
	L7_NEXT_STEP = 1, /* not this time */
	L7_NEXT_STOP = 2,
};

L7_INLINE void l7_write(struct l7_run *run, struct l7_window *window, struct l7_record *record)
{
	struct l7_output *output = l7_only(&l7_output);

	if (output && !(run->flags & L7_QUIET))
		run->written += l7_tell((struct l7_told *)(output->bytes + L7_INDEX(run->written, L7_OUTPUT)),
					&run->call, window, record);
}

/* Opens the window for the end of a direction; 1 if the core is to be called. */
L7_INLINE int l7_feed_end(struct l7_run *run, struct l7_window *window, struct l7_flow *flow, struct l7_record *record,
			  __u8 direction)
{
	int ends = l7_end(flow, record);

	if (!ends)
		return 0;
	l7_begin_window(window, flow, record, 0, direction, L7_END_OF_STREAM);
	if (ends > 0)
		return 1;
	run->call.position = flow->position;
	run->call.start = 0;
	run->call.op = L7_ERROR;
	l7_write(run, window, record);
	return 0;
}

/* Fills the window with the next bytes of a piece, those that are to be seen; 1 if there are any. */
L7_INLINE int l7_feed_bytes(struct l7_run *run, struct l7_window *window, struct l7_flow *flow,
			    struct l7_record *record, struct l7_chunk *chunk)
{
	struct l7_input *input = l7_only(&l7_input);
	__u64 rest = chunk->length - run->taken;
	__u64 unseen = l7_unseen(flow, rest);
	__u32 length;

	rest -= unseen;
	length = rest < L7_WINDOW ? rest : L7_WINDOW;
	barrier_var(length);
	if (!input || length > L7_WINDOW)
		return 0;
	run->input += unseen;
	run->taken += unseen + length;
	if (length) {
		/* the size is masked, since verifiers up to 6.1 lose a bound over the branches of newer compilers */
		bpf_probe_read_kernel(window->data, L7_INDEX(length - 1, L7_WINDOW) + 1,
				      input->bytes + L7_INDEX(run->input, L7_INPUT));
		l7_begin_window(window, flow, record, length, chunk->direction & 1, 0);
	}
	run->input += length;
	return length > 0;
}

/* Takes the next piece, or of a long one what fits; 1 if the core is to be called. */
L7_INLINE int l7_feed(struct l7_run *run, struct l7_window *window, struct l7_link *link)
{
	struct l7_chunks *chunks = l7_only(&l7_chunks);
	struct l7_record *record;
	struct l7_chunk *chunk;
	struct l7_flow *flow;
	int called = 0;

	if (!chunks)
		return 0;
	chunk = &chunks->at[L7_INDEX(run->chunk, L7_CHUNKS)];
	flow = &link->flows[chunk->direction & 1];
	record = &link->records[chunk->direction & 1];
	if (chunk->kind == L7_BYTES)
		called = l7_feed_bytes(run, window, flow, record, chunk);
	else if (chunk->kind == L7_ENDS)
		called = l7_feed_end(run, window, flow, record, chunk->direction & 1);
	else
		l7_lost(flow, chunk->length);
	if (chunk->kind != L7_BYTES || run->taken >= chunk->length) {
		run->chunk++;
		run->taken = 0;
	}
	return called;
}

/* What is next: enum l7_next. */
L7_GLOBAL int l7_next(void)
{
	struct l7_run *run = l7_only(&l7_run);
	struct l7_window *window = l7_only(&l7_window);
	struct l7_link *link = l7_only(&l7_links);
	struct l7_flow *flow;

	if (!run || !window || !link)
		return L7_NEXT_STOP;
	if (run->written + L7_EVENT_ROOM > run->limit) {
		run->full = 1;
		return L7_NEXT_STOP;
	}
	if (window->start >= window->end) {
		if (run->chunk >= run->chunks) {
			run->done = 1;
			return L7_NEXT_STOP;
		}
		if (!l7_feed(run, window, link))
			return L7_NEXT_STEP;
	}
	flow = &link->flows[window->direction & 1];
	run->call.position = flow->position;
	run->call.start = window->start;
	return L7_NEXT_CALL;
}

/* Carries out and tells what the core answered. */
L7_GLOBAL int l7_answered(int op)
{
	struct l7_run *run = l7_only(&l7_run);
	struct l7_window *window = l7_only(&l7_window);
	struct l7_link *link = l7_only(&l7_links);
	struct l7_record *record;

	if (!run || !window || !link)
		return 1;
	record = &link->records[window->direction & 1];
	run->call.op = l7_advance(&link->flows[window->direction & 1], window, op, record);
	run->calls++;
	if (l7_is_told(run->call.op, record))
		l7_write(run, window, record);
	return 0;
}

L7_CALLBACK long l7_step(__u32 number, void *context)
{
	struct l7_window *window;
	struct l7_config *config;
	struct l7_link *link;
	int next = l7_next();

	(void)number;
	(void)context;
	if (next != L7_NEXT_CALL)
		return next == L7_NEXT_STOP;
	window = l7_only(&l7_window);
	link = l7_only(&l7_links);
	config = l7_only(&l7_configs);
	if (!window || !link || !config)
		return 1;
	return l7_answered(l7_parse(config, window, &link->state, 0, &link->records[window->direction & 1])) != 0;
}

L7_INLINE int l7_run_once(void)
{
	struct l7_run *run = l7_only(&l7_run);
	struct l7_link *link = l7_only(&l7_links), *saved = l7_only(&l7_saved);

	if (!run || !link || !saved)
		return 1;
	run->full = run->done = 0;
	if (run->flags & L7_AGAIN) {
		run->chunk = run->input = run->written = run->taken = 0;
		if (run->flags & L7_FROM_SAVED) {
			link->state = saved->state;
			link->flows[0] = saved->flows[0];
			link->flows[1] = saved->flows[1];
		}
		if (run->flags & L7_SAVED_TABLES)
			l7_restore_tables();
	}
	bpf_loop(L7_STEPS, l7_step, NULL, 0);
	return 0;
}

#define L7_HARNESS(name, tables_type)                                                                                  \
	L7_ARRAY(l7_saved_tables, 1, tables_type);                                                                     \
	L7_ARRAY(l7_tables, L7_LINKS, tables_type);                                                                    \
                                                                                                                       \
	L7_INLINE int l7_parse(struct l7_config *config, struct l7_window *window, struct l7_state *state, __u32 link, \
			       struct l7_record *record)                                                               \
	{                                                                                                              \
		tables_type *tables = bpf_map_lookup_elem(&l7_tables, &link);                                          \
                                                                                                                       \
		return tables ? name##_parse(config, window, state, tables, record) : L7_ERROR;                        \
	}                                                                                                              \
                                                                                                                       \
	L7_INLINE void l7_restore_tables(void)                                                                         \
	{                                                                                                              \
		tables_type *tables = l7_only(&l7_tables), *saved = l7_only(&l7_saved_tables);                         \
                                                                                                                       \
		if (tables && saved)                                                                                   \
			bpf_probe_read_kernel(tables, sizeof *tables, saved);                                          \
	}                                                                                                              \
                                                                                                                       \
	SEC("tc") int name##_tc(struct __sk_buff *skb)                                                                 \
	{                                                                                                              \
		(void)skb;                                                                                             \
		return l7_run_once();                                                                                  \
	}                                                                                                              \
                                                                                                                       \
	SEC("sk_msg") int name##_sk_msg(struct sk_msg_md *msg)                                                         \
	{                                                                                                              \
		l7_message_sent(msg);                                                                                  \
		return SK_PASS;                                                                                        \
	}                                                                                                              \
                                                                                                                       \
	SEC("sk_skb/stream_verdict") int name##_sk_skb(struct __sk_buff *skb)                                          \
	{                                                                                                              \
		l7_segment_received(skb);                                                                              \
		return SK_PASS;                                                                                        \
	}                                                                                                              \
                                                                                                                       \
	char LICENSE[] SEC("license") = "Dual BSD/GPL";

#include "harness_sockets.h"

#endif
