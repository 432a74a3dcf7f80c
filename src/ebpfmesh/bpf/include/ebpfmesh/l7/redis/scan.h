/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Where the values of Redis begin and end. A step reads one header, or up to 32 bytes of a line or a string. */
#ifndef EBPFMESH_L7_REDIS_SCAN_H
#define EBPFMESH_L7_REDIS_SCAN_H

#include "../redis.h"

/* The null of RESP2: an aggregate or a string of length -1. */
L7_INLINE long redis_null(struct redis_walk *walk, __u8 type, __u64 length)
{
	if (redis_is_command(walk) || walk->half->type != type || length != 1)
		return redis_fail(walk, REDIS_BAD_LENGTH, walk->at - 1);
	walk->half->number = 0;
	if (!walk->half->depth)
		l7_set_number(walk->record, REDIS_TYPE, '_');
	return REDIS_DONE;
}

/* An aggregate begins, or is complete at once. */
L7_INLINE long redis_aggregate(struct redis_walk *walk, __u64 elements)
{
	struct redis_half *half = walk->half;

	if (half->negative && !redis_is_command(walk))
		return redis_null(walk, '*', elements);
	if (half->negative)
		elements = 0;
	if (elements > REDIS_LARGEST)
		return redis_fail(walk, REDIS_BAD_LENGTH, walk->at - 1);
	if (!half->depth && half->type != '|')
		l7_set_number(walk->record, REDIS_COUNT, elements);
	if (half->type == '%' || half->type == '|')
		elements *= 2;
	half->phase = REDIS_AT_TYPE;
	if (!elements) {
		if (redis_is_command(walk))
			half->begun = 0; /* no command: the server goes on to the next */
		return redis_is_command(walk) || half->type == '|' ? REDIS_ON : REDIS_DONE;
	}
	if (half->depth >= REDIS_DEPTH)
		return redis_give_up(walk, REDIS_TOO_DEEP);
	half->left[L7_INDEX(half->depth, REDIS_DEPTH)] = elements;
	half->attributes &= ~(1u << (half->depth & 15));
	half->attributes |= (half->type == '|') << (half->depth & 15);
	half->depth++;
	return REDIS_ON;
}

/* A string of this many bytes begins: it is kept or skipped. */
L7_INLINE long redis_string(struct redis_walk *walk, __u64 length)
{
	struct redis_half *half = walk->half;
	struct l7_record *record = walk->record;

	if (half->negative)
		return redis_null(walk, '$', length);
	if (redis_is_command(walk))
		half->reads = redis_argument(half, record->fields[REDIS_COUNT].number - half->left[0], length);
	else
		half->reads = redis_answer(walk, half->type);
	if (half->reads == REDIS_TO_SKIP) {
		half->number = length + 2;
		return REDIS_DONE;
	}
	redis_reads(walk, half->reads);
	half->number = length;
	half->phase = length ? REDIS_AT_STRING : REDIS_AT_STRING_CR;
	return REDIS_ON;
}

/* The LF behind a number. */
L7_INLINE long redis_number_ends(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;
	__u64 number = half->number;

	if (l7_byte(walk->window, walk->at) != '\n')
		return redis_fail(walk, REDIS_BAD_LINE_END, walk->at);
	walk->at++;
	if (half->type == '$' || half->type == '!' || half->type == '=')
		return redis_string(walk, number);
	return redis_aggregate(walk, number);
}

