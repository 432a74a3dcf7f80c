/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Domain names: labels and compression pointers (RFC 1035 section 4.1.4), and how a name is written (section 5.1).
 *
 * No pointer is followed. In the first question, whose name is read, none can be right: no name comes before it. Elsewhere it
 * is enough that each points back, and not into the header. */
#ifndef EBPFMESH_L7_DNS_NAME_H
#define EBPFMESH_L7_DNS_NAME_H

#include "../dns.h"

#define DNS_ONES 0x0101010101010101ull
#define DNS_HIGHS 0x8080808080808080ull

/* A name begins, of which the message has at least a byte. */
L7_INLINE void dns_name_begins(struct dns_walk *walk, __u8 keeps)
{
	struct dns_half *half = walk->half;

	half->name = half->length - half->left;
	half->octets = 0;
	half->kept = 0;
	half->keeps = keeps;
	dns_needs(walk, DNS_AT_LABEL, 1);
}

/* Characters that are written next, from the lowest byte on. */
L7_INLINE void dns_write(struct dns_walk *walk, __u64 characters, __u32 count)
{
	struct dns_half *half = walk->half;
	__u32 limit = walk->config->text_limit;

	if (!limit || limit > DNS_TEXT_LIMIT)
		limit = DNS_TEXT_LIMIT;
	l7_store64(walk->record->text + L7_INDEX(half->kept, L7_TEXT), characters);
	half->kept += count;
	if (half->kept > limit) {
		half->kept = limit;
		walk->record->truncated |= 1u << DNS_NAME;
	}
}

/* A name is complete: what stands behind it? */
L7_INLINE long dns_name_ends(struct dns_walk *walk)
{
	struct dns_half *half = walk->half;
	struct l7_record *record = walk->record;

	if (half->keeps) {
		if (!half->octets)
			dns_write(walk, '.', 1);
		record->fields[DNS_NAME].offset = 0;
		record->fields[DNS_NAME].length = half->kept;
		record->present |= 1u << DNS_NAME;
		record->used = half->kept;
	}
	return half->section ? dns_needs(walk, DNS_AT_RECORD, 8) : dns_needs(walk, DNS_AT_QUESTION, 4);
}

/* The byte in front of a label. */
L7_INLINE long dns_label(struct dns_walk *walk, __u8 length)
{
	struct dns_half *half = walk->half;

	if (!length)
		return dns_name_ends(walk);
	if (length >= 0xc0) {
		half->high = length & 0x3f;
		return dns_needs(walk, DNS_AT_POINTER, 1);
	}
	if (length > 63)
		return dns_fail(walk, DNS_BAD_LABEL);
	if (half->octets + length + 2 > DNS_LONGEST_NAME) /* this byte, and the root's */
		return dns_fail(walk, DNS_NAME_TOO_LONG);
	if (length >= half->left)
		return dns_fail(walk, DNS_SHORT);
	if (half->keeps && half->octets)
		dns_write(walk, '.', 1);
	half->octets += length + 1;
	half->label = length;
	half->phase = DNS_AT_TEXT;
	return 0;
}

L7_INLINE long dns_pointer(struct dns_walk *walk, __u8 low)
{
	__u32 target = walk->half->high << 8 | low;

	if (target < DNS_HEADER || target >= walk->half->name)
		return dns_fail(walk, DNS_BAD_POINTER);
	return dns_name_ends(walk);
}

/* A bit for each byte, all below 128, that is at least low and at most high. */
L7_INLINE __u64 dns_within(__u64 word, __u8 low, __u8 high)
{
	return (word + DNS_ONES * (128 - low)) & ~(word + DNS_ONES * (127 - high)) & DNS_HIGHS;
}

/* How a byte is written: lower case, in the lowest bytes, and its length in the highest. */
L7_INLINE __u64 dns_escaped(__u8 byte)
{
	__u64 hundreds = byte / 100, tens = byte / 10 % 10, ones = byte % 10;

	if (byte == '.' || byte == '\\' || byte == '"' || byte == '(' || byte == ')' || byte == ';' || byte == '@' ||
	    byte == '$')
		return (__u64)byte << 8 | '\\' | 2ull << 56;
	if (byte <= 0x20 || byte >= 0x7f)
		return (ones + '0') << 24 | (tens + '0') << 16 | (hundreds + '0') << 8 | '\\' | 4ull << 56;
	return (byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte) | 1ull << 56;
}

/* Up to 8 bytes of a label: at once, if they are letters, digits, hyphens and underscores, and else the first. */
L7_INLINE long dns_text(struct dns_walk *walk)
{
	struct dns_half *half = walk->half;
	__u32 shown = walk->window->end - walk->at, count = half->label < shown ? half->label : shown;
	__u64 word = l7_word(walk->window, walk->at), plain, letters, escaped;

	if (half->keeps) {
		if (count > 8)
			count = 8;
		plain = word & ~DNS_HIGHS;
		letters = dns_within(plain | 0x20 * DNS_ONES, 'a', 'z');
		plain = letters | dns_within(plain, '0', '9') | dns_within(plain, '-', '-') |
			dns_within(plain, '_', '_');
		plain &= ~word;
		if (((plain ^ DNS_HIGHS) & DNS_HIGHS) << (64 - 8 * count)) {
			escaped = dns_escaped(word);
			count = 1;
			dns_write(walk, escaped, escaped >> 56);
		} else {
			dns_write(walk, word | (letters & plain) >> 2, count);
		}
	}
	walk->at += count;
	half->left -= count;
	half->label -= count;
	return half->label ? 0 : dns_needs(walk, DNS_AT_LABEL, 1);
}

#endif
