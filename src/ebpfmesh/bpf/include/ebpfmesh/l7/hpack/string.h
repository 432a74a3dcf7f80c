/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Integers and strings of HPACK (RFC 7541 section 5): what a header block is made of. */
#ifndef EBPFMESH_L7_HPACK_STRING_H
#define EBPFMESH_L7_HPACK_STRING_H

#include "huffman.h"
#include "table.h"

#define HPACK_FAILED (1ull << 63) /* of a result: the rest is a code */

/* The rest of an integer whose prefix was all ones; block->at is behind the prefix. The result has 32 bits, or it is
 * HPACK_FAILED and a code. The sender may spend octets on leading zeroes, up to five in all. */
L7_GLOBAL __u64 hpack_integer(struct hpack_block *block, __u32 prefix)
{
	__u64 value = prefix;
	__u32 at;

	if (!block)
		return HPACK_FAILED | L7_BAD_CALL;
	at = block->at;
	HPACK_UNROLL
	for (__u32 shift = 0; shift < 35; shift += 7) {
		__u32 octet;

		if (at >= block->length)
			return HPACK_FAILED | HPACK_CUT;
		octet = block->bytes[L7_INDEX(at, HPACK_BLOCK)];
		at++;
		value += (__u64)(octet & 127) << shift;
		if (octet & 128)
			continue;
		if (value >> 32)
			break;
		block->at = at;
		return value;
	}
	return HPACK_FAILED | HPACK_INTEGER;
}

/* A Huffman string while it is decoded. */
struct hpack_bits {
	const struct hpack_block *block;
	struct l7_record *record;
	__u32 at;    /* in the block, in bits */
	__u32 end;   /* of the string, in bits */
	__u32 out;   /* in text */
	__u32 limit; /* of text */
	__u32 code;
	__u32 reserved;
};

/* The next bits of the string, at least 57 of them, the first one highest. Behind its end there are only ones: as padding is
 * ones too, nothing that begins behind the last symbol is the code of a symbol. */
L7_INLINE __u64 hpack_next_bits(const struct hpack_bits *bits)
{
	__u64 word = l7_load64(bits->block->bytes + L7_INDEX(bits->at >> 3, HPACK_BLOCK));
	__u32 left = bits->end - bits->at;

	word = __builtin_bswap64(word) << (bits->at & 7);
	return left < 64 ? word | ~0ull >> left : word;
}

/* One symbol whose code is longer than HPACK_LOOKUP bits. Returns 1 if it is none that may stand here. */
L7_INLINE long hpack_long_symbol(struct hpack_bits *bits, __u64 word, __u32 out)
{
	__u32 code = word >> 32, row = 0;
	__u32 length, place;

	HPACK_UNROLL
	for (__u32 longer = 1; longer < HPACK_LONG_LENGTHS; longer++) {
		__u64 below = (__u64)code - hpack_long_code[longer].first;

		/* opaque before and behind the shift: of a comparison a compiler makes branches, and the verifier follows all */
		HPACK_OPAQUE(below);
		below >>= 63;
		HPACK_OPAQUE(below);
		row += 1 - below;
	}
	row = L7_INDEX(row, 16);
	length = hpack_long_code[row].length;
	place = hpack_long_code[row].place + ((code - hpack_long_code[row].first) >> ((32 - length) & 31));
	if (length > bits->end - bits->at) {
		bits->code = HPACK_PADDING;
		return 1;
	}
	if (place >= HPACK_LONG_EOS) {
		bits->code = HPACK_EOS;
		return 1;
	}
	bits->record->text[out] = hpack_long[L7_INDEX(place, sizeof hpack_long)];
	bits->out = out + 1;
	bits->at += length;
	return 0;
}

