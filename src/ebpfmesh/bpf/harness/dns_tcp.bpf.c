/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
#include <ebpfmesh/l7/dns.h>

#include <ebpfmesh/harness.h>

L7_HARNESS(dns_tcp, struct l7_no_tables)
