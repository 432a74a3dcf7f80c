/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Eight bytes at a time: where a line ends, where digits do, and what number they are. */
#ifndef EBPFMESH_L7_REDIS_WORDS_H
#define EBPFMESH_L7_REDIS_WORDS_H

#include "../../parser.h"

#define REDIS_ONES 0x0101010101010101ull
#define REDIS_HIGHS 0x8080808080808080ull

/* A bit for each byte of a word that is this one; exact up to the first. */
L7_INLINE __u64 redis_is(__u64 word, __u8 byte)
{
	word ^= REDIS_ONES * byte;
	return (word - REDIS_ONES) & ~word & REDIS_HIGHS;
}

/* How many bytes lie before the first bit of what redis_is() found: 8 without one. */
L7_INLINE __u32 redis_before(__u64 found)
{
	return ((((found & -found) >> 7) - 1) & REDIS_ONES) * REDIS_ONES >> 56;
}

static const __u64 redis_powers[16] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000 };

/* A bit for each byte of a word that is no digit; exact up to the first. */
L7_INLINE __u64 redis_no_digit(__u64 word)
{
	word ^= REDIS_ONES * '0';
	return (word | (word + REDIS_ONES * 0x76)) & REDIS_HIGHS;
}

/* The value of count digits, 1 to 8, at the front of a word. */
L7_INLINE __u64 redis_digits(__u64 word, __u32 count)
{
	word = word << ((64 - 8 * count) & 63) & 0x0f0f0f0f0f0f0f0full;
	word = (word * 10 + (word >> 8)) & 0x00ff00ff00ff00ffull;
	word = (word * 100 + (word >> 16)) & 0x0000ffff0000ffffull;
	return (word * 10000 + (word >> 32)) & 0xffffffffull;
}

#endif
