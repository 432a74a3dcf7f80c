/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* HPACK (RFC 7541): the header blocks of HTTP/2. hpack_decode() decodes one complete block: each name and value is put into
 * record->text, and shown to two hooks, which the protocol that includes this file may define before. */
#ifndef EBPFMESH_L7_HPACK_H
#define EBPFMESH_L7_HPACK_H

#include "hpack/dynamic.h"
#include "hpack/static.h"
#include "hpack/string.h"

/* The hooks' own memory. */
#ifndef HPACK_HEAD
struct hpack_no_head {
	__u64 unused;
};
#define HPACK_HEAD struct hpack_no_head
#endif

#define HPACK_DEFAULT_LIST 32768

/* What the hooks see of the decoding. */
struct hpack_walk {
	struct l7_config *config;
	struct hpack_table *table;
	struct hpack_block *block;
	HPACK_HEAD *head;
	struct l7_record *record;
	__u32 never; /* the field is marked never-indexed */
	__u32 known; /* name and value came from a table: the hooks have seen them before, or they are the standard's own */
	__u32 code;
	__u32 limit; /* of text */
	__u32 list_limit;
};

/* HPACK_TAG(walk, index, at, length): what the protocol calls this name, 16 bits. It is kept with an entry of the dynamic table,
 * so that a name is looked at once. index is that of a static entry with this name, or 0 where the name came as text. */
#ifndef HPACK_TAG
#define HPACK_TAG(walk, index, at, length) 0
#endif

/* HPACK_FIELD(walk, tag, name_at, name_length, value_at, value_length): one field, by offsets in text. 0: its text need not stay,
 * 1: it stays, negative: decoding ends with that code, negated. */
#ifndef HPACK_FIELD
#define HPACK_FIELD(walk, tag, name_at, name_length, value_at, value_length) 1
#endif

enum hpack_form { HPACK_INDEXED, HPACK_INSERTED, HPACK_PLAIN };

/* One field while it is decoded. */
struct hpack_field {
	__u32 form;
	__u32 index;
	__u32 at; /* in text: the name, the value behind it */
	__u32 name;
	__u32 value; /* their lengths */
	__u32 tag;
};

L7_INLINE long hpack_stop(struct hpack_walk *walk, __u32 code)
{
	walk->code = code;
	return 1;
}

/* What a field says of itself in its first octet (RFC 7541 section 6), and its index. Returns 1 to stop. */
L7_INLINE long hpack_opening(struct hpack_walk *walk, struct hpack_field *field, __u32 octet)
{
	__u32 prefix = octet & 128 ? 127 : octet & 64 ? 63 : 15;
	__u64 index = octet & prefix;

	field->form = octet & 128 ? HPACK_INDEXED : octet & 64 ? HPACK_INSERTED : HPACK_PLAIN;
	walk->never = field->form == HPACK_PLAIN && octet & 16;
	if (index == prefix) {
		index = hpack_integer(walk->block, prefix);
		if (index & HPACK_FAILED)
			return hpack_stop(walk, index);
	}
	field->index = index;
	return 0;
}

/* A table size update (RFC 7541 section 6.3). Returns 1 to stop. */
L7_INLINE long hpack_update(struct hpack_walk *walk, __u32 octet)
{
	__u64 maximum = octet & 31;
	int code;

	if (walk->block->fields)
		return hpack_stop(walk, HPACK_LATE_SIZE);
	if (maximum == 31) {
		maximum = hpack_integer(walk->block, 31);
		if (maximum & HPACK_FAILED)
			return hpack_stop(walk, maximum);
	}
	walk->block->effects |= HPACK_RESIZES;
	code = hpack_resize(walk->table, maximum);
	return code ? hpack_stop(walk, code) : 0;
}

/* What an entry of the static table gives: the name, and with form HPACK_INDEXED the value. Returns 1 to stop. */
L7_INLINE long hpack_use_static(struct hpack_walk *walk, struct hpack_field *field)
{
	__u32 index = L7_INDEX(field->index, 64);
	__u32 at = field->at;

	if (at > L7_TEXT)
		return hpack_stop(walk, HPACK_LONG_FIELD);
	HPACK_UNROLL
	for (__u32 word = 0; word < HPACK_STATIC_TEXT; word += 8)
		l7_store64(walk->record->text + at + word, l7_load64(hpack_static[index].text + word));
	field->name = hpack_static_length[index].name;
	field->value = hpack_static_length[index].value;
	return 0;
}

/* The same of an entry of the dynamic table. */
L7_INLINE long hpack_use_dynamic(struct hpack_walk *walk, struct hpack_field *field)
{
	struct hpack_table *table = walk->table;
	__u32 age = field->index - HPACK_STATIC;
	struct hpack_entry *entry = hpack_entry_of(table, age);
	__u32 length;

	if (age > table->count)
		return hpack_stop(walk, table->forgotten ? HPACK_FORGOTTEN : HPACK_INDEX);
	walk->block->effects |= HPACK_REFERS;
	field->name = entry->name;
	field->value = entry->value;
	field->tag = entry->tag;
	length = field->name + (field->form == HPACK_INDEXED ? field->value : 0);
	if (field->at + length > walk->limit)
		return hpack_stop(walk, HPACK_LONG_FIELD);
	hpack_fetch(table, walk->record, entry->chunk, field->at, length);
	return 0;
}