L7_INLINE long redis_number(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;
	__u64 word = l7_word(walk->window, walk->at);
	__u32 shown = walk->window->end - walk->at, digits = redis_before(redis_no_digit(word)), most;
	__u8 byte = word;

	if (!half->line) {
		if (byte == '?' && !redis_is_command(walk))
			return redis_give_up(walk, REDIS_STREAMED);
		if (byte == '-' && !half->negative) {
			half->negative = 1;
			walk->at++;
			return REDIS_ON;
		}
		half->first = byte;
	}
	if (digits > shown)
		digits = shown;
	if (digits) {
		most = half->first == '0' ? 1 : REDIS_DIGITS;
		if (half->line + digits > most)
			return redis_fail(walk, REDIS_BAD_LENGTH, walk->at + most - half->line);
		half->line += digits;
		half->number = half->number * redis_powers[L7_INDEX(digits, 16)] + redis_digits(word, digits);
		walk->at += digits;
	}
	if (digits == 8 || digits == shown)
		return REDIS_ON;
	if (!half->line || l7_byte(walk->window, walk->at) != '\r')
		return redis_fail(walk, REDIS_BAD_LENGTH, walk->at);
	walk->at++;
	half->phase = REDIS_AT_NUMBER_LF;
	return walk->at < walk->window->end ? redis_number_ends(walk) : REDIS_ON;
}

L7_INLINE int redis_is_aggregate(__u8 type)
{
	return type == '*' || type == '%' || type == '~' || type == '>' || type == '|';
}

L7_INLINE int redis_is_line(__u8 type)
{
	return type == '+' || type == '-' || type == ':' || type == '_' || type == '#' || type == ',' || type == '(';
}

/* The first byte of a message. */
L7_INLINE void redis_begin(struct redis_walk *walk, __u8 type)
{
	struct redis_half *half = walk->half;

	l7_begin(walk->record);
	half->begun = 1;
	half->length = 0;
	walk->from = walk->at;
	half->effect = 0;
	half->traits = 0;
	half->key = 0;
	half->type = type == '*' ? type : 0;
	half->quote = 0;
	half->left[0] = 0;
}

/* The first byte of a reply, behind its attributes. */
L7_INLINE void redis_answer_begins(struct redis_walk *walk, __u8 type)
{
	if (type == '%' || type == '>' || type == '~' || type == '_')
		walk->state->flags |= REDIS_RESP3;
	l7_set_number(walk->record, REDIS_TYPE, type);
}

/* The first byte of a value. */
L7_INLINE long redis_type(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;
	__u8 type = l7_byte(walk->window, walk->at);

	half->number = 0;
	half->line = 0;
	half->negative = 0;
	if (!half->begun)
		redis_begin(walk, type);
	if (redis_is_command(walk)) {
		if (!half->depth && type != '*') {
			half->phase = REDIS_AT_WORD;
			return REDIS_ON;
		}
		if (half->depth && type != '$')
			return redis_fail(walk, REDIS_NOT_BULK, walk->at);
	}
	half->type = type;
	walk->at++;
	if (!half->depth && type != '|' && !redis_is_command(walk))
		redis_answer_begins(walk, type);
	if (redis_is_line(type)) {
		redis_reads(walk, REDIS_TEXT);
		half->phase = REDIS_AT_LINE;
	} else if (redis_is_aggregate(type) || type == '$' || type == '!' || type == '=')
		half->phase = REDIS_AT_NUMBER;
	else
		return redis_fail(walk, REDIS_BAD_TYPE, walk->at - 1);
	return REDIS_ON;
}

/* Keeps the next bytes at an offset of the window as text, up to 8 of them. */
L7_INLINE void redis_copy(struct redis_walk *walk, __u32 offset, int upper)
{
	__u64 word = l7_word(walk->window, walk->at + offset);

	l7_store64(walk->record->text + L7_INDEX(walk->record->used + walk->half->kept + offset, L7_TEXT),
		   upper ? redis_upper(word) : word);
}

/* The LF behind a line. */
L7_INLINE long redis_line_ends(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;

	if (l7_byte(walk->window, walk->at) != '\n')
		return redis_fail(walk, REDIS_BAD_LINE_END, walk->at);
	if (half->type == '_' ? half->line != 0 :
	    half->type == '#' ? half->line != 1 || (half->first != 't' && half->first != 'f') :
				half->type != '+' && half->type != '-' && !half->line)
		return redis_fail(walk, REDIS_BAD_VALUE, walk->at);
	walk->at++;
	return !half->depth && (half->type == '+' || half->type == '-') ? REDIS_KEPT : REDIS_DONE;
}

