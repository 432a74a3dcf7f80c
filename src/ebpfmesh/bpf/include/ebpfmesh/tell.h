/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* How a program writes down what a core found: one struct l7_event (drive.h), the values of its fields, its text. */
#ifndef EBPFMESH_TELL_H
#define EBPFMESH_TELL_H

#include "drive.h"

/* Room for the longest event, and for what the verifier believes of it: it does not count the present fields. */
struct l7_told {
	struct l7_event event;
	__u8 bytes[16 * L7_FIELDS + L7_TEXT + L7_SLACK]; /* values, text */
};

#define L7_EVENT_ROOM sizeof(struct l7_told)

/* One call of a core: where the flow and the window stood before it, and its answer. */
struct l7_call {
	__u64 position;
	__u32 start;
	__s32 op;
};

/* Writes the event of one call to told; returns its size. A global function: it is verified once, not once for each way to get
 * here. */
L7_GLOBAL int l7_tell(struct l7_told *told, struct l7_call *call, struct l7_window *window, struct l7_record *record)
{
	struct l7_event *event = &told->event;
	__u32 present, whole, used, size, fields = 0;
	__u64 *values;

	if (!told || !call || !window || !record)
		return 0;
	values = (__u64 *)told->bytes;
	present = l7_told_fields(call->op, record);
	whole = record->kind || call->op == L7_REPLY;
	used = whole ? record->used : 0;
	if (used > L7_TEXT)
		used = L7_TEXT;
	/* each value is stored, and the next one over it unless its field is present */
	for (int i = 0; i < L7_FIELDS; i++) {
		values[L7_INDEX(fields, 2 * L7_FIELDS)] = record->fields[i].number;
		fields += present >> i & 1;
	}
	size = 8 * L7_INDEX(fields, 2 * L7_FIELDS);
	/* verifiers up to 6.1 have lost its bound by now, if a newer compiler kept it on the stack */
	barrier_var(used);
	if (used > L7_TEXT)
		return 0;
	bpf_probe_read_kernel(told->bytes + size, used, record->text);
	l7_store64(told->bytes + size + used, 0);

	event->position = call->position;
	if (call->op >= L7_ESCALATE && record->at > call->start)
		event->position += (record->at < window->end ? record->at : window->end) - call->start;
	event->size = (sizeof *event + size + used + 7) & ~7u;
	event->kind = record->kind;
	event->flags = record->flags;
	event->op = call->op;
	event->direction = window->direction;
	event->fields = fields;
	event->code = record->code;
	event->count = record->count;
	event->head = record->head;
	event->stream = record->stream;
	event->present = present;
	event->repeated = whole ? record->repeated : 0;
	event->truncated = whole ? record->truncated : 0;
	event->used = used;
	return event->size;
}

#endif
