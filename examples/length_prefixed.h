/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A protocol of one's own as a core in C: frames of a type byte, a length of 4 bytes, and so many bytes of payload. */
#include <ebpfmesh/parser.h>

enum { FRAMES_TOO_BIG = L7_OWN_CODES };
enum { FRAMES_FRAME = 1 };		     /* the kind */
enum { FRAMES_TYPE = 0, FRAMES_LENGTH = 1 }; /* its fields */

#define FRAMES_LONGEST (1 << 20)

/* What is remembered between calls: bytes that were shown are not shown again. */
struct frames_state {
	struct {
		__u64 head;   /* as far as it was read */
		__u64 frames; /* so far */
		__u32 bytes;  /* of the head that were read */
		__u32 unused;
	} side[2];
};

L7_INLINE int frames_confidence(struct l7_window *window)
{
	__u32 shown = window->end - window->start;

	if (shown < 5)
		return L7_UNDECIDED;
	return l7_byte(window, window->start + 1) == 0 && l7_byte(window, window->start + 2) < 16 ? 50 : 0;
}

L7_INLINE int frames_core(struct l7_config *config, struct l7_window *window, struct l7_state *words,
			  struct l7_record *record)
{
	struct frames_state *state = (struct frames_state *)words->words;
	__u32 side = window->direction & 1, at = window->start, length;

	(void)config;
	if (window->gap)
		return l7_escalate(record, L7_GAP, at);
	if (window->flags & L7_END_OF_STREAM && state->side[side].bytes)
		return l7_error(record, L7_INCOMPLETE, at);
	for (int i = 0; i < 5 && state->side[side].bytes < 5; i++) {
		if (at >= window->end)
			return l7_more(record, 5 - state->side[side].bytes);
		state->side[side].head = state->side[side].head << 8 | l7_byte(window, at++);
		state->side[side].bytes++;
	}
	length = state->side[side].head;
	if (length > FRAMES_LONGEST)
		return l7_error(record, FRAMES_TOO_BIG, at);
	l7_begin(record);
	record->kind = FRAMES_FRAME;
	record->flags = L7_MESSAGE_ENDS;
	record->stream = ++state->side[side].frames;
	l7_set_number(record, FRAMES_TYPE, state->side[side].head >> 32 & 0xff);
	l7_set_number(record, FRAMES_LENGTH, length);
	state->side[side].bytes = 0;
	return l7_pass(record, at - window->start, length);
}

L7_DETECTOR(frames)
L7_PARSER_WITHOUT_TABLES(frames)