/* Up to 8 bytes of a line. */
L7_INLINE long redis_line(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;
	__u64 word = l7_word(walk->window, walk->at);
	__u32 shown = walk->window->end - walk->at, limit = walk->config->head_limit, room;
	__u32 length = redis_before(redis_is(word, '\r') | redis_is(word, '\n'));

	if (!limit)
		limit = REDIS_LINE_LIMIT;
	if (length > shown)
		length = shown;
	if (!half->line)
		half->first = word;
	half->line += length;
	if (half->line > limit)
		return redis_fail(walk, L7_TOO_LONG, walk->at + length - (half->line - limit));
	if (!half->depth) {
		room = half->limit - half->kept;
		redis_copy(walk, 0, 0);
		if (length > room)
			walk->record->truncated |= 1u << REDIS_TEXT;
		half->kept += length < room ? length : room;
	}
	walk->at += length;
	if (length == 8 || length == shown)
		return REDIS_ON;
	if (l7_byte(walk->window, walk->at) == '\n')
		return redis_fail(walk, REDIS_BAD_LINE_END, walk->at);
	walk->at++;
	half->phase = REDIS_AT_LINE_LF;
	return walk->at < walk->window->end ? redis_line_ends(walk) : REDIS_ON;
}

/* The CR or LF behind a string that was kept. */
L7_INLINE long redis_string_ends(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;
	__u8 byte = l7_byte(walk->window, walk->at);

	if (byte != (half->phase == REDIS_AT_STRING_CR ? '\r' : '\n'))
		return redis_fail(walk, REDIS_BAD_STRING_END, walk->at);
	walk->at++;
	return half->phase++ == REDIS_AT_STRING_CR ? REDIS_ON : REDIS_KEPT;
}

/* Up to 32 bytes of a string that is kept. */
L7_INLINE long redis_keeps(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;
	__u32 length = walk->window->end - walk->at, room = half->limit - half->kept;
	int upper = half->reads == REDIS_NAME || half->reads == REDIS_SUBCOMMAND;

	if (!room) {
		walk->record->truncated |= 1u << (half->reads & (L7_FIELDS - 1));
		half->number += 2;
		return REDIS_KEPT;
	}
	if (length > half->number)
		length = half->number;
	if (length > room)
		length = room;
	if (length > 32)
		length = 32;
	for (__u32 offset = 0; offset < 32; offset += 8)
		redis_copy(walk, offset, upper);
	walk->at += length;
	half->kept += length;
	half->number -= length;
	if (!half->number)
		half->phase = REDIS_AT_STRING_CR;
	return REDIS_ON;
}

/* A message is complete, but for half->number bytes. */
L7_INLINE long redis_message_ends(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;
	struct redis_state *state = walk->state;
	struct l7_record *record = walk->record;
	__u8 type = record->fields[REDIS_TYPE].number;
	int message = 0;

	half->begun = 0;
	half->phase = REDIS_AT_TYPE;
	record->kind = REDIS_REPLY;
	record->flags = L7_MESSAGE_ENDS;
	l7_set_number(record, REDIS_LENGTH, redis_length(walk));
	walk->op = l7_pass(record, walk->at - walk->window->start + half->number, 0);
	if (redis_is_command(walk)) {
		record->kind = REDIS_COMMAND;
		record->stream = redis_asks(state, half, record->fields[REDIS_COUNT].number);
		return REDIS_STOP;
	}
	if (record->present & 1u << REDIS_PUSHED)
		message = redis_message_of(record, record->fields[REDIS_PUSHED].offset,
					   record->fields[REDIS_PUSHED].length);
	if (type != '>' && !(record->present & 1u << REDIS_PUSHED) &&
	    !(state->flags & REDIS_MONITORING && type == '+' && half->first >= '0' && half->first <= '9')) {
		record->stream = redis_answers(state, type);
		return REDIS_STOP;
	}
	record->kind = REDIS_PUSH;
	record->stream = redis_pushes(state, message);
	if (message == REDIS_UNSUBSCRIBED_FROM && half->type == ':' && half->line == 1 && half->first == '0' &&
	    record->text[L7_INDEX(record->fields[REDIS_PUSHED].offset, L7_TEXT)] != 's')
		state->flags &= ~REDIS_SUBSCRIBED; /* from the last channel */
	return REDIS_STOP;
}

