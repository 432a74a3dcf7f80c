/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What stands between a core and a stream: which bytes it is shown, which go on unseen, and what is told of its answers.
 * The native library, the harness and the programs of the L7 tier all drive a core by these lines. */
#ifndef EBPFMESH_DRIVE_H
#define EBPFMESH_DRIVE_H

#include "parser.h"

/* One direction of a connection, as its driver keeps it. Zeroes at its beginning. */
struct l7_flow {
	__u64 position;	 /* in the stream, of the next byte to arrive */
	__u64 remaining; /* of the last count, what is still to arrive: these bytes are not shown; ~0 is to the end */
	__u64 gap;	 /* bytes lost since the last window */
	__u8 op;	 /* what was answered last. ESCALATE and ERROR are final: nothing is shown any more */
	__u8 ended;
	__u8 idle; /* answers in succession that moved nothing */
	__u8 reserved[5];
};

#define L7_IDLE 16 /* so many, and the core is at fault */

#define L7_TO_THE_END (~0ull)

L7_INLINE int l7_is_final(const struct l7_flow *flow)
{
	return flow->op == L7_ESCALATE || flow->op == L7_ERROR;
}

/* Of the available bytes at the front of what arrived, how many are not to be shown. */
L7_INLINE __u64 l7_unseen(struct l7_flow *flow, __u64 available)
{
	__u64 unseen = flow->remaining < available ? flow->remaining : available;

	if (l7_is_final(flow))
		unseen = available;
	else if (flow->remaining != L7_TO_THE_END)
		flow->remaining -= unseen;
	flow->position += unseen;
	return unseen;
}

/* Bytes that were lost: those that would have gone unseen are no loss. */
L7_INLINE void l7_lost(struct l7_flow *flow, __u64 bytes)
{
	__u64 unseen = l7_unseen(flow, bytes);

	flow->gap += bytes - unseen;
	flow->position += bytes - unseen;
}

/* Carries out the answer of one call: moves window->start and the flow on. Afterwards the core is called again as long as
 * window->start < window->end and the flow is not final. An answer that neither moves nor tells anything becomes an error,
 * and so do many that only tell, or a driver would call for ever, and one with more text than there is room for. */
L7_INLINE int l7_advance(struct l7_flow *flow, struct l7_window *window, int op, struct l7_record *record)
{
	__u64 shown = window->end - window->start;
	int moves = record->count || record->flags & L7_TO_END;
	int empty = shown && op >= L7_PASS && op <= L7_REPLY && !moves && !record->kind;

	flow->idle = moves || op == L7_MORE ? 0 : flow->idle + 1;
	if (empty || op < L7_MORE || op > L7_ERROR || flow->idle > L7_IDLE || record->used > L7_TEXT) {
		L7_RESET(record); /* nothing of it can be believed */
		op = l7_error(record, L7_BAD_CALL, window->start);
	}
	flow->op = op;
	window->gap = 0;
	if (op >= L7_PASS && op <= L7_REPLY) {
		if (record->flags & L7_TO_END) {
			flow->remaining = L7_TO_THE_END;
		} else if (record->count <= shown) {
			shown = record->count;
		} else {
			flow->remaining = record->count - shown;
		}
	}
	window->start += shown;
	flow->position += shown;
	return op;
}

/* The end of a direction, once its bytes were shown or went unseen. 1: the core is to be shown it now, as an empty window with
 * L7_END_OF_STREAM; it never comes together with bytes, so that where a stream was split makes no difference. -1: the stream
 * ended inside a count, which no core can see: an ERROR that is told of this record. 0: it was told before, or nobody asks. */
L7_INLINE int l7_end(struct l7_flow *flow, struct l7_record *record)
{
	if (flow->ended || l7_is_final(flow))
		return 0;
	flow->ended = 1;
	if (flow->remaining && flow->remaining != L7_TO_THE_END) {
		L7_RESET(record);
		flow->op = l7_error(record, L7_INCOMPLETE, 0);
		return -1;
	}
	flow->remaining = 0;
	return 1;
}

/* What is told of one call that is worth telling: this, the values of the present fields in the order of their numbers, the
 * text. Everything is little-endian; the whole is padded to 8 bytes. */
struct l7_event {
	__u32 size; /* of the whole */
	__u16 kind;
	__u16 flags;
	__u8 op;
	__u8 direction;
	__u16 fields; /* how many values follow */
	__u32 code;
	__u64 position; /* in the stream: of the first byte of count; of the error for ESCALATE and ERROR */
	__u64 count;
	__u64 head;
	__u64 stream;
	__u32 present;
	__u32 repeated;
	__u32 truncated;
	__u32 used;
};

/* The fields that an event carries, and with them the text: none where only payload passes, or ends. */
L7_INLINE __u32 l7_told_fields(int op, const struct l7_record *record)
{
	return record->kind || op == L7_REPLY ? record->present : 0;
}

L7_INLINE int l7_is_told(int op, const struct l7_record *record)
{
	return record->kind || op >= L7_DROP || (op == L7_PASS && record->count > record->head) ||
	       (record->flags & (L7_TO_END | L7_MESSAGE_ENDS));
}

#endif
