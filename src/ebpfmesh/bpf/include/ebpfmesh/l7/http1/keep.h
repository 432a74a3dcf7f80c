/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Keeping what was scanned. A run is written to the text while it is scanned, behind what is kept already; to keep it is to
 * move `used` behind it. */
#ifndef EBPFMESH_L7_HTTP1_KEEP_H
#define EBPFMESH_L7_HTTP1_KEEP_H

#include "state.h"

/* Begins a run that has no name: the method, the target. */
L7_INLINE void http1_open(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;

	half->value = walk->record->used;
	half->size = 0;
	half->name = 0;
}

/* Whether a value of the field came already in this head, be it that nothing of it had room. */
L7_INLINE int http1_came(const struct l7_record *record, __u32 field)
{
	return (record->present | record->truncated) >> (field & (L7_FIELDS - 1)) & 1;
}

/* A part of the run is a field: cut where room ends. If nothing of it has room it is not present: an empty value is one that
 * somebody sent. */
L7_INLINE void http1_keep_part(struct http1_walk *walk, __u32 field, __u32 from, __u32 length)
{
	struct l7_record *record = walk->record;
	__u32 room = walk->half->room;
	__u32 offset = walk->half->value + from;
	__u32 bit = 1u << (field & (L7_FIELDS - 1));
	__u32 left = offset < room ? room - offset : 0;

	if (length > left) {
		record->truncated |= bit;
		length = left;
		bit = left ? bit : 0;
	}
	if (!left)
		offset = 0;
	record->fields[L7_INDEX(field, L7_FIELDS)].offset = offset;
	record->fields[L7_INDEX(field, L7_FIELDS)].length = length;
	record->present |= bit;
}

/* The run at hand stays in the text, cut where room ends; the header before it too, if all are listed. */
L7_INLINE void http1_stay(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	struct l7_record *record = walk->record;
	__u32 end = half->value + half->size;

	if (end > half->room) {
		if (half->name)
			record->truncated |= 1u << HTTP1_LIST_TRUNCATED;
		if (half->value > half->room)
			return;
		end = half->room;
	}
	if (half->name) {
		__u8 *header = http1_text(walk, record->used);
		__u32 length = end - half->value;

		header[0] = half->name;
		header[1] = half->name >> 8;
		header[2] = length;
		header[3] = length >> 8;
	}
	record->used = end;
}

L7_INLINE void http1_keep(struct http1_walk *walk, __u32 field)
{
	http1_keep_part(walk, field, 0, walk->half->size);
	http1_stay(walk);
}

#endif
