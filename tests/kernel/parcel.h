/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A core for tests of what drives cores: parcels of every kind that an answer can be. A parcel is a letter, its length as two
 * bytes (big-endian), and so many bytes:
 *
 *	T text: kept as field 1, beside the length (0) and how many parcels there were (5)	P payload: goes on unseen
 *	D is dropped	R is dropped, and a reply is sent	Z payload to the end of the stream (its length is ignored)
 *	X escalates	E breaks the protocol, at its last byte */
#ifndef PARCEL_H
#define PARCEL_H

#include <ebpfmesh/parser.h>

#define PARCEL_TEXT 4096 /* more of a text is cut */

struct parcel_half {
	__u32 head;
	__u32 got;  /* bytes of the head */
	__u32 left; /* bytes of a text */
};

struct parcel_tables {
	__u64 count[2];
	__u8 padding[1000];
};

struct parcel_walk {
	struct l7_window *window;
	struct l7_record *record;
	struct parcel_half *half;
	__u32 at;
};

L7_INLINE int parcel_confidence(struct l7_window *window)
{
	if (window->start == window->end)
		return L7_UNDECIDED;
	return l7_byte(window, window->start) == 'T' ? 50 : 0;
}

/* One byte of a text. */
L7_CALLBACK long parcel_step(__u32 number, void *context)
{
	struct parcel_walk *walk = context;

	(void)number;
	if (!walk->half->left || walk->at >= walk->window->end)
		return 1;
	if (walk->record->used < PARCEL_TEXT)
		walk->record->text[L7_INDEX(walk->record->used++, L7_TEXT)] = l7_byte(walk->window, walk->at);
	else
		walk->record->truncated |= 2;
	walk->at++;
	walk->half->left--;
	return 0;
}

L7_INLINE int parcel_text(struct parcel_walk *walk, __u64 count)
{
	struct l7_record *record = walk->record;

	l7_loop(L7_WINDOW, parcel_step, walk);
	if (walk->half->left)
		return l7_more(record, walk->half->left);
	walk->half->got = 0;
	record->kind = 2;
	record->flags = L7_MESSAGE_ENDS;
	record->stream = count;
	record->fields[1].offset = 0;
	record->fields[1].length = record->used;
	record->present |= 2;
	l7_set_number(record, 0, walk->half->head & 0xffff);
	l7_set_number(record, 5, count);
	return l7_pass(record, walk->at - walk->window->start, 0);
}

L7_INLINE int parcel_other(struct parcel_walk *walk)
{
	struct l7_record *record = walk->record;
	__u32 length = walk->half->head & 0xffff, letter = walk->half->head >> 16;
	__u32 head = walk->at - walk->window->start;

	walk->half->got = 0;
	record->count = head + length;
	switch (letter) {
	case 'P':
		return l7_pass(record, head, length);
	case 'D':
		return L7_DROP;
	case 'R':
		record->text[0] = '!';
		record->used = 1;
		record->fields[L7_REPLY_FIELD].offset = 0;
		record->fields[L7_REPLY_FIELD].length = 1;
		record->present |= 1u << L7_REPLY_FIELD;
		return L7_REPLY;
	case 'Z':
		record->kind = 3;
		record->flags = L7_TO_END | L7_LAST;
		return l7_pass(record, head, 0);
	case 'X':
		return l7_escalate(record, L7_TOO_MANY, walk->at - 1);
	}
	return l7_error(record, L7_OWN_CODES, walk->at - 1);
}

L7_INLINE int parcel_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			  struct parcel_tables *tables, struct l7_record *record)
{
	struct parcel_half *half = (struct parcel_half *)state->words + (window->direction & 1);
	struct parcel_walk walk = { .window = window, .record = record, .half = half, .at = window->start };

	if (config->flags & L7_MIDSTREAM)
		return l7_escalate(record, L7_NOT_FROM_START, window->start);
	if (window->gap)
		return l7_escalate(record, L7_GAP, window->start);
	if (window->flags & L7_END_OF_STREAM)
		return half->got ? l7_error(record, L7_INCOMPLETE, window->end) : l7_more(record, 1);
	if (half->got < 3) {
		if (!half->got)
			l7_begin(record);
		for (int i = 0; i < 3 && half->got < 3; i++) {
			if (walk.at >= window->end)
				return l7_more(record, 3 - half->got);
			half->head = half->head << 8 | l7_byte(window, walk.at++);
			half->got++;
		}
		half->head &= 0xffffff;
		half->left = half->head & 0xffff;
		tables->count[window->direction & 1]++;
		if (half->head >> 16 != 'T')
			return parcel_other(&walk);
	}
	return parcel_text(&walk, tables->count[window->direction & 1]);
}

L7_DETECTOR(parcel)
L7_PARSER(parcel, struct parcel_tables)

#endif
