/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Frames of the server that are changed in place, byte for byte of the same length, as they arrive.
 *
 * SETTINGS: one entry that can be spared becomes HEADER_TABLE_SIZE = 0. The client's header blocks are then self-contained from its
 * acknowledgement on, and one of them can be taken out without a trace. The server does not mind: it allowed more.
 * PING that answers one of ours: becomes the head of the refusal that it stands for. */
#ifndef EBPFMESH_HTTP2_TIER_AMEND_H
#define EBPFMESH_HTTP2_TIER_AMEND_H

#include "../enrol/room.h"
#include "frames.h"

#define H2_ENTRY 6
#define H2_STATIC 61		  /* entries of HPACK's static table: the dynamic one's indices follow */
#define H2_UNKNOWN_SETTING 0xfafa /* reserved to be ignored, as GREASE does (RFC 8701's pattern) */

/* How well an entry can be spared; 0: not at all. INITIAL_WINDOW_SIZE decides when bytes come, MAX_CONCURRENT_STREAMS how many
 * requests the server bears, ENABLE_CONNECT_PROTOCOL what may be asked. */
L7_INLINE __u32 h2_spare(__u32 id, __u32 value)
{
	switch (id) {
	case HTTP_MAX_FRAME:
		return 5;
	case HTTP_MAX_LIST:
		return 4;
	case HTTP_ENABLE_PUSH:
		return 3;
	case HTTP_MAX_STREAMS:
		return value >= HTTP2_STREAM_BITS ? 1 : 0;
	case HTTP_INITIAL_WINDOW:
	case HTTP_EXTENDED_CONNECT:
		return 0;
	}
	return 2;
}

struct h2_entries {
	struct __sk_buff *skb;
	struct l7_room *room;
	struct h2_connection *c;
	__u32 at; /* in the window */
	__u32 end;
	__u32 best;
	__u32 best_at;
};

L7_INLINE __u32 h2_seen32(const struct l7_window *window, __u32 at)
{
	return __builtin_bswap32((__u32)l7_word(window, at));
}

/* Makes the entry at a place HEADER_TABLE_SIZE = 0, in the segment and in the window; one that nobody knows if that was said
 * before: said twice, there are clients that forget to follow it. */
L7_GLOBAL int h2_store_entry(struct __sk_buff *skb, struct l7_room *room, __u32 at, __u32 id)
{
	__u8 entry[8] = { id >> 8, id };

	if (!room)
		return -1;
	if (bpf_skb_store_bytes(skb, room->base + at, entry, H2_ENTRY, 0))
		return -1;
	for (__u32 i = 0; i < H2_ENTRY; i++)
		room->window.data[L7_INDEX(at + i, L7_WINDOW)] = entry[i];
	return 0;
}

L7_CALLBACK long h2_entry_step(__u32 i, void *context)
{
	struct h2_entries *entries = context;
	struct l7_window *window = &entries->room->window;
	__u32 at = entries->at, id, value, rank;

	(void)i;
	if (at + H2_ENTRY > entries->end)
		return 1;
	entries->at = at + H2_ENTRY;
	id = h2_seen32(window, at) >> 16;
	value = h2_seen32(window, at + 2);
	if (id == HTTP_TABLE_SIZE) {
		if (value < entries->c->server_table)
			entries->c->server_table = value;
		if (!h2_store_entry(entries->skb, entries->room, at,
				    entries->c->stateless ? H2_UNKNOWN_SETTING : HTTP_TABLE_SIZE))
			entries->c->stateless = 1;
		return 0;
	}
	rank = h2_spare(id, value);
	if (rank > entries->best) {
		entries->best = rank;
		entries->best_at = at;
	}
	return 0;
}

/* SETTINGS begin at the window's start; length is that of their payload. */
L7_GLOBAL int h2_amend_settings(struct __sk_buff *skb, struct l7_room *room, struct h2_connection *c, __u32 length)
{
	struct h2_entries entries = { .skb = skb, .room = room, .c = c };

	if (!room || !c)
		return 0;
	entries.at = room->window.start + 9;
	entries.end = entries.at + length;
	if (!c->seen_settings)
		c->server_table = HPACK_DEFAULT;
	if (entries.end <= room->window.end)
		bpf_loop(HTTP2_ENTRIES, h2_entry_step, &entries, 0);
	if (!c->stateless && entries.best && !h2_store_entry(skb, room, entries.best_at, HTTP_TABLE_SIZE))
		c->stateless = 1;
	if (!c->stateless)
		c->settings_due = 1;
	return 0;
}

