/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
#include <ebpfmesh/l7/http2.h>

#include <ebpfmesh/harness.h>

L7_HARNESS(http2, struct http2_tables)
