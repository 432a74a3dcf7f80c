/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The dynamic table (RFC 7541 section 4): entries come in at one end, and go at the other as room is needed.
 *
 * The bytes of an entry lie in whole chunks of a ring. An entry counts for 32 bytes more than its text, and to fill its last
 * chunk takes at most 31: so what is counted always fits, and no chunk lies across the ring's end. */
#ifndef EBPFMESH_L7_HPACK_DYNAMIC_H
#define EBPFMESH_L7_HPACK_DYNAMIC_H

#include "table.h"

#define HPACK_OVERHEAD 32					       /* what an entry counts for beyond its text */
#define HPACK_RING (HPACK_CAPACITY ? HPACK_CAPACITY / HPACK_CHUNK : 1) /* chunks of the ring */

L7_INLINE __u32 hpack_chunks(__u32 bytes)
{
	return (bytes + HPACK_CHUNK - 1) / HPACK_CHUNK;
}

/* The entry with index 61 + age: the newest is 1. */
L7_INLINE struct hpack_entry *hpack_entry_of(struct hpack_table *table, __u32 age)
{
	return &table->entries[L7_INDEX(table->inserted - age, HPACK_ENTRIES)];
}

/* What is evicted: the oldest entries, until not more than room is taken. */
struct hpack_eviction {
	struct hpack_table *table;
	__u32 room;
	__u32 reserved;
};

L7_CALLBACK long hpack_evict_step(__u32 i, void *context)
{
	struct hpack_eviction *eviction = context;
	struct hpack_table *table = eviction->table;
	struct hpack_entry *oldest;

	(void)i;
	if (table->size <= eviction->room || !table->count)
		return 1;
	oldest = hpack_entry_of(table, table->count);
	table->size -= oldest->name + oldest->value + HPACK_OVERHEAD;
	table->count--;
	if (table->maximum > table->kept)
		table->forgotten = 1; /* the sender may still have it */
	return 0;
}

L7_INLINE void hpack_evict(struct hpack_table *table, __u32 room)
{
	struct hpack_eviction eviction = { .table = table, .room = room };

	if (HPACK_CAPACITY && table->size > room)
		l7_loop(HPACK_ENTRIES, hpack_evict_step, &eviction);
}

/* The sender chose a maximum (RFC 7541 section 4.3). */
L7_GLOBAL int hpack_resize(struct hpack_table *table, __u32 maximum)
{
	if (!table)
		return L7_BAD_CALL;
	if (maximum > table->limit)
		return HPACK_SIZE;
	if (table->owed && maximum > table->owed - 1)
		return HPACK_NO_SIZE;
	table->owed = 0;
	table->maximum = maximum;
	if (maximum <= table->kept)
		table->forgotten = 0; /* the oldest that the sender can have is kept */
	hpack_evict(table, maximum);
	return L7_OK;
}

/* An entry's text on its way between the ring and a record. */
struct hpack_transfer {
	struct hpack_table *table;
	struct l7_record *record;
	__u32 at; /* in text */
	__u32 end;
	__u32 chunk;
	__u32 reserved;
};

L7_INLINE void hpack_keep_chunk(struct hpack_table *table, const struct l7_record *record, __u32 chunk, __u32 at)
{
	__u8 *to = table->ring + L7_INDEX(chunk, HPACK_RING) * HPACK_CHUNK;

	HPACK_UNROLL
	for (__u32 word = 0; word < HPACK_CHUNK; word += 8)
		l7_store64(to + word, l7_load64(record->text + at + word));
}

L7_INLINE void hpack_fetch_chunk(const struct hpack_table *table, struct l7_record *record, __u32 chunk, __u32 at)
{
	const __u8 *from = table->ring + L7_INDEX(chunk, HPACK_RING) * HPACK_CHUNK;

	HPACK_UNROLL
	for (__u32 word = 0; word < HPACK_CHUNK; word += 8)
		l7_store64(record->text + at + word, l7_load64(from + word));
}

/* Most entries are of one chunk or two, which need no loop. */
#define HPACK_USUAL (2 * HPACK_CHUNK)

L7_CALLBACK long hpack_keep_step(__u32 i, void *context)
{
	struct hpack_transfer *transfer = context;
	__u32 at = transfer->at;

	(void)i;
	if (at > L7_TEXT)
		return 1;
	hpack_keep_chunk(transfer->table, transfer->record, transfer->chunk, at);
	transfer->at = at + HPACK_CHUNK;
	transfer->chunk++;
	return transfer->at >= transfer->end;
}

L7_CALLBACK long hpack_fetch_step(__u32 i, void *context)
{
	struct hpack_transfer *transfer = context;
	__u32 at = transfer->at;

	(void)i;
	if (at > L7_TEXT)
		return 1;
	hpack_fetch_chunk(transfer->table, transfer->record, transfer->chunk, at);
	transfer->at = at + HPACK_CHUNK;
	transfer->chunk++;
	return transfer->at >= transfer->end;
}

/* A new entry: the name and the value that stand one behind the other in text. One that is larger than the table empties it,
 * and is not an error (RFC 7541 section 4.4). lengths is the name's, and the value's from bit 16 on. */
L7_GLOBAL int hpack_insert(struct hpack_table *table, struct l7_record *record, __u32 at, __u32 lengths, __u32 tag)
{
	struct hpack_transfer transfer = { .table = table, .record = record, .at = at + HPACK_USUAL };
	__u32 name = lengths & 0xffff, value = lengths >> 16;
	__u32 size = name + value + HPACK_OVERHEAD;
	struct hpack_entry *entry;
	__u32 room, chunk;

	if (!table || !record)
		return L7_BAD_CALL;
	room = table->maximum < table->kept ? table->maximum : table->kept;
	if (size > room) {
		table->count = 0;
		table->size = 0;
		table->forgotten = size <= table->maximum;
		return L7_OK;
	}
	hpack_evict(table, room - size);
	entry = &table->entries[L7_INDEX(table->inserted, HPACK_ENTRIES)];
	entry->chunk = table->next;
	entry->name = name;
	entry->value = value;
	entry->tag = tag;
	transfer.end = at + name + value;
	transfer.chunk = table->next + 2;
	chunk = table->next;
	table->next = L7_INDEX(table->next + hpack_chunks(name + value), HPACK_RING);
	table->inserted++;
	table->count++;
	table->size += size;
	if (at > L7_TEXT)
		return L7_BAD_CALL;
	if (name + value)
		hpack_keep_chunk(table, record, chunk, at);
	if (name + value > HPACK_CHUNK)
		hpack_keep_chunk(table, record, chunk + 1, at + HPACK_CHUNK);
	if (name + value > HPACK_USUAL)
		l7_loop(HPACK_RING, hpack_keep_step, &transfer);
	return L7_OK;
}

/* The first bytes of an entry's text, into the text of a record. */
L7_GLOBAL int hpack_fetch(struct hpack_table *table, struct l7_record *record, __u32 chunk, __u32 at, __u32 length)
{
	struct hpack_transfer transfer = {
		.table = table, .record = record, .at = at + HPACK_USUAL, .end = at + length, .chunk = chunk + 2
	};

	if (!table || !record || at > L7_TEXT)
		return L7_BAD_CALL;
	hpack_fetch_chunk(table, record, chunk, at);
	if (length > HPACK_CHUNK)
		hpack_fetch_chunk(table, record, chunk + 1, at + HPACK_CHUNK);
	if (length > HPACK_USUAL)
		l7_loop(HPACK_RING, hpack_fetch_step, &transfer);
	return L7_OK;
}

#endif
