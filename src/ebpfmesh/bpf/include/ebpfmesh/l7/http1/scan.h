/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Eight bytes at a time: where a run of characters ends. Each function gives a word in which the highest bit of the first byte
 * that ends the run is set; above it, bits may be set wrongly. A zero byte ends every run: see http1_core(). */
#ifndef EBPFMESH_L7_HTTP1_SCAN_H
#define EBPFMESH_L7_HTTP1_SCAN_H

#include "../../parser.h"

#define HTTP1_EACH(byte) (0x0101010101010101ull * (__u8)(byte))
#define HTTP1_HIGH HTTP1_EACH(0x80)
#define HTTP1_LOW7 HTTP1_EACH(0x7f)

/* The bytes at an offset of the window, up to its end and 64 beyond. */
L7_INLINE const __u8 *http1_bytes(const struct l7_window *window, __u32 at)
{
#ifdef __bpf__
	asm volatile("" : "+r"(at));
	if (at > L7_WINDOW)
		at = L7_WINDOW;
#endif
	return window->data + at;
}

/* The index of the lowest marked byte of a word that has one. */
L7_INLINE __u32 http1_first(__u64 marks)
{
#ifdef __bpf__
	return (((((marks & -marks) - 1) & HTTP1_EACH(1)) * HTTP1_EACH(1)) >> 56) - 1;
#else
	return (__u32)__builtin_ctzll(marks) >> 3;
#endif
}

/* Anything but SP to '~'. */
L7_INLINE __u64 http1_not_visible_or_space(__u64 word)
{
	return ((word - HTTP1_EACH(0x20)) | (word + HTTP1_EACH(0x01))) & HTTP1_HIGH;
}

/* Anything but '!' to '~'. */
L7_INLINE __u64 http1_not_visible(__u64 word)
{
	return ((word - HTTP1_EACH(0x21)) | (word + HTTP1_EACH(0x01))) & HTTP1_HIGH;
}

/* Bytes that are zero; exact in each byte. */
L7_INLINE __u64 http1_zero_bytes(__u64 word)
{
	return ~(((word & HTTP1_LOW7) + HTTP1_LOW7) | word) & HTTP1_HIGH;
}

/* What a field value may not hold (RFC 9110 section 5.5): controls but HTAB, and DEL; exact in each byte. */
L7_INLINE __u64 http1_not_value(__u64 word)
{
	__u64 control = ~(((word & HTTP1_LOW7) + HTTP1_EACH(0x60)) | word) & HTTP1_HIGH;

	return (control & ~http1_zero_bytes(word ^ HTTP1_EACH('\t'))) | http1_zero_bytes(word ^ HTTP1_EACH(0x7f));
}

/* Anything but letters, digits and '-': most of a token. The rest of its characters are rare, and taken one by one. */
L7_INLINE __u64 http1_not_name(__u64 word)
{
	__u64 low = word & HTTP1_LOW7;
	__u64 folded = low | HTTP1_EACH(0x20);
	__u64 letter = (folded + HTTP1_EACH(0x80 - 'a')) & ~(folded + HTTP1_EACH(0x7f - 'z'));
	__u64 digit = (low + HTTP1_EACH(0x80 - '0')) & ~(low + HTTP1_EACH(0x7f - '9'));
	__u64 dash = ~((low ^ HTTP1_EACH('-')) + HTTP1_LOW7);

	return (~(letter | digit | dash) | word) & HTTP1_HIGH;
}

/* Anything but digits. */
L7_INLINE __u64 http1_not_digit(__u64 word)
{
	__u64 low = word & HTTP1_LOW7;
	__u64 digit = (low + HTTP1_EACH(0x80 - '0')) & ~(low + HTTP1_EACH(0x7f - '9'));

	return (~digit | word) & HTTP1_HIGH;
}

/* What a word's first n digits, 1 to 8, say. */
L7_INLINE __u32 http1_number(__u64 word, __u32 n)
{
	word = word << ((8 - n) * 8 & 63) & HTTP1_EACH(0x0f);
	word = (word * 10 + (word >> 8)) & 0x00ff00ff00ff00ffull;
	word = (word * 100 + (word >> 16)) & 0x0000ffff0000ffffull;
	return word * 10000 + (word >> 32);
}

/* How many of 64 bytes may stand in a value, up to the first that may not; they are copied. */
L7_INLINE __u32 http1_copy_run(const __u8 *from, __u8 *to)
{
	for (__u32 k = 0; k < 64; k += 8) {
		__u64 word = l7_load64(from + k), stop;

		l7_store64(to + k, word);
		stop = http1_not_visible_or_space(word);
		if (stop) {
			__u32 n = http1_first(stop);

			if ((__u8)(word >> (n * 8)) == '\r')
				return k + n;
			stop = http1_not_value(word);
			if (stop)
				return k + http1_first(stop);
		}
	}
	return 64;
}

/* The same for a value that nobody asked for. */
L7_INLINE __u32 http1_skip_run(const __u8 *from)
{
	for (__u32 k = 0; k < 64; k += 8) {
		__u64 word = l7_load64(from + k), stop;

		stop = http1_not_visible_or_space(word);
		if (stop) {
			__u32 n = http1_first(stop);

			if ((__u8)(word >> (n * 8)) == '\r')
				return k + n;
			stop = http1_not_value(word);
			if (stop)
				return k + http1_first(stop);
		}
	}
	return 64;
}

/* tchar of RFC 9110 section 5.6.2 */
L7_INLINE int http1_is_token(__u8 c)
{
	__u64 bits = c & 64 ? 0x57ffffffc7fffffeull : 0x03ff6cfa00000000ull;

	return !(c & 128) && (bits >> (c & 63) & 1);
}

L7_INLINE int http1_is_space(__u8 c)
{
	return c == ' ' || c == '\t';
}

L7_INLINE int http1_is_digit(__u8 c)
{
	return c >= '0' && c <= '9';
}

#endif