/* A string of the field, to be appended to its text. Returns its length, or ~0 to stop. */
L7_INLINE __u32 hpack_append(struct hpack_walk *walk, __u32 at)
{
	__u64 end = hpack_string(walk->block, walk->record, at, walk->limit);

	if (end & HPACK_FAILED) {
		walk->code = end;
		return ~0u;
	}
	return end - at;
}

/* The field's name, and with HPACK_INDEXED its value. Returns 1 to stop. */
L7_INLINE long hpack_name(struct hpack_walk *walk, struct hpack_field *field)
{
	field->tag = 0;
	field->value = 0;
	if (field->index > HPACK_STATIC)
		return hpack_use_dynamic(walk, field);
	if (field->index) {
		if (hpack_use_static(walk, field))
			return 1;
	} else {
		if (field->form == HPACK_INDEXED)
			return hpack_stop(walk, HPACK_INDEX);
		field->name = hpack_append(walk, field->at);
		if (field->name == ~0u)
			return 1;
	}
	field->tag = HPACK_TAG(walk, field->index, field->at, field->name);
	return 0;
}

/* A whole field is in the text. Returns 1 to stop. */
L7_INLINE long hpack_tell(struct hpack_walk *walk, struct hpack_field *field)
{
	struct l7_record *record = walk->record;
	struct hpack_block *block = walk->block;
	__u32 all = walk->config->flags & L7_ALL_HEADERS;
	__u32 value_at = field->at + field->name;
	int kept;

	if (value_at + field->value > walk->limit)
		return hpack_stop(walk, HPACK_LONG_FIELD);
	block->fields++;
	block->list += field->name + field->value + HPACK_OVERHEAD;
	if (block->list > walk->list_limit)
		return hpack_stop(walk, HPACK_LONG_LIST);
	if (field->form == HPACK_INSERTED) {
		block->effects |= HPACK_INSERTS;
		hpack_insert(walk->table, record, field->at, field->name | field->value << 16, field->tag);
	}
	walk->known = field->form == HPACK_INDEXED;
	kept = HPACK_FIELD(walk, field->tag, field->at, field->name, value_at, field->value);
	if (kept < 0)
		return hpack_stop(walk, -kept);
	if (all && record->used <= L7_TEXT) {
		__u8 *header = record->text + record->used; /* struct l7_header, at any address */

		l7_store64(header, (l7_load64(header) & ~0xffffffffull) | field->value << 16 | field->name);
	}
	if (all || kept)
		record->used = value_at + field->value;
	return 0;
}

/* One representation: a size update or a field. */
L7_CALLBACK long hpack_step(__u32 i, void *context)
{
	struct hpack_walk *walk = context;
	struct hpack_block *block = walk->block;
	struct hpack_field field;
	__u32 at = block->at, octet;

	(void)i;
	if (at >= block->length)
		return 1;
	octet = block->bytes[L7_INDEX(at, HPACK_BLOCK)];
	block->at = at + 1;
	if (octet >> 5 == 1)
		return hpack_update(walk, octet);
	if (walk->table->owed)
		return hpack_stop(walk, HPACK_NO_SIZE);
	if (hpack_opening(walk, &field, octet))
		return 1;
	field.at = walk->record->used + (walk->config->flags & L7_ALL_HEADERS ? sizeof(struct l7_header) : 0);
	if (hpack_name(walk, &field))
		return 1;
	if (field.form != HPACK_INDEXED) {
		field.value = hpack_append(walk, field.at + field.name);
		if (field.value == ~0u)
			return 1;
	}
	return hpack_tell(walk, &field);
}

L7_INLINE __u32 hpack_bound(__u32 chosen, __u32 otherwise, __u32 room)
{
	__u32 limit = chosen ? chosen : otherwise;

	return limit < room ? limit : room;
}

/* Decodes the block of block->length bytes, which is complete. Returns 0, or a code: one of enum hpack_code, or a hook's own.
 * After any code the table is not what the sender's is, and nothing further of this direction can be decoded.
 * RFC 7541; minimum kernel: 5.17. */
L7_GLOBAL int hpack_decode(struct l7_config *config, struct hpack_table *table, struct hpack_block *block,
			   HPACK_HEAD *head, struct l7_record *record)
{
	struct hpack_walk walk = { .config = config, .table = table, .block = block, .head = head, .record = record };

	if (!config || !table || !block || !head || !record)
		return L7_BAD_CALL;
	if (block->length > HPACK_BLOCK)
		return L7_TOO_LONG;
	block->at = 0;
	block->list = 0;
	block->fields = 0;
	block->effects = 0;
	hpack_begin(table);
	table->kept = hpack_bound(config->table_limit, HPACK_DEFAULT, HPACK_CAPACITY);
	walk.limit = hpack_bound(config->text_limit, HPACK_DEFAULT, L7_TEXT);
	walk.list_limit = hpack_bound(config->head_limit, HPACK_DEFAULT_LIST, ~0u);
	l7_loop(HPACK_BLOCK, hpack_step, &walk);
	if (!walk.code && table->owed)
		return HPACK_NO_SIZE;
	return walk.code;
}

#endif
