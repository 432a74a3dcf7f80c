/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
#include <ebpfmesh/l7/http1.h>

#include <ebpfmesh/harness.h>

L7_HARNESS(http1, struct l7_no_tables)
