/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* SipHash-2-4 (Aumasson and Bernstein, 2012), word by word: a secret is told by its digest and never kept. The key is
 * config.key, so that digests of two hosts can be compared or not, as their owner likes. */
#ifndef EBPFMESH_L7_SIPHASH_H
#define EBPFMESH_L7_SIPHASH_H

#include "../parser.h"

L7_INLINE __u64 siphash_rotated(__u64 word, __u32 bits)
{
	return word << bits | word >> (64 - bits);
}

L7_INLINE void siphash_round(__u64 v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = siphash_rotated(v[1], 13) ^ v[0];
	v[3] = siphash_rotated(v[3], 16) ^ v[2];
	v[0] = siphash_rotated(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = siphash_rotated(v[1], 17) ^ v[2];
	v[3] = siphash_rotated(v[3], 21) ^ v[0];
	v[2] = siphash_rotated(v[2], 32);
}

L7_INLINE void siphash_keyed(__u64 v[4], __u64 k0, __u64 k1)
{
	v[0] = k0 ^ 0x736f6d6570736575ull;
	v[1] = k1 ^ 0x646f72616e646f6dull;
	v[2] = k0 ^ 0x6c7967656e657261ull;
	v[3] = k1 ^ 0x7465646279746573ull;
}

L7_INLINE void siphash_begin(__u64 v[4], const struct l7_config *config)
{
	siphash_keyed(v, config->key[0], config->key[1]);
}

/* Eight bytes of the text, as l7_load64 gives them. */
L7_INLINE void siphash_word(__u64 v[4], __u64 word)
{
	v[3] ^= word;
	siphash_round(v);
	siphash_round(v);
	v[0] ^= word;
}

/* The digest: tail is what is left of the text, less than eight bytes in a word, length that of the whole text. */
L7_INLINE __u64 siphash_end(__u64 v[4], __u64 tail, __u32 length)
{
	siphash_word(v, tail | (__u64)length << 56);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		siphash_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
