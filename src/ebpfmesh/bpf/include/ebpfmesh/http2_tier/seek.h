/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Where traceparent stands in a header block that was decoded: from its representation's first byte to its last (RFC 7541 section 6).
 * Only a name that is spelt out is looked for, as it is in a block that stands for itself. */
#ifndef EBPFMESH_HTTP2_TIER_SEEK_H
#define EBPFMESH_HTTP2_TIER_SEEK_H

#include "connection.h"

struct h2_seeking {
	struct hpack_block *block;
	__u32 at;
	__u32 from;
	__u32 found; /* 1 + where it begins */
	__u32 indexed;
};

L7_INLINE __u8 h2_seek_byte(const struct hpack_block *block, __u32 at)
{
	return block->bytes[L7_INDEX(at, HPACK_BLOCK)];
}

/* The integer at a place, behind its prefix of ones; where it ends is from bit 32 on. */
L7_GLOBAL __u64 h2_seek_number(struct hpack_block *block, __u32 at, __u32 prefix)
{
	__u32 number, byte;

	if (!block)
		return 0;
	number = h2_seek_byte(block, at++) & prefix;
	if (number == prefix) {
		for (__u32 shift = 0; shift < 35; shift += 7) {
			byte = h2_seek_byte(block, at++);
			number += (byte & 127) << (shift & 31);
			if (byte < 128)
				break;
		}
	}
	return number | (__u64)at << 32;
}

L7_INLINE __u32 h2_seek_integer(struct h2_seeking *seeking, __u32 prefix)
{
	__u64 found = h2_seek_number(seeking->block, seeking->at, prefix);

	seeking->at = found >> 32;
	return found;
}

/* "traceparent", as it is or in Huffman's code. */
L7_INLINE int h2_seek_is_name(const struct h2_seeking *seeking, __u32 at, __u32 length, __u32 coded)
{
	const __u8 *name = seeking->block->bytes + L7_INDEX(at, HPACK_BLOCK);

	if (coded)
		return length == 8 && l7_load64(name) == 0x3fa9851d6b21834dull; /* its bytes, the first is the lowest */
	return length == 11 && l7_load64(name) == HTTP_WORD("tracepar") && l7_load64(name + 3) == HTTP_WORD("ceparent");
}

/* One representation; 1 at the block's end, or where it was found: from there to seeking->at. */
L7_CALLBACK long h2_seek_step(__u32 i, void *context)
{
	struct h2_seeking *seeking = context;
	__u32 octet = h2_seek_byte(seeking->block, seeking->at), index, coded, length, is = 0;

	(void)i;
	seeking->from = seeking->at;
	if (seeking->at >= seeking->block->length)
		return 1;
	if (octet >= 0x80 || octet >> 5 == 1) {
		h2_seek_integer(seeking, octet >= 0x80 ? 127 : 31);
		return 0;
	}
	index = h2_seek_integer(seeking, octet >= 0x40 ? 63 : 15);
	if (!index) {
		coded = h2_seek_byte(seeking->block, seeking->at) >> 7;
		length = h2_seek_integer(seeking, 127);
		is = h2_seek_is_name(seeking, seeking->at, length, coded);
		seeking->at += length;
	}
	length = h2_seek_integer(seeking, 127);
	seeking->at += length;
	if (!is)
		return 0;
	seeking->found = 1 + seeking->from;
	seeking->indexed = octet >= 0x40;
	return 1;
}

/* 1 + where traceparent begins in the client's block, and its length from bit 16 on; 0 if it is not spelt out, or cannot be taken out:
 * the client's table has it, and it may refer to that. */
L7_GLOBAL __u32 h2_seek_trace(struct h2_connection *c)
{
	struct h2_seeking seeking = {};

	if (!c)
		return 0;
	seeking.block = &c->tables.block[L7_REQUEST];
	bpf_loop(HPACK_BLOCK, h2_seek_step, &seeking, 0);
	if (!seeking.found || seeking.at > seeking.block->length ||
	    (seeking.indexed && c->tables.dynamic[L7_REQUEST].maximum))
		return 0;
	return seeking.found | (seeking.at - seeking.from) << 16;
}

#endif
