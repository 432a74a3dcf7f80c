/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The server's dynamic table (RFC 7541 section 2.3.2) when a header block was withheld from it.
 *
 * What that block inserted is in the client's table, and not in the server's. From then on a block that refers to the table would
 * mean something else to the server, so it is given the same headers as literals that are never indexed: the client's table is
 * known here exactly. That ends when the client has followed HEADER_TABLE_SIZE = 0 (amend.h), and refers to nothing any more. */
#ifndef EBPFMESH_HTTP2_TIER_REWRITE_H
#define EBPFMESH_HTTP2_TIER_REWRITE_H

#include "../enrol/room.h"
#include "connection.h"

/* A block with these effects is not shown to the server. A server that announced a smaller table than the standard one waits for
 * the update that must follow (RFC 7541 section 4.2): it gets it with the next block. */
L7_INLINE void h2_withhold(struct h2_connection *c, __u32 effects)
{
	if (effects & (HPACK_INSERTS | HPACK_RESIZES))
		c->poisoned = 1;
	if (effects & HPACK_RESIZES && c->server_table < HPACK_DEFAULT)
		c->update_due = 1;
}

/* Whether a block with these effects would mean something else to the server. */
L7_INLINE int h2_must_rewrite(struct h2_connection *c, __u32 effects)
{
	if (c->poisoned && effects & HPACK_REFERS)
		return 1;
	if (!c->update_due)
		return 0;
	if (effects & HPACK_RESIZES)
		c->update_due = 0;
	return c->update_due ? 1 : 0;
}

/* Whether the next block may have to be rewritten: the core is then to list all headers. */
L7_GLOBAL int h2_lists(struct h2_connection *c, struct l7_config *config)
{
	if (!c || !config)
		return 0;
	if (!(c->poisoned && c->tables.dynamic[L7_REQUEST].maximum) && !c->update_due)
		return 0;
	bpf_probe_read_kernel(&c->config, sizeof c->config, config);
	c->config.flags |= L7_ALL_HEADERS;
	return 1;
}

L7_INLINE void h2_encode8(struct h2_connection *c, __u32 byte)
{
	__u32 at = c->block;

	barrier_var(at);
	if (at < H2_BLOCK)
		c->room[at] = byte;
	c->block = at + 1;
}

/* An integer of at most 14 bits beyond a prefix of ones (RFC 7541 section 5.1). */
L7_INLINE void h2_encode(struct h2_connection *c, __u32 pattern, __u32 prefix, __u32 number)
{
	if (number < prefix) {
		h2_encode8(c, pattern | number);
		return;
	}
	number -= prefix;
	h2_encode8(c, pattern | prefix);
	if (number < 128) {
		h2_encode8(c, number);
		return;
	}
	h2_encode8(c, (number & 127) | 128);
	h2_encode8(c, number >> 7 & 127);
}

/* A text of the record. */
L7_INLINE int h2_encode_text(struct h2_connection *c, struct l7_record *record, __u32 from, __u32 length)
{
	__u32 at;

	h2_encode(c, 0, 127, length);
	at = c->block;
	if (at > H2_BLOCK || length > H2_BLOCK - at)
		return -1;
	barrier_var(at);
	barrier_var(length);
	if (at > H2_BLOCK || length > L7_TEXT)
		return -1;
	if (length && bpf_probe_read_kernel(c->room + at, length, record->text + L7_INDEX(from, L7_TEXT)))
		return -1;
	c->block = at + length;
	return 0;
}

struct h2_encoding {
	struct l7_room *room;
	struct h2_connection *c;
};

/* One header that the core has listed: struct l7_header, name, value. */
L7_CALLBACK long h2_encode_step(__u32 i, void *context)
{
	struct h2_encoding *encoding = context;
	struct h2_connection *c = encoding->c;
	struct l7_record *record = &encoding->room->record;
	__u32 at = c->copy_at, name, value;
	__u64 header;

	(void)i;
	if (at + 4 > record->used || at > L7_TEXT)
		return 1;
	header = l7_load64(record->text + L7_INDEX(at, L7_TEXT));
	name = header & 0xffff;
	value = header >> 16 & 0xffff;
	at += 4;
	c->copy_failed = 1;
	if (name > L7_TEXT || value > L7_TEXT)
		return 1;
	h2_encode8(c, 0x10);
	if (h2_encode_text(c, record, at, name) || h2_encode_text(c, record, at + name, value))
		return 1;
	c->copy_failed = 0;
	c->copy_at = at + name + value;
	return 0;
}

/* The frame that the block in the record's list makes. Its kind, H2_END if it does not fit. */
L7_GLOBAL int h2_rewrite(struct l7_room *room, struct h2_connection *c)
{
	struct h2_encoding encoding = { .room = room, .c = c };
	__u32 length, flags, stream;

	if (!room || !c)
		return H2_END;
	c->block = 9;
	c->copy_at = c->copy_failed = 0;
	if (c->update_due || c->tables.block[L7_REQUEST].effects & HPACK_RESIZES) {
		h2_encode(c, 0x20, 31, c->tables.dynamic[L7_REQUEST].maximum);
		c->update_due = 0;
	}
	L7_FORGET();
	bpf_loop(L7_TEXT / 4, h2_encode_step, &encoding, 0);
	if (c->copy_failed || c->block > H2_BLOCK)
		return H2_END;
	length = c->block - 9;
	flags = HTTP2_END_HEADERS | (h2_half(c, L7_REQUEST)->block_flags & HTTP2_END_STREAM);
	stream = room->record.stream;
	c->room[0] = length >> 16;
	c->room[1] = length >> 8;
	c->room[2] = length;
	c->room[3] = HTTP2_TYPE_HEADERS;
	c->room[4] = flags;
	c->room[5] = stream >> 24;
	c->room[6] = stream >> 16;
	c->room[7] = stream >> 8;
	c->room[8] = stream;
	return H2_REWRITE;
}

#endif
