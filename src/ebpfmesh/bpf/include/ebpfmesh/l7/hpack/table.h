/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What HPACK (RFC 7541) keeps between header blocks: the dynamic table of one direction. And the block that is decoded, and
 * the codes of what can be wrong with it. */
#ifndef EBPFMESH_L7_HPACK_TABLE_H
#define EBPFMESH_L7_HPACK_TABLE_H

#include "../../parser.h"

#ifdef __clang__
#define HPACK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define HPACK_UNROLL _Pragma("GCC unroll 16")
#endif

/* A value that the compiler knows nothing of. */
#define HPACK_OPAQUE(value) asm volatile("" : "+r"(value))

/* Room for the dynamic table, a power of two. How much of it is used is config.table_limit, so that both builds answer alike.
 * With 0 nothing is remembered: each block must stand for itself. */
#ifndef HPACK_CAPACITY
#ifdef __bpf__
#define HPACK_CAPACITY 4096
#else
#define HPACK_CAPACITY 65536
#endif
#endif

/* Room for one header block, all its CONTINUATION frames together; config.block_limit says how much of it may be used. */
#ifdef __bpf__
#define HPACK_BLOCK 4096
#else
#define HPACK_BLOCK 65536
#endif

#define HPACK_DEFAULT 4096 /* the table's size before any SETTINGS; and of each limit that config leaves at 0 */
#define HPACK_CHUNK 32	   /* an entry fills whole chunks of the ring: that is never more than the size it counts for */
#define HPACK_ENTRIES (HPACK_CAPACITY ? HPACK_CAPACITY / HPACK_CHUNK : 1)

enum hpack_code {
	HPACK_CUT = L7_OWN_CODES + 64, /* the block ends inside a representation */
	HPACK_INTEGER,		       /* an integer exceeds 32 bits, or has more than five octets after its prefix */
	HPACK_INDEX,		       /* index 0, or behind the end of the dynamic table */
	HPACK_PADDING, /* a Huffman string ends with more than 7 bits of padding, or bits that are not ones, or in a code */
	HPACK_EOS,     /* a Huffman string contains EOS */
	HPACK_SIZE,	 /* a table size update exceeds the limit that SETTINGS gave */
	HPACK_LATE_SIZE, /* a table size update after the first field of a block */
	HPACK_NO_SIZE,	 /* SETTINGS reduced the table, and the block does not begin with the update that must follow */
	HPACK_FORGOTTEN, /* escalate: refers to an entry that may exist, but that config.table_limit had no room for */
	HPACK_LONG_FIELD, /* escalate: a name and its value exceed the room left in text (config.text_limit) */
	HPACK_LONG_LIST,  /* escalate: the header list (32 more than its text per field) exceeds config.head_limit */
};

/* Whether a code means a limit of ours (ESCALATE) rather than a mistake of the peer (ERROR; COMPRESSION_ERROR). */
L7_INLINE int hpack_escalates(__u32 code)
{
	return code >= HPACK_FORGOTTEN && code <= HPACK_LONG_LIST;
}

struct hpack_entry {
	__u16 chunk; /* where its name begins in the ring, in chunks; the value stands behind the name */
	__u16 name;
	__u16 value; /* their lengths */
	__u16 tag;   /* what HPACK_TAG made of the name */
};

/* The dynamic table of one direction. Zeroes at the connection's beginning. */
struct hpack_table {
	__u32 begun;	 /* limit and maximum are set */
	__u32 limit;	 /* of maximum: what the receiver's SETTINGS allow, as the sender acknowledged them */
	__u32 maximum;	 /* what the sender chose last, by a size update */
	__u32 owed;	 /* 1 + the limit that the next block must first go down to; 0: none */
	__u32 size;	 /* of all entries, by RFC 7541 section 4.1 */
	__u32 count;	 /* entries */
	__u32 inserted;	 /* entries ever: the newest is entries[inserted - 1] */
	__u32 next;	 /* chunk of the ring where the next entry begins */
	__u32 forgotten; /* the sender's table holds entries older than these: it is larger than what is kept here */
	__u32 kept;	 /* of maximum, how much is kept here: config.table_limit, at most HPACK_CAPACITY */
	__u32 reserved[6];
	struct hpack_entry entries[HPACK_ENTRIES];
	__u8 ring[HPACK_CAPACITY ? HPACK_CAPACITY : HPACK_CHUNK];
};

/* What a block has to do with the dynamic table: one without inserts and resizes could be left out, one without references
 * means the same to any table. */
enum hpack_effect {
	HPACK_INSERTS = 1,
	HPACK_RESIZES = 2,
	HPACK_REFERS = 4, /* to an entry of it */
};

/* A complete header block, and how far it is decoded. */
struct hpack_block {
	__u32 length; /* set by the caller */
	__u32 at;     /* after an error: where */
	__u32 list;   /* size of the header list so far, by RFC 9113 section 6.5.2 */
	__u32 fields; /* how many so far */
	__u8 bytes[HPACK_BLOCK + L7_SLACK];
	__u32 effects; /* enum hpack_effect: what it did with the dynamic table so far */
	__u32 reserved;
};

L7_INLINE void hpack_begin(struct hpack_table *table)
{
	if (table->begun)
		return;
	table->begun = 1;
	table->limit = HPACK_DEFAULT;
	table->maximum = HPACK_DEFAULT;
}

/* To be called when the sender of the blocks acknowledges SETTINGS with this SETTINGS_HEADER_TABLE_SIZE; once for each value
 * if several were acknowledged. If it is less than what the sender uses, its next block must begin with a size update
 * (RFC 7541 section 4.2). */
L7_INLINE void hpack_set_limit(struct hpack_table *table, __u32 limit)
{
	hpack_begin(table);
	table->limit = limit;
	if (limit < table->maximum && (!table->owed || limit < table->owed - 1))
		table->owed = limit + 1;
}

#endif
