/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Inline commands of Redis: a line of words as a person types them, quoted and escaped as redis-cli would (sdssplitargs() in
 * sds.c is what the server reads them by). A byte a step: they are rare and short. */
#ifndef EBPFMESH_L7_REDIS_INLINE_H
#define EBPFMESH_L7_REDIS_INLINE_H

#include "../redis.h"

enum redis_quote {
	REDIS_BETWEEN, /* words */
	REDIS_PLAIN,
	REDIS_CLOSED, /* a quote was closed: the word ends here */
	REDIS_SINGLE, /* '…' */
	REDIS_SINGLE_ESCAPE,
	REDIS_DOUBLE, /* "…" */
	REDIS_DOUBLE_ESCAPE,
	REDIS_HEX, /* behind \x */
	REDIS_HEX_SECOND,
};

/* Characters of a word, up to 3, from the lowest byte on. */
L7_INLINE void redis_characters(struct redis_walk *walk, __u32 characters, __u32 count)
{
	struct redis_half *half = walk->half;
	struct l7_record *record = walk->record;
	__u64 word = characters;

	if (half->reads == REDIS_TO_SKIP || !count)
		return;
	if (half->reads == REDIS_NAME || half->reads == REDIS_SUBCOMMAND)
		word = redis_upper(word);
	l7_store64(record->text + L7_INDEX(record->used + half->kept, L7_TEXT), word);
	half->kept += count;
	if (half->kept > half->limit) {
		half->kept = half->limit;
		if (half->reads < L7_FIELDS)
			record->truncated |= 1u << (half->reads & (L7_FIELDS - 1));
	}
}

L7_INLINE __u8 redis_digit(__u8 byte)
{
	__u8 letter = byte | 0x20;

	if (byte >= '0' && byte <= '9')
		return byte - '0';
	return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : 0xff;
}

L7_INLINE __u8 redis_escaped(__u8 byte)
{
	switch (byte) {
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'b':
		return '\b';
	case 'a':
		return '\a';
	}
	return byte;
}

/* What a step adds to the word. */
struct redis_added {
	__u32 characters;
	__u32 count;
};

L7_INLINE void redis_add(struct redis_added *added, __u8 byte)
{
	added->characters |= (__u32)byte << (8 * added->count++);
}

/* Two hexadecimal digits behind \x are a byte; anything else is an x and what follows it. 1: byte is still to be read. */
L7_INLINE int redis_hex(struct redis_half *half, __u8 byte, struct redis_added *added)
{
	__u8 digit = redis_digit(byte);

	if (half->quote == REDIS_HEX && digit <= 15) {
		half->quote = REDIS_HEX_SECOND;
		half->digit = byte;
		return 0;
	}
	if (digit <= 15) {
		redis_add(added, redis_digit(half->digit) << 4 | digit);
	} else {
		redis_add(added, 'x');
		if (half->quote == REDIS_HEX_SECOND)
			redis_add(added, half->digit);
	}
	half->quote = REDIS_DOUBLE;
	return digit > 15;
}

L7_INLINE void redis_quoted(struct redis_half *half, __u8 byte, struct redis_added *added)
{
	__u8 quote = half->quote;

	if (quote >= REDIS_HEX) {
		if (!redis_hex(half, byte, added))
			return;
		quote = REDIS_DOUBLE;
	}
	if (quote == REDIS_DOUBLE_ESCAPE) {
		half->quote = byte == 'x' ? REDIS_HEX : REDIS_DOUBLE;
		if (byte != 'x')
			redis_add(added, redis_escaped(byte));
		return;
	}
	if (quote == REDIS_SINGLE_ESCAPE) { /* only a quote can be escaped */
		half->quote = quote = REDIS_SINGLE;
		if (byte == '\'') {
			redis_add(added, byte);
			return;
		}
		redis_add(added, '\\');
	}
	if (byte == '\\')
		half->quote = quote + 1;
	else if (byte == (quote == REDIS_SINGLE ? '\'' : '"'))
		half->quote = REDIS_CLOSED;
	else
		redis_add(added, byte);
}

L7_INLINE int redis_is_blank(__u8 byte, __u8 quote)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n' ||
	       (quote != REDIS_PLAIN && (byte == '\v' || byte == '\f'));
}

/* A character outside of quotes. */
L7_INLINE long redis_plain(struct redis_walk *walk, __u8 byte, struct redis_added *added)
{
	struct redis_half *half = walk->half;
	__u8 quote = half->quote;

	if (redis_is_blank(byte, quote)) {
		half->quote = REDIS_BETWEEN;
		if (byte == '\n')
			return quote ? REDIS_LAST_WORD : REDIS_DONE;
		return quote ? REDIS_WORD : REDIS_ON;
	}
	if (quote == REDIS_CLOSED)
		return redis_fail(walk, REDIS_BAD_INLINE, walk->at - 1);
	/* The length is not known yet: as if it were the one that is looked for. */
	if (quote == REDIS_BETWEEN)
		redis_reads(walk, redis_argument(half, half->left[0], half->traits & REDIS_COUNTED ? 1 : 7));
	half->quote = byte == '"' ? REDIS_DOUBLE : byte == '\'' ? REDIS_SINGLE : REDIS_PLAIN;
	if (half->quote == REDIS_PLAIN)
		redis_add(added, byte);
	return REDIS_ON;
}

L7_INLINE long redis_inline(struct redis_walk *walk)
{
	struct redis_half *half = walk->half;
	struct redis_added added = {};
	__u8 byte = l7_byte(walk->window, walk->at++), quote = half->quote;
	__u32 limit = walk->config->head_limit;
	long verdict = REDIS_ON;

	if (++half->line > (limit ? limit : REDIS_LINE_LIMIT))
		return redis_fail(walk, L7_TOO_LONG, walk->at - 1);
	if (!byte || (byte == '\n' && quote >= REDIS_SINGLE))
		return redis_fail(walk, REDIS_BAD_INLINE, walk->at - 1);
	if (quote >= REDIS_SINGLE)
		redis_quoted(half, byte, &added);
	else
		verdict = redis_plain(walk, byte, &added);
	redis_characters(walk, added.characters, added.count);
	return verdict;
}

#endif
