/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What a header's name and value may consist of (RFC 9113 section 8.2.1, RFC 9110 section 5), and numbers in them. All texts
 * lie in record->text. */
#ifndef EBPFMESH_L7_HTTP2_TEXT_H
#define EBPFMESH_L7_HTTP2_TEXT_H

#include "../http.h"

#define HTTP2_BYTES(byte) (0x0101010101010101ull * (byte))

enum http2_text_class {
	HTTP2_NAME = 1,	 /* token without upper case */
	HTTP2_TOKEN = 2, /* a method */
};

/* clang-format off */
static const __u8 http2_characters[256] = {
	['a' ... 'z'] = HTTP2_NAME | HTTP2_TOKEN, ['A' ... 'Z'] = HTTP2_TOKEN, ['0' ... '9'] = HTTP2_NAME | HTTP2_TOKEN,
	['!'] = HTTP2_NAME | HTTP2_TOKEN, ['#'] = HTTP2_NAME | HTTP2_TOKEN, ['$'] = HTTP2_NAME | HTTP2_TOKEN,
	['%'] = HTTP2_NAME | HTTP2_TOKEN, ['&'] = HTTP2_NAME | HTTP2_TOKEN, ['\''] = HTTP2_NAME | HTTP2_TOKEN,
	['*'] = HTTP2_NAME | HTTP2_TOKEN, ['+'] = HTTP2_NAME | HTTP2_TOKEN, ['-'] = HTTP2_NAME | HTTP2_TOKEN,
	['.'] = HTTP2_NAME | HTTP2_TOKEN, ['^'] = HTTP2_NAME | HTTP2_TOKEN, ['_'] = HTTP2_NAME | HTTP2_TOKEN,
	['`'] = HTTP2_NAME | HTTP2_TOKEN, ['|'] = HTTP2_NAME | HTTP2_TOKEN, ['~'] = HTTP2_NAME | HTTP2_TOKEN,
};
/* clang-format on */

struct http2_scan {
	struct l7_record *record;
	__u32 at;
	__u32 left;
	__u32 least; /* of a value: the lowest byte that it may have; of a token: its class; of a search: the byte */
	__u32 found; /* of a search: how many bytes stand before it */
	__u32 good;
};

L7_INLINE __u64 http2_text_word(const struct l7_record *record, __u32 at)
{
	return l7_load64(record->text + L7_INDEX(at, L7_TEXT));
}

L7_INLINE __u8 http2_text_byte(const struct l7_record *record, __u32 at)
{
	return record->text[L7_INDEX(at, L7_TEXT)];
}

/* The word's first n bytes, the others replaced by a byte that every class has. */
L7_INLINE __u64 http2_filled(__u64 word, __u32 n)
{
	__u64 mask = n >= 8 ? ~0ull : (1ull << (n * 8 & 63)) - 1;

	return (word & mask) | (HTTP2_BYTES('a') & ~mask);
}

/* 0x80 in each byte of the word that is 0 (exactly), so that it can be tested for any byte. */
L7_INLINE __u64 http2_zeroes(__u64 word)
{
	return ~(((word & HTTP2_BYTES(0x7f)) + HTTP2_BYTES(0x7f)) | word | HTTP2_BYTES(0x7f));
}

L7_CALLBACK long http2_token_step(__u32 i, void *context)
{
	struct http2_scan *scan = context;
	__u64 word = http2_filled(http2_text_word(scan->record, scan->at), scan->left);
	__u32 good = scan->least;

	(void)i;
	for (__u32 byte = 0; byte < 8; byte++) {
		good &= http2_characters[L7_INDEX((__u32)word & 255, 256)];
		word >>= 8;
		asm volatile("" : "+r"(word), "+r"(good)); /* one by one: the frame has no room for all of them */
	}
	scan->at += 8;
	scan->left = scan->left > 8 ? scan->left - 8 : 0;
	if (good)
		return !scan->left;
	scan->good = 0;
	return 1;
}

/* Whether a text has characters of a class only, and at least one. */
L7_INLINE int http2_is_token(struct l7_record *record, __u32 at, __u32 length, __u32 class)
{
	struct http2_scan scan = { .record = record, .at = at, .left = length, .least = class, .good = 1 };

	if (!length)
		return 0;
	l7_loop(L7_TEXT / 8, http2_token_step, &scan);
	return scan.good;
}

/* Bytes below least (TAB is none, where blanks may be) or DEL, of which a value must have none. */
L7_INLINE __u64 http2_controls(__u64 word, __u32 least)
{
	__u64 lifted = least == ' ' ? word | http2_zeroes(word ^ HTTP2_BYTES('\t')) >> 2 : word;

	return ((lifted - HTTP2_BYTES(least)) & ~lifted & HTTP2_BYTES(0x80)) | http2_zeroes(word ^ HTTP2_BYTES(0x7f));
}

