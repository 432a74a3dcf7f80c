/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
#include <ebpfmesh/l7/grpc.h>

#include <ebpfmesh/harness.h>

L7_HARNESS(grpc, struct http2_tables)
