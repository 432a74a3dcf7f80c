/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A window and room for an event, for as long as one program runs: too large for a stack, so they are per CPU.
 *
 * A per-CPU value is not a program's own. sk_msg runs in the context of the sender and can be preempted by another task that
 * sends; a soft interrupt that brings data for sk_skb or tc can come in between at any time; and what is preempted first need
 * not end last. So:
 *  - each type of program has a map of its own: L7_SCRATCH(name);
 *  - an element of it is taken by an atomic exchange and given back by a store. A counter of how deep one is nested would
 *    do for interrupts, which end in reverse order, and fail for tasks;
 *  - where all L7_SCRATCH_DEPTH are taken, l7_take() says so (NULL), and the program treats the bytes as lost: the core then
 *    escalates, and nothing is guessed;
 *  - it is given back before a tail call, and on every path: a program that ends without it loses the element for ever.
 * A program stays on its CPU while it runs, preempted or not (migrate_disable), so it gives back what it took. */
#ifndef EBPFMESH_SCRATCH_H
#define EBPFMESH_SCRATCH_H

#include "tell.h"

#define L7_SCRATCH_DEPTH 4

struct l7_scratch {
	__u64 taken;
	struct l7_window window;
	/* of the message that is parsed, by whom it is: here, since a program has little stack */
	__u32 link;
	__u32 at;
	__u32 size;
	__u32 reserved;
	struct l7_call call;
	__u64 head; /* for a word that is sent before the event */
	struct l7_told told;
};

/* Defines the map, and name_take(): a pointer to an element, or NULL. The search is a global function, so that the program
 * goes on in one way. Minimum kernel: 5.12 (atomic exchange, commit 5ffa25502b5a). */
#define L7_SCRATCH(name)                                                                                               \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                               \
		__uint(max_entries, L7_SCRATCH_DEPTH);                                                                 \
		__type(key, __u32);                                                                                    \
		__type(value, struct l7_scratch);                                                                      \
	} name SEC(".maps");                                                                                           \
                                                                                                                       \
	L7_GLOBAL int name##_search(void)                                                                              \
	{                                                                                                              \
		for (__u32 i = 0; i < L7_SCRATCH_DEPTH; i++) {                                                         \
			__u32 index = i;                                                                               \
			struct l7_scratch *scratch = bpf_map_lookup_elem(&name, &index);                               \
                                                                                                                       \
			if (scratch && !__sync_lock_test_and_set(&scratch->taken, 1))                                  \
				return i;                                                                              \
		}                                                                                                      \
		return L7_SCRATCH_DEPTH;                                                                               \
	}                                                                                                              \
                                                                                                                       \
	L7_INLINE struct l7_scratch *name##_take(void)                                                                 \
	{                                                                                                              \
		__u32 index = name##_search();                                                                         \
                                                                                                                       \
		return bpf_map_lookup_elem(&name, &index);                                                             \
	}

L7_INLINE void l7_give(struct l7_scratch *scratch)
{
	*(volatile __u64 *)&scratch->taken = 0;
}

#endif
