/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Which strings of a Redis message are kept, and what follows from them. */
#ifndef EBPFMESH_L7_REDIS_KEEP_H
#define EBPFMESH_L7_REDIS_KEEP_H

#include "../redis.h"

/* A text begins, for a field or another purpose. */
L7_INLINE void redis_reads(struct redis_walk *walk, __u8 reads)
{
	__u32 text_limit = walk->config->text_limit, limit = REDIS_TEXT_LIMIT;

	if (!text_limit || text_limit > REDIS_ALL_TEXT)
		text_limit = REDIS_ALL_TEXT;
	if (reads == REDIS_KEY)
		limit = REDIS_KEY_LIMIT;
	else if (reads == REDIS_NAME || reads == REDIS_SUBCOMMAND)
		limit = REDIS_NAME_LIMIT;
	text_limit = walk->record->used < text_limit ? text_limit - walk->record->used : 0;
	walk->half->limit = reads == REDIS_TO_LOOK || limit < text_limit ? limit : text_limit;
	walk->half->reads = reads;
	walk->half->kept = 0;
}

/* What the argument of this number is read for. */
L7_INLINE __u8 redis_argument(const struct redis_half *half, __u32 index, __u64 length)
{
	if (!index)
		return REDIS_NAME;
	if (half->traits & REDIS_KEYWORD)
		return index >= half->key && length == 7 ? REDIS_TO_LOOK : REDIS_TO_SKIP;
	if (index == half->key)
		return half->traits & REDIS_CHANNELS ? REDIS_CHANNEL : REDIS_KEY;
	if (index == 1 && half->traits & REDIS_CONTAINER)
		return REDIS_SUBCOMMAND;
	if (half->traits & REDIS_COUNTED && index + 1 == half->key && length == 1)
		return REDIS_TO_LOOK;
	return REDIS_TO_SKIP;
}

/* What a string of the server is read for. */
L7_INLINE __u8 redis_answer(const struct redis_walk *walk, __u64 type)
{
	const struct redis_half *half = walk->half;
	const struct l7_record *record = walk->record;
	__u64 outer = record->fields[REDIS_TYPE].number, index = record->fields[REDIS_COUNT].number - half->left[0];

	if (!half->depth)
		return type == '!' ? REDIS_TEXT : REDIS_TO_SKIP;
	if (half->depth != 1 || half->attributes & 1 || type != '$')
		return REDIS_TO_SKIP;
	if (!index && (outer == '>' || (outer == '*' && redis_may_push(walk->state))))
		return REDIS_PUSHED;
	if (index == 1 && record->present & 1u << REDIS_PUSHED)
		return REDIS_CHANNEL;
	return REDIS_TO_SKIP;
}

L7_INLINE __u64 redis_upper(__u64 word)
{
	__u64 low = word & 0x7f7f7f7f7f7f7f7full;
	__u64 letters = (low + 0x1f1f1f1f1f1f1f1full) & ~(low + 0x0505050505050505ull) & ~word & 0x8080808080808080ull;

	return word ^ letters >> 2;
}

L7_INLINE void redis_set_text(struct l7_record *record, __u32 field, __u32 length)
{
	union l7_value *value = &record->fields[L7_INDEX(field, L7_FIELDS)];

	value->offset = record->used;
	value->length = length;
	record->present |= 1u << (field & (L7_FIELDS - 1));
	record->used += length;
}

/* The name of the command is known. */
L7_INLINE void redis_know(struct redis_walk *walk, __u32 at, __u32 length)
{
	struct redis_half *half = walk->half;
	__u32 known = REDIS_RULE;

	if (length && length <= 16) {
		struct redis_text name = redis_text(walk->record, at, length);

		known = redis_command_of(name.first, name.second, half->key);
	}
	half->key = known;
	half->traits = known >> 8;
	half->effect = known >> 16;
}

/* A string that decides where the key is: the count of keys, or STREAMS. */
L7_INLINE void redis_look(struct redis_walk *walk, __u32 index)
{
	struct redis_half *half = walk->half;
	struct redis_text text = redis_text(walk->record, walk->record->used, half->kept);

	if (half->traits & REDIS_COUNTED && text.first == '0')
		half->key = 0;
	if (half->traits & REDIS_KEYWORD && redis_upper(text.first) == REDIS_8('S', 'T', 'R', 'E', 'A', 'M', 'S', 0)) {
		half->traits = 0;
		half->key = index + 1 < 256 ? index + 1 : 0;
	}
}

/* A text is complete, or cut. */
L7_INLINE void redis_keep(struct redis_walk *walk, __u32 index)
{
	struct redis_half *half = walk->half;
	struct l7_record *record = walk->record;
	__u32 at = record->used, length = half->kept;

	half->kept = 0;
	switch (half->reads) {
	case REDIS_TO_SKIP:
		return;
	case REDIS_TO_LOOK:
		half->kept = length;
		redis_look(walk, index);
		half->kept = 0;
		return;
	case REDIS_NAME:
		redis_know(walk, at, length);
		break;
	case REDIS_SUBCOMMAND:
		if (half->effect == REDIS_SWITCHES_REPLIES && length == 5 &&
		    redis_text(record, at, 5).first == REDIS_8('R', 'E', 'P', 'L', 'Y', 0, 0, 0))
			redis_unmatch(walk->state, walk->state->asked);
		break;
	case REDIS_PUSHED:
		if (record->fields[REDIS_TYPE].number == '*' && !redis_message_of(record, at, length))
			return;
		break;
	}
	redis_set_text(record, half->reads, length);
}

#endif
