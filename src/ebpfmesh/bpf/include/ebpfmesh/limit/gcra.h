/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The generic cell rate algorithm (ITU-T I.371, annex A: virtual scheduling) on one word that many processors change: the
 * theoretical arrival time of the next request. ebpfmesh.engine.limit.gcra is the same in Python.
 *
 * A request at now is admitted if that time is at most burst ahead of it; the time then moves on by one interval, from now if
 * it has passed. Each request that is admitted moves the word by a whole interval, so no more are than the rate
 * allows, whoever wins a race; who loses L7_LIMIT_TRIES in a row is refused. */
#ifndef EBPFMESH_LIMIT_GCRA_H
#define EBPFMESH_LIMIT_GCRA_H

#include "limit.h"

enum l7_gcra { L7_GCRA_REFUSED = 0, L7_GCRA_ADMITTED = 1, L7_GCRA_CONTENDED = 2 };

/* enum l7_gcra. wait is set to nanoseconds until a request could be admitted, 0 if this one was. */
L7_INLINE int l7_gcra_take(__u64 *word, const struct l7_limit *limit, __u64 now, __u64 *wait)
{
	__u64 interval = limit->interval, burst = limit->burst, due, ahead;

	*wait = 0;
	for (int i = 0; i < L7_LIMIT_TRIES; i++) {
		due = *(volatile __u64 *)word;
		ahead = due > now ? due - now : 0;
		if (ahead > burst) {
			*wait = ahead - burst;
			return L7_GCRA_REFUSED;
		}
		if (__sync_val_compare_and_swap(word, due, now + ahead + interval) == due)
			return L7_GCRA_ADMITTED;
	}
	*wait = interval;
	return L7_GCRA_CONTENDED;
}

#endif