/* A value is complete, but for half->number bytes: with it, maybe, the aggregate that it is the last of, which is for the next
 * step. */
L7_INLINE long redis_value_ends(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;
	__u32 shown = walk->window->end - walk->at, level = half->depth - 1;

	if (!half->depth)
		return redis_message_ends(walk);
	if (!--half->left[L7_INDEX(level, REDIS_DEPTH)]) {
		half->depth = level;
		if (!(half->attributes & 1u << (level & 15)))
			return REDIS_ON;
	} /* what an attribute belongs to follows it */
	half->phase = REDIS_AT_TYPE;
	if (half->number <= shown) {
		walk->at += half->number;
		return REDIS_ON;
	}
	half->length = redis_length(walk);
	walk->op = l7_pass(walk->record, walk->at - walk->window->start + half->number, 0);
	return REDIS_STOP;
}

/* A word of an inline command is complete, and maybe the command. */
L7_INLINE long redis_word_ends(struct redis_walk *walk, long verdict)
{
	struct redis_half *half = walk->half;

	if (verdict == REDIS_WORD || verdict == REDIS_LAST_WORD)
		half->left[0]++;
	if (verdict == REDIS_WORD)
		return REDIS_ON;
	l7_set_number(walk->record, REDIS_COUNT, half->left[0]);
	if (half->left[0])
		return REDIS_DONE;
	half->phase = REDIS_AT_TYPE; /* an empty line is no command */
	half->begun = 0;
	return REDIS_ON;
}

L7_INLINE long redis_read(struct redis_walk *walk)
{
	switch (walk->half->phase) {
	case REDIS_AT_TYPE:
		return redis_type(walk);
	case REDIS_AT_NUMBER:
		return redis_number(walk);
	case REDIS_AT_NUMBER_LF:
		return redis_number_ends(walk);
	case REDIS_AT_LINE:
		return redis_line(walk);
	case REDIS_AT_LINE_LF:
		return redis_line_ends(walk);
	case REDIS_AT_STRING:
		return redis_keeps(walk);
	case REDIS_AT_WORD:
		return redis_inline(walk);
	}
	return redis_string_ends(walk);
}

L7_CALLBACK long redis_step(__u32 i, void *context)
{
	struct redis_walk *walk = context;
	struct redis_half *half = walk->half;
	int in_line = half->phase == REDIS_AT_WORD;
	long verdict;

	(void)i;
	walk->at = walk->state->at;
	walk->from = walk->state->from;
	if (half->phase == REDIS_AT_VALUE_END) {
		verdict = redis_value_ends(walk);
	} else if (walk->at < walk->window->end) {
		verdict = redis_read(walk);
		if (verdict >= REDIS_KEPT)
			redis_keep(walk,
				   in_line ? half->left[0] : walk->record->fields[REDIS_COUNT].number - half->left[0]);
		if (verdict >= REDIS_DONE && in_line)
			verdict = redis_word_ends(walk, verdict);
		if (verdict >= REDIS_DONE)
			half->phase = REDIS_AT_VALUE_END;
	} else {
		return 1;
	}
	walk->state->at = walk->at;
	walk->state->from = walk->from;
	return verdict == REDIS_STOP;
}

#endif