/* Up to eight symbols: four look-ups in a row, none of which finds anything more where a longer code begins. */
L7_CALLBACK long hpack_huffman_step(__u32 i, void *context)
{
	struct hpack_bits *bits = context;
	__u32 left = bits->end - bits->at;
	__u32 out = bits->out, taken = 0, given = 0;
	__u64 word = hpack_next_bits(bits), text = 0;

	(void)i;
	if (out > bits->limit || out > L7_TEXT) {
		bits->code = HPACK_LONG_FIELD;
		return 1;
	}
	HPACK_UNROLL
	for (int lookup = 0; lookup < 4; lookup++) {
		__u32 entry = hpack_lookup[word >> (64 - HPACK_LOOKUP)];
		__u32 length = entry >> 24;

		text |= (__u64)(entry & 0xffff) << (given & 63);
		given += entry >> 16 & 31;
		taken += length;
		word <<= length;
	}
	if (taken > left) {
		bits->code = HPACK_PADDING;
		return 1;
	}
	if (!taken && left > 7)
		return hpack_long_symbol(bits, word, out);
	l7_store64(bits->record->text + out, text);
	bits->out = out + given / 8;
	bits->at += taken;
	if (left - taken > 7)
		return 0;
	if (word >> 56 == 255) { /* what is left of the last octet is padding */
		bits->code = L7_OK;
		return 1;
	}
	return 0;
}

#define HPACK_COPY 64 /* bytes that are copied at a time */

/* A string that is copied. */
struct hpack_span {
	const struct hpack_block *block;
	struct l7_record *record;
	__u32 from;
	__u32 to;
	__u32 end; /* of what is copied, in text */
};

L7_CALLBACK long hpack_copy_step(__u32 i, void *context)
{
	struct hpack_span *span = context;
	const __u8 *from = span->block->bytes + L7_INDEX(span->from, HPACK_BLOCK);
	__u32 to = span->to;

	(void)i;
	if (to > L7_TEXT)
		return 1;
	HPACK_UNROLL
	for (__u32 word = 0; word < HPACK_COPY; word += 8)
		l7_store64(span->record->text + to + word, l7_load64(from + word));
	span->from += HPACK_COPY;
	span->to = to + HPACK_COPY;
	return span->to >= span->end;
}

/* The string that begins at block->at, into the text from out on, not beyond limit. The result is where it ends in text, or
 * HPACK_FAILED and a code. */
L7_GLOBAL __u64 hpack_string(struct hpack_block *block, struct l7_record *record, __u32 out, __u32 limit)
{
	__u64 length;
	__u32 at, first;

	if (!block || !record)
		return HPACK_FAILED | L7_BAD_CALL;
	at = block->at;
	if (at >= block->length)
		return HPACK_FAILED | HPACK_CUT;
	first = block->bytes[L7_INDEX(at, HPACK_BLOCK)];
	block->at = at + 1;
	length = first & 127;
	if (length == 127) {
		length = hpack_integer(block, 127);
		if (length & HPACK_FAILED)
			return length;
	}
	at = block->at;
	if (length > block->length - at)
		return HPACK_FAILED | HPACK_CUT;
	block->at = at + length;
	if (first & 128) {
		struct hpack_bits bits = { .block = block,
					   .record = record,
					   .at = at * 8,
					   .end = (at + length) * 8,
					   .out = out,
					   .limit = limit,
					   .code = HPACK_PADDING };

		if (!length)
			return out;
		l7_loop(HPACK_BLOCK * 2, hpack_huffman_step, &bits);
		if (bits.code)
			return HPACK_FAILED | bits.code;
		out = bits.out;
	} else {
		struct hpack_span span = {
			.block = block, .record = record, .from = at, .to = out, .end = out + length
		};

		if (length > limit - out)
			return HPACK_FAILED | HPACK_LONG_FIELD;
		if (length)
			l7_loop(HPACK_BLOCK / HPACK_COPY, hpack_copy_step, &span);
		out += length;
	}
	return out > limit ? HPACK_FAILED | HPACK_LONG_FIELD : out;
}

#endif