L7_CALLBACK long http2_value_step(__u32 i, void *context)
{
	struct http2_scan *scan = context;
	__u32 at = scan->at, left = scan->left, least = scan->least;
	__u64 bad = 0;

	(void)i;
	for (__u32 word = 0; word < 4; word++) { /* both go along: the frame has no room for what they were */
		bad |= http2_controls(http2_filled(http2_text_word(scan->record, at), left), least);
		at += 8;
		left = left > 8 ? left - 8 : 0;
	}
	scan->at = at;
	scan->left = left;
	if (!bad)
		return !left;
	scan->good = 0;
	return 1;
}

/* Whether a value has no control character (least is ' '; TAB is none), or no blank either (least is '!'). */
L7_INLINE int http2_is_clean(struct l7_record *record, __u32 at, __u32 length, __u32 least)
{
	struct http2_scan scan = { .record = record, .at = at, .left = length, .least = least, .good = 1 };

	if (!length)
		return 1;
	l7_loop(L7_TEXT / 32, http2_value_step, &scan);
	return scan.good;
}

L7_CALLBACK long http2_find_step(__u32 i, void *context)
{
	struct http2_scan *scan = context;
	__u64 byte = HTTP2_BYTES(scan->least);
	__u32 at = scan->at + scan->found;

	(void)i;
	for (__u32 word = 0; word < 4; word++) {
		__u64 zeroes = http2_zeroes(http2_text_word(scan->record, at + word * 8) ^ byte);

		if (zeroes) { /* the bytes below the lowest one are counted */
			scan->found +=
				word * 8 + (((((zeroes & -zeroes) >> 7) - 1) & HTTP2_BYTES(1)) * HTTP2_BYTES(1) >> 56);
			return 1;
		}
	}
	scan->found += 32;
	return scan->found >= scan->left;
}

/* How many bytes of a text stand before the first of this value; its length if there is none. */
L7_INLINE __u32 http2_before(struct l7_record *record, __u32 at, __u32 length, __u8 byte)
{
	struct http2_scan scan = { .record = record, .at = at, .left = length, .least = byte };

	if (!length)
		return 0;
	l7_loop(L7_TEXT / 32, http2_find_step, &scan);
	return scan.found < length ? scan.found : length;
}

L7_INLINE int http2_is_blank(__u8 byte)
{
	return byte == ' ' || byte == '\t';
}

/* Decimal digits, at least one and at most 19; whether the text is nothing else. */
L7_INLINE int http2_decimal(const struct l7_record *record, __u32 at, __u32 length, __u64 *number)
{
	__u64 value = 0;

	if (!length || length > 19)
		return 0;
	for (__u32 i = 0; i < 19; i++) {
		__u32 digit;

		if (i >= length)
			break;
		digit = http2_text_byte(record, at + i) - '0';
		if (digit > 9)
			return 0;
		value = value * 10 + digit;
	}
	*number = value;
	return 1;
}

struct http2_compared {
	struct l7_record *record;
	__u32 one;
	__u32 other;
	__u32 left;
	__u32 differ;
};

/* A word with its upper case letters made lower. */
L7_INLINE __u64 http2_lower(__u64 word)
{
	__u64 low = word & HTTP2_BYTES(0x7f);
	__u64 letters =
		(low + HTTP2_BYTES(0x80 - 'A')) & ~(low + HTTP2_BYTES(0x80 - 'Z' - 1)) & ~word & HTTP2_BYTES(0x80);

	return word | letters >> 2;
}

L7_CALLBACK long http2_compare_step(__u32 i, void *context)
{
	struct http2_compared *texts = context;
	__u64 one = http2_filled(http2_text_word(texts->record, texts->one + i * 8), texts->left);
	__u64 other = http2_filled(http2_text_word(texts->record, texts->other + i * 8), texts->left);

	texts->differ = http2_lower(one) != http2_lower(other);
	texts->left = texts->left > 8 ? texts->left - 8 : 0;
	return texts->differ || !texts->left;
}

/* Whether two texts of the same length are the same but for the case of their letters. */
L7_INLINE int http2_same(struct l7_record *record, __u32 one, __u32 other, __u32 length)
{
	struct http2_compared texts = { .record = record, .one = one, .other = other, .left = length };

	if (!length)
		return 1;
	l7_loop(L7_TEXT / 8, http2_compare_step, &texts);
	return !texts.differ;
}

#endif