/* A search through the table of the server's encoder, which the client's decoder has too: the newest entries, by index, that a
 * refusal of gRPC can refer to. */
struct h2_referring {
	struct hpack_table *table;
	__u32 content_type; /* "application/grpc", or one with a subtype */
	__u32 grpc_status;  /* whatever its value */
};

L7_CALLBACK long h2_refer_step(__u32 i, void *context)
{
	struct h2_referring *referring = context;
	struct hpack_table *table = referring->table;
	const struct hpack_entry *entry;
	const __u8 *text;

	if (i >= table->count)
		return 1;
	entry = hpack_entry_of(table, i + 1);
	if ((entry->tag & 255) == GRPC_STATUS && !referring->grpc_status)
		referring->grpc_status = H2_STATIC + 1 + i;
	if ((entry->tag & 255) != HTTP_CONTENT_TYPE || entry->value < 16 || referring->content_type)
		return 0;
	text = table->ring + L7_INDEX((__u32)entry->chunk, HPACK_RING) * HPACK_CHUNK + 12; /* behind the name */
	if (l7_load64(text) == HTTP_WORD("applicat") && l7_load64(text + 8) == HTTP_WORD("ion/grpc"))
		referring->content_type = H2_STATIC + 1 + i;
	return 0;
}

L7_INLINE __u32 h2_word8(__u8 *frame, __u32 at, __u32 byte)
{
	frame[L7_INDEX(at, 32)] = byte;
	return at + 1;
}

/* An index beyond a prefix of ones. */
L7_INLINE __u32 h2_word_index(__u8 *frame, __u32 at, __u32 pattern, __u32 prefix, __u32 index)
{
	if (index < prefix)
		return h2_word8(frame, at, pattern | index);
	at = h2_word8(frame, at, pattern | prefix);
	index -= prefix;
	if (index < 128)
		return h2_word8(frame, at, index);
	at = h2_word8(frame, at, (index & 127) | 128);
	return h2_word8(frame, at, index >> 7);
}

/* The block of a response without content that has a gRPC status, in eight bytes: what the server's last responses left in the
 * table makes it as short. 0 if they did not. */
L7_GLOBAL int h2_word_grpc(struct h2_connection *c, __u32 digits)
{
	struct h2_referring referring = {};
	__u32 at = 9;
	__u8 *frame;

	if (!c || !digits || c->tables.dynamic[L7_RESPONSE].owed)
		return 0;
	referring.table = &c->tables.dynamic[L7_RESPONSE];
	bpf_loop(HPACK_ENTRIES, h2_refer_step, &referring, 0);
	if (!referring.content_type || !referring.grpc_status)
		return 0;
	frame = c->answer_frame;
	at = h2_word8(frame, at, 0x80 | 8); /* :status 200 */
	at = h2_word_index(frame, at, 0x80, 127, referring.content_type);
	at = h2_word_index(frame, at, 0x10, 15, referring.grpc_status); /* the name; the value is never indexed */
	at = h2_word8(frame, at, digits & 255);
	at = h2_word8(frame, at, digits >> 8);
	if ((digits & 255) == 2)
		at = h2_word8(frame, at, digits >> 16);
	while (at < H2_PING_LENGTH) /* to fill it */
		at = h2_word8(frame, at, 0x80 | 54);
	return at == H2_PING_LENGTH;
}

/* The block of a response without content, with nothing but its status; to fill it, server with no value: padding is not
 * understood by all. An update of the table's size that the client waits for takes the place of that, or of a part. */
L7_INLINE void h2_word_status(struct h2_connection *c, __u32 status)
{
	__u32 owed = c->tables.dynamic[L7_RESPONSE].owed, size = owed - 1, at = 9;
	__u8 *frame = c->answer_frame;

	if (owed)
		at = h2_word_index(frame, at, 0x20, 31, size);
	at = h2_word8(frame, at, 0x08); /* :status, not indexed */
	at = h2_word8(frame, at, 3);
	at = h2_word8(frame, at, '0' + status / 100 % 10);
	at = h2_word8(frame, at, '0' + status / 10 % 10);
	at = h2_word8(frame, at, '0' + status % 10);
	for (int i = 0; i < 3 && at < H2_PING_LENGTH; i++)
		at = h2_word8(frame, at, 0x80 | 54); /* server, and no value */
}

