/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A core that shows what drives it. A message is a letter, and for t and p a length of four bytes (big-endian) before its bytes:
 *
 *	t the bytes are text		p the bytes are payload		c the configuration is told	n how many messages there were
 *	e tells without end		o an operation that is none	z neither moves nor tells
 *
 * Bytes that were lost before a window are told, and so is the end of the stream; in a message, it is an error. */
#ifndef PROBE_H
#define PROBE_H

#include <ebpfmesh/parser.h>

enum probe_kind { PROBE_TEXT = 1, PROBE_CONFIG, PROBE_COUNT, PROBE_ENDLESS, PROBE_GAP, PROBE_END, PROBE_PAYLOAD };

struct probe_half {
	__u32 letter;
	__u32 got; /* bytes of the head */
	__u32 length;
	__u32 unused;
};

struct probe_tables {
	__u64 messages;
};

L7_INLINE int probe_confidence(struct l7_window *window)
{
	return window->start == window->end ? L7_UNDECIDED : l7_byte(window, window->start) == 't' ? 60 : 0;
}

L7_INLINE void probe_text(struct l7_record *record, __u32 field, __u32 length)
{
	record->fields[field].offset = record->used;
	record->fields[field].length = length;
	record->present |= 1u << field;
	record->used += length;
}

L7_INLINE void probe_config(struct l7_config *config, struct l7_record *record)
{
	l7_set_number(record, 0, config->flags);
	l7_set_number(record, 1, config->leniencies);
	l7_set_number(record, 2, config->head_limit);
	l7_set_number(record, 3, config->text_limit);
	l7_set_number(record, 4, config->table_limit);
	l7_set_number(record, 5, config->block_limit);
	l7_set_number(record, 6, config->stream_limit);
	l7_set_number(record, 7, config->key[0]);
	l7_set_number(record, 8, config->key[1]);
	l7_set_number(record, 9, config->lengths);
	for (int i = 0; i < L7_NAME_LENGTH; i++)
		record->text[i] = config->names[1].text[i];
	probe_text(record, 31, config->names[1].length & (L7_NAME_LENGTH - 1));
}

L7_INLINE int probe_body(struct l7_window *window, struct probe_half *half, struct l7_record *record, __u32 at)
{
	__u32 head = at - window->start, length = half->length;

	if (half->letter == 'p') {
		half->got = 0;
		record->kind = PROBE_PAYLOAD;
		l7_set_number(record, 0, length);
		return l7_pass(record, head, length);
	}
	for (int i = 0; i < L7_WINDOW; i++) {
		if (at >= window->end || record->used >= length)
			break;
		record->text[L7_INDEX(record->used++, L7_TEXT)] = l7_byte(window, at++);
	}
	if (record->used < length)
		return l7_more(record, length - record->used);
	record->used = 0;
	probe_text(record, 3, length);
	half->got = 0;
	record->kind = PROBE_TEXT;
	record->flags = L7_MESSAGE_ENDS;
	return l7_pass(record, at - window->start, 0);
}

L7_INLINE int probe_letter(struct l7_config *config, struct probe_half *half, struct probe_tables *tables,
			   struct l7_record *record)
{
	switch (half->letter) {
	case 'c':
		record->kind = PROBE_CONFIG;
		probe_config(config, record);
		break;
	case 'n':
		record->kind = PROBE_COUNT;
		l7_set_number(record, 0, tables->messages);
		break;
	case 'e':
		record->kind = PROBE_ENDLESS;
		half->got = 1;
		return l7_pass(record, 0, 0);
	case 'o':
		return 77;
	case 'z':
		return l7_pass(record, 0, 0);
	default:
		return l7_error(record, L7_OWN_CODES, 0);
	}
	half->got = 0;
	return l7_pass(record, 1, 0);
}

L7_INLINE int probe_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			 struct probe_tables *tables, struct l7_record *record)
{
	struct probe_half *half = (struct probe_half *)state->words + (window->direction & 1);
	__u32 at = window->start;

	if (window->gap) {
		half->got = 0;
		l7_begin(record);
		record->kind = PROBE_GAP;
		l7_set_number(record, 0, window->gap);
		return l7_pass(record, 0, 0);
	}
	if (window->flags & L7_END_OF_STREAM) {
		if (half->got)
			return l7_error(record, L7_INCOMPLETE, 0);
		l7_begin(record);
		record->kind = PROBE_END;
		l7_set_number(record, 0, window->end - window->start);
		return l7_pass(record, 0, 0);
	}
	for (int i = 0; i < 5; i++) {
		if (half->got >= 5)
			break;
		if (at >= window->end)
			return l7_more(record, 5 - half->got);
		if (!half->got) {
			half->letter = l7_byte(window, at++);
			half->length = 0;
			half->got = 1;
			tables->messages++;
			l7_begin(record);
		} else if (half->letter == 't' || half->letter == 'p') {
			half->length = half->length << 8 | l7_byte(window, at++);
			half->got++;
		}
		if (half->letter != 't' && half->letter != 'p')
			return probe_letter(config, half, tables, record);
	}
	return probe_body(window, half, record, at);
}

L7_DETECTOR(probe)
L7_PARSER(probe, struct probe_tables)

#endif
