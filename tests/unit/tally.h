/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A protocol with everything that an answer can hold. A message is a letter, a length n, a length k, n bytes of name, k bytes of
 * payload: M is a message, Q one with doubtful fields, S lasts to the end of the stream, T begins a tunnel, D must not go on, R
 * is answered, E cannot be followed, any other letter is an error. tally.py has it in Python, twice. */
#ifndef TALLY_H
#define TALLY_H

#include <ebpfmesh/parser.h>

enum tally_code { TALLY_LETTER = 16, TALLY_SECRET = 17 };
enum tally_kind { TALLY_MESSAGE = 1, TALLY_STREAM = 2, TALLY_UNKNOWN = 9 };

struct tally_half {
	__u32 got; /* of the three bytes and the name */
	__u8 letter;
	__u8 name;
	__u8 payload;
	__u8 unused;
	__u64 messages;
};

L7_INLINE int tally_confidence(struct l7_window *window)
{
	if (window->end - window->start < 3)
		return window->start == window->end || l7_byte(window, window->start) == 'M' ? L7_UNDECIDED : 0;
	return l7_byte(window, window->start) == 'M' ? 70 : 0;
}

L7_INLINE int tally_known(__u8 letter)
{
	return letter == 'M' || letter == 'Q' || letter == 'S' || letter == 'T' || letter == 'D' || letter == 'R' ||
	       letter == 'E' || letter == 'U';
}

L7_INLINE int tally_reply(struct l7_record *record, __u32 count)
{
	record->text[L7_INDEX(record->used, L7_TEXT)] = 'n';
	record->text[L7_INDEX(record->used + 1, L7_TEXT)] = 'o';
	record->fields[L7_REPLY_FIELD].offset = record->used;
	record->fields[L7_REPLY_FIELD].length = 2;
	record->present |= 1u << L7_REPLY_FIELD;
	record->used += 2;
	record->kind = 0;
	record->count = count;
	return L7_REPLY;
}

L7_INLINE int tally_told(struct tally_half *half, struct l7_record *record, __u32 head)
{
	__u8 letter = half->letter, payload = half->payload;

	record->stream = ++half->messages;
	record->fields[0].offset = 0;
	record->fields[0].length = half->name;
	record->present |= 1;
	if (payload)
		l7_set_number(record, 1, payload);
	l7_set_number(record, 2, half->name & 3);
	half->got = 0;
	record->kind = TALLY_MESSAGE;
	record->flags = L7_MESSAGE_ENDS;
	switch (letter) {
	case 'Q':
		record->repeated = 1;
		record->truncated = 2;
		break;
	case 'S':
		record->kind = TALLY_STREAM;
		record->flags = L7_TO_END | L7_MESSAGE_ENDS;
		return l7_pass(record, head, 0);
	case 'T':
		record->flags = L7_TO_END | L7_TUNNEL;
		return l7_pass(record, head, 0);
	case 'U':
		record->kind = TALLY_UNKNOWN;
		break;
	case 'D':
		record->flags = 0;
		record->count = head + payload;
		return L7_DROP;
	case 'R':
		record->flags = 0;
		return tally_reply(record, head + payload);
	}
	return l7_pass(record, head, payload);
}

L7_INLINE int tally_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			 struct l7_record *record)
{
	struct tally_half *half = (struct tally_half *)state->words + (window->direction & 1);
	__u32 at = window->start;
	__u8 byte;

	(void)config;
	if (window->gap)
		return l7_escalate(record, L7_GAP, at);
	if (window->flags & L7_END_OF_STREAM)
		return half->got ? l7_error(record, L7_INCOMPLETE, at) : l7_more(record, 1);
	for (int i = 0; i < 3 + 255; i++) {
		if (half->got >= 3 && half->got - 3 >= half->name)
			break;
		if (at >= window->end)
			return l7_more(record, 1);
		byte = l7_byte(window, at);
		if (!half->got) {
			l7_begin(record);
			if (!tally_known(byte))
				return l7_error(record, TALLY_LETTER, at);
			half->letter = byte;
			if (byte == 'E')
				return l7_escalate(record, TALLY_SECRET, at);
		} else if (half->got == 1) {
			half->name = byte;
		} else if (half->got == 2) {
			half->payload = byte;
		} else {
			record->text[L7_INDEX(record->used++, L7_TEXT)] = byte;
		}
		half->got++;
		at++;
	}
	return tally_told(half, record, at - window->start);
}

L7_DETECTOR(tally)
L7_PARSER_WITHOUT_TABLES(tally)

#endif
