/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The histogram's buckets: 0 is below 1024 ns, then four to each power of two, so that a bucket is at most a quarter of its
 * lower bound wide. Bucket b > 0 begins at (4 + (b - 1) % 4) << (8 + (b - 1) / 4) ns; the last one has no end. */
#ifndef EBPFMESH_MEASURE_LATENCY_H
#define EBPFMESH_MEASURE_LATENCY_H

#include "measure.h"

#define L7_LATENCY_SHIFT 10 /* of the second bucket's lower bound: log2(1024 ns) */

/* The position of a word's highest bit; the word is not 0. Without a loop and without a table: verified at once. */
L7_INLINE __u32 l7_highest_bit(__u64 word)
{
	__u32 bit, step;

	bit = (word >> 32 != 0) << 5;
	word >>= bit;
	step = (word >> 16 != 0) << 4;
	word >>= step;
	bit |= step;
	step = (word >> 8 != 0) << 3;
	word >>= step;
	bit |= step;
	step = (word >> 4 != 0) << 2;
	word >>= step;
	bit |= step;
	step = (word >> 2 != 0) << 1;
	word >>= step;
	bit |= step;
	return bit | (word >> 1 & 1);
}

L7_INLINE __u32 l7_latency_bucket(__u64 nanoseconds)
{
	__u32 bit, bucket;

	if (nanoseconds < 1ull << L7_LATENCY_SHIFT)
		return 0;
	bit = l7_highest_bit(nanoseconds);
	bucket = 1 + 4 * (bit - L7_LATENCY_SHIFT) + (nanoseconds >> ((bit - 2) & 63) & 3);
	return bucket < L7_BUCKETS ? bucket : L7_BUCKETS - 1;
}

#endif