/* The frame that the answer to the first question becomes: the head of a response that ends its stream; or a PING of the
 * server's own, which the client will answer. */
L7_INLINE void h2_word_answer(struct h2_connection *c)
{
	const struct h2_question *question = &c->questions[L7_INDEX(c->asked, H2_QUESTIONS)];
	__u32 status = question->status, stream = question->stream, grpc = question->grpc;
	__u8 *frame = c->answer_frame;

	__builtin_memset(frame, 0, sizeof c->answer_frame);
	frame[2] = 8;
	if (!stream) {
		frame[3] = HTTP2_TYPE_PING;
		frame[9] = H2_PING_TAG >> 8;
		frame[10] = H2_PING_TAG & 255;
		return;
	}
	frame[3] = HTTP2_TYPE_HEADERS;
	frame[4] = HTTP2_END_STREAM | HTTP2_END_HEADERS;
	frame[5] = stream >> 24;
	frame[6] = stream >> 16;
	frame[7] = stream >> 8;
	frame[8] = stream;
	if (!h2_word_grpc(c, grpc))
		h2_word_status(c, status);
}

/* Of the frame, bytes from done on, over what stands at a place of the segment, as far as it goes. */
L7_GLOBAL int h2_store_answer(struct __sk_buff *skb, struct h2_connection *c, __u32 place, __u32 done, __u32 room)
{
	__u32 left = H2_PING_LENGTH - done, before_last;

	if (!c || done >= H2_PING_LENGTH)
		return 0;
	if (left > room)
		left = room;
	c->answer_left = H2_PING_LENGTH - done - left;
	before_last = left - 1; /* verifiers up to 6.1 learn nothing of a comparison with 0 */
	barrier_var(before_last);
	if (before_last >= H2_PING_LENGTH)
		return 0;
	return bpf_skb_store_bytes(skb, place, c->answer_frame + L7_INDEX(done, 32), before_last + 1, 0);
}

/* A PING of the server begins, or goes on, at the window's start, done bytes of it having gone by as they were: those are the same
 * in what it becomes. Whether it answers us is plain if its payload is here; else if the client has none that waits. */
L7_GLOBAL int h2_amend_ping(struct __sk_buff *skb, struct l7_room *room, struct h2_connection *c, __u32 done)
{
	struct l7_window *window;
	__u32 at, shown;

	if (!room || !c)
		return 0;
	window = &room->window;
	at = window->start;
	shown = window->end - at;
	if (done + shown > 4 && !(l7_byte(window, at + 4 - done) & HTTP2_ACK))
		return 0;
	if (done + shown >= 11 ? h2_seen32(window, at + 9 - done) >> 16 != H2_PING_TAG : c->client_pings) {
		if (c->client_pings)
			c->client_pings--;
		return 0;
	}
	if (!c->pings)
		return 0;
	h2_word_answer(c);
	c->pings--;
	c->asked++;
	return h2_store_answer(skb, c, room->base + at, done, room->size - room->base - at);
}

/* Before the core is shown what begins here, if it is a frame. */
L7_INLINE void h2_amend(struct __sk_buff *skb, struct l7_room *room, struct h2_connection *c)
{
	struct http2_half *half = h2_half(c, L7_RESPONSE);
	struct l7_window *window = &room->window;
	__u32 at = window->start, done = half->got, shown = window->end - at;

	if (half->phase > HTTP2_HEADER || half->block || c->flows[L7_RESPONSE].remaining || done > 3 || c->answer_left)
		return;
	if (done + shown < 4)
		return;
	if (l7_byte(window, at + 3 - done) == HTTP2_TYPE_PING)
		h2_amend_ping(skb, room, c, done);
	else if (!done && shown >= 9 && l7_byte(window, at + 3) == HTTP2_TYPE_SETTINGS &&
		 !(l7_byte(window, at + 4) & HTTP2_ACK))
		h2_amend_settings(skb, room, c, h2_seen32(window, at) >> 8);
}

#endif
