/* What holds of a dynamic table of HPACK at any time. */
#ifndef EBPFMESH_FUZZ_TABLES_H
#define EBPFMESH_FUZZ_TABLES_H

#include <ebpfmesh/l7/hpack/dynamic.h>

#include "holds.h"

/* RFC 7541 section 4.1: the size is the sum of the entries, and never more than the limit. */
static void fuzz_table_holds(struct hpack_table *table)
{
	uint64_t size = 0;

	HOLDS(table->count <= HPACK_ENTRIES);
	HOLDS(table->next < HPACK_RING);
	for (__u32 age = 1; age <= table->count; age++) {
		struct hpack_entry *entry = hpack_entry_of(table, age);

		HOLDS(entry->chunk < HPACK_RING);
		size += entry->name + entry->value + HPACK_OVERHEAD;
	}
	HOLDS(size == table->size);
	if (table->begun) {
		HOLDS(size <= table->maximum);
		HOLDS(size <= HPACK_CAPACITY && size <= table->kept);
	}
}

#endif
