/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* HPACK (RFC 7541): the header blocks of HTTP/2. hpack_decode() decodes one complete block: each name and value is put into
 * record->text, and shown to two hooks of the protocol that includes this file. */
#ifndef EBPFMESH_L7_HPACK_H
#define EBPFMESH_L7_HPACK_H

#include "hpack/table.h"

#ifndef HPACK_HEAD
struct hpack_no_head {
	__u64 unused;
};
#define HPACK_HEAD struct hpack_no_head
#endif

/* What the hooks see of the decoding. */
struct hpack_walk {
	struct l7_config *config;
	struct hpack_table *table;
	struct hpack_block *block;
	HPACK_HEAD *head;
	struct l7_record *record;
	__u32 never; /* the field is marked never-indexed */
};

#endif
