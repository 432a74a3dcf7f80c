/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* traceparent (W3C Trace Context, version 00): "00-" trace id "-" span id "-" flags, 55 characters of lower-case hexadecimal digits. */
#ifndef EBPFMESH_TRACE_TRACEPARENT_H
#define EBPFMESH_TRACE_TRACEPARENT_H

#include "../parser.h"

#define L7_TRACE_LENGTH 55
#define L7_TRACE_SPAN 36  /* where the span id begins */
#define L7_TRACE_FLAGS 53 /* where the flags do */
#define L7_TRACE_NAME 13  /* "traceparent: " */
#define L7_TRACE_LINE (L7_TRACE_NAME + L7_TRACE_LENGTH + 2)
#define L7_EACH(byte) ((byte)*0x0101010101010101ull)

/* The eight hexadecimal digits of a word, the highest first in memory. */
L7_INLINE __u64 l7_hex_digits(__u32 word)
{
	__u64 x = __builtin_bswap32(word);

	x = (x & 0x0000ffff) | (x & 0xffff0000) << 16;
	x = (x & 0x000000ff000000ffull) | (x & 0x0000ff000000ff00ull) << 8;
	x = (x >> 4 & L7_EACH(0x0full) & 0x00ff00ff00ff00ffull) | (x & 0x000f000f000f000full) << 8;
	return x + L7_EACH('0') + ((x + L7_EACH(6ull)) >> 4 & L7_EACH(1ull)) * ('a' - '0' - 10);
}

/* Bytes of which the highest bit is set where the word's byte is no lower-case hexadecimal digit. */
L7_INLINE __u64 l7_not_hex(__u64 word)
{
	__u64 high = word & L7_EACH(0x80ull), w = word & L7_EACH(0x7full);
	__u64 digit = (w + L7_EACH(0x80ull - '0')) & ~(w + L7_EACH(0x80ull - '9' - 1));
	__u64 letter = (w + L7_EACH(0x80ull - 'a')) & ~(w + L7_EACH(0x80ull - 'f' - 1));

	return high | (~(digit | letter) & L7_EACH(0x80ull));
}

/* Whether a value may be continued (section 3.2.2): version 00 with exactly 55 characters, or a later one with more; lower-case
 * digits, ids that are not all zeroes. */
L7_INLINE int l7_continues(const __u8 *text, __u32 length)
{
	__u64 a = l7_load64(text + 3), b = l7_load64(text + 11), c = l7_load64(text + 19), d = l7_load64(text + 27);
	__u64 e = l7_load64(text + 36), f = l7_load64(text + 44), zero = L7_EACH((__u64)'0');
	__u64 rest =
		text[0] | (__u64)text[1] << 8 | (__u64)text[53] << 16 | (__u64)text[54] << 24 | 0x3030303000000000ull;

	if (length < L7_TRACE_LENGTH || text[2] != '-' || text[35] != '-' || text[52] != '-')
		return 0;
	if (l7_not_hex(a) | l7_not_hex(b) | l7_not_hex(c) | l7_not_hex(d) | l7_not_hex(e) | l7_not_hex(f) |
	    l7_not_hex(rest))
		return 0;
	if (text[0] == 'f' && text[1] == 'f')
		return 0;
	if (text[0] == '0' && text[1] == '0' ? length != L7_TRACE_LENGTH : length > L7_TRACE_LENGTH && text[55] != '-')
		return 0;
	return ((a ^ zero) | (b ^ zero) | (c ^ zero) | (d ^ zero)) && ((e ^ zero) | (f ^ zero));
}

/* Whether a trace that begins here is sampled: a share of 65536, 65535 is all. */
L7_INLINE int l7_samples(__u32 share)
{
	return share == 0xffff || (bpf_get_prandom_u32() & 0xffff) < share;
}

/* The next of a sequence of numbers that begins anywhere (SplitMix64: Steele, Lea, Flood, 2014). */
L7_INLINE __u64 l7_mixed(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* A whole header line with a new trace, 70 bytes. */
L7_INLINE void l7_new_trace(__u8 *line, int sampled)
{
	__u64 state = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
	__u64 high = l7_mixed(&state), low = l7_mixed(&state) | 1, span = l7_mixed(&state) | 1; /* not all zeroes */

	l7_store64(line, 0x7261706563617274ull);     /* tracepar */
	l7_store64(line + 8, 0x2d3030203a746e65ull); /* "ent: 00-" */
	l7_store64(line + 16, l7_hex_digits(high >> 32));
	l7_store64(line + 24, l7_hex_digits(high));
	l7_store64(line + 32, l7_hex_digits(low >> 32));
	l7_store64(line + 40, l7_hex_digits(low));
	line[48] = '-';
	l7_store64(line + 49, l7_hex_digits(span >> 32));
	l7_store64(line + 57, l7_hex_digits(span));
	line[65] = '-';
	line[66] = '0';
	line[67] = sampled ? '1' : '0';
	line[68] = '\r';
	line[69] = '\n';
}

#endif
