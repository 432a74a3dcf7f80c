/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Header blocks that come again, byte for byte: a client that asks for the same, a server that answers alike. What such a block
 * means depends on nothing but its bytes, the dynamic table, which direction and kind of head it is, and the config; so that what
 * it was decoded to is taken from memory. Only blocks that leave the table as it is are remembered, and only from their second time
 * on: traffic that repeats nothing pays for a comparison of a few words. One for each direction, and one for its trailers.
 *
 * Of the config, the registered names are told by their lengths alone: who changes them for a connection that goes on, clears
 * key[0] of the memos (http2_forget_memos()). */
#ifndef EBPFMESH_L7_HTTP2_MEMO_H
#define EBPFMESH_L7_HTTP2_MEMO_H

#include "frame.h"

L7_INLINE void http2_forget_memos(struct http2_tables *tables)
{
	for (__u32 i = 0; i < 4; i++) {
		tables->memos[i].key[0] = 0;
		tables->memos[i].seen = 0;
	}
}

L7_INLINE struct http2_memo *http2_memo_of(struct http2_tables *tables, const struct http2_head *head)
{
	return &tables->memos[L7_INDEX(head->direction * 2 + (head->kind == HTTP_TRAILERS), 4)];
}

L7_INLINE __u64 http2_two(__u32 low, __u32 high)
{
	return low | (__u64)high << 32;
}

/* What a block's meaning depends on. */
L7_INLINE void http2_memo_key(__u64 *key, const struct l7_config *config, const struct hpack_table *table, __u32 length,
			      __u32 kind)
{
	key[0] = http2_two(length, kind);
	key[1] = http2_two(table->inserted, table->count);
	key[2] = http2_two(table->maximum, config->flags);
	key[3] = http2_two(config->text_limit, config->head_limit);
	key[4] = http2_two(config->table_limit, config->leniencies);
	key[5] = config->key[0];
	key[6] = config->key[1];
	key[7] = config->lengths;
}

/* Whether the block is the memo's, whose length it has. */
L7_INLINE int http2_memo_matches(const struct http2_memo *memo, const struct hpack_block *block, __u32 length)
{
	/* newer compilers know that length ends the loop, and leave the constant out; 6.1 does not */
	asm volatile("" : "+r"(length));
	for (__u32 at = 0; at < HTTP2_MEMO_BLOCK; at += 8) {
		__u32 left = length - at;
		__u64 differ;

		if (at >= length)
			break;
		differ = l7_load64(block->bytes + at) ^ l7_load64(memo->block + at);
		if (left < 8)
			differ <<= 64 - left * 8;
		if (differ)
			return 0;
	}
	return 1;
}

/* 1: the block was decoded before, and block, head and record are what they were then. */
L7_GLOBAL int http2_recall(struct l7_config *config, struct http2_tables *tables, struct http2_head *head,
			   struct l7_record *record)
{
	const struct http2_memo *memo;
	struct hpack_table *table;
	struct hpack_block *block;
	__u64 key[HTTP2_MEMO_KEY];
	__u32 direction, length;

	if (!config || !tables || !head || !record)
		return 0;
	direction = L7_INDEX(head->direction, 2);
	table = &tables->dynamic[direction];
	block = &tables->block[direction];
	memo = http2_memo_of(tables, head);
	length = block->length;
	if (!length || length > HTTP2_MEMO_BLOCK || memo->key[0] != http2_two(length, head->kind) || table->owed)
		return 0;
	http2_memo_key(key, config, table, length, head->kind);
	for (__u32 i = 1; i < HTTP2_MEMO_KEY; i++)
		if (key[i] != memo->key[i])
			return 0;
	if (!http2_memo_matches(memo, block, length))
		return 0;
	block->at = length;
	block->list = memo->list;
	block->fields = memo->fields;
	block->effects = memo->effects;
	*head = memo->head;
	record->present = memo->present;
	record->repeated = memo->repeated;
	record->truncated = memo->truncated;
	record->used = memo->used;
	for (__u32 i = 0; i < L7_FIELDS; i++)
		record->fields[i].number = memo->values[i].number;
	for (__u32 at = 0; at < HTTP2_MEMO_TEXT; at += 32) {
		if (at >= memo->used)
			break;
		for (__u32 word = at; word < at + 32; word += 8)
			l7_store64(record->text + word, l7_load64(memo->text + word));
	}
	return 1;
}

/* A block was decoded: it is remembered if it is the same as the one before, by what a few words say. Returns 0. */
L7_GLOBAL int http2_remember(struct l7_config *config, struct http2_tables *tables, struct http2_head *head,
			     struct l7_record *record)
{
	struct hpack_block *block;
	struct http2_memo *memo;
	__u32 direction, length;
	__u64 seen;

	if (!config || !tables || !head || !record)
		return 0;
	direction = L7_INDEX(head->direction, 2);
	block = &tables->block[direction];
	memo = http2_memo_of(tables, head);
	length = block->length;
	if (!length || length > HTTP2_MEMO_BLOCK || record->used > HTTP2_MEMO_TEXT ||
	    block->effects & (HPACK_INSERTS | HPACK_RESIZES))
		return 0;
	seen = l7_load64(block->bytes) ^ l7_load64(block->bytes + L7_INDEX(length / 2, 128)) * 3 ^ length ^
	       (__u64)head->kind << 32;
	if (memo->seen != seen) {
		memo->seen = seen;
		return 0;
	}
	http2_memo_key(memo->key, config, &tables->dynamic[direction], length, head->kind);
	memo->list = block->list;
	memo->fields = block->fields;
	memo->effects = block->effects;
	memo->head = *head;
	memo->present = record->present;
	memo->repeated = record->repeated;
	memo->truncated = record->truncated;
	memo->used = record->used;
	for (__u32 i = 0; i < L7_FIELDS; i++)
		memo->values[i].number = record->fields[i].number;
	for (__u32 at = 0; at < HTTP2_MEMO_BLOCK; at += 8)
		l7_store64(memo->block + at, l7_load64(block->bytes + at));
	for (__u32 at = 0; at < HTTP2_MEMO_TEXT; at += 8)
		l7_store64(memo->text + at, l7_load64(record->text + at));
	return 0;
}

#endif
