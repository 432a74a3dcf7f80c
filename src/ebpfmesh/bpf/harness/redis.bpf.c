/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
#include <ebpfmesh/l7/redis.h>

#include <ebpfmesh/harness.h>

L7_HARNESS(redis, struct l7_no_tables)
