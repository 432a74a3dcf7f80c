/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Frames of ours (RFC 9113 section 6), one behind the other in room, from where they are copied into a message. */
#ifndef EBPFMESH_HTTP2_TIER_FRAMES_H
#define EBPFMESH_HTTP2_TIER_FRAMES_H

#include "../reply/reply.h"
#include "connection.h"

#define H2_NO_ERROR 0
#define H2_PROTOCOL_ERROR 1

/* In the payload of a PING that stands for a refused request, before the status and the stream. */
#define H2_PING_TAG 0xeb6fu
#define H2_PING_LENGTH 17

L7_INLINE void h2_put8(struct h2_connection *c, __u32 byte)
{
	__u32 at = c->out;

	barrier_var(at);
	if (at < H2_OUT)
		c->room[H2_OUT_AT + at] = byte;
	c->out = at + 1;
}

L7_INLINE void h2_put16(struct h2_connection *c, __u32 number)
{
	h2_put8(c, number >> 8);
	h2_put8(c, number);
}

L7_INLINE void h2_put32(struct h2_connection *c, __u32 number)
{
	h2_put16(c, number >> 16);
	h2_put16(c, number);
}

/* The nine bytes before a payload. */
L7_GLOBAL int h2_put_header(struct h2_connection *c, __u32 length, __u32 type, __u32 flags, __u32 stream)
{
	if (!c)
		return 0;
	h2_put8(c, length >> 16);
	h2_put16(c, length);
	h2_put8(c, type);
	h2_put8(c, flags);
	h2_put32(c, stream);
	return 0;
}

L7_INLINE void h2_put_window_update(struct h2_connection *c, __u32 stream, __u32 bytes)
{
	h2_put_header(c, 4, HTTP2_TYPE_WINDOW_UPDATE, 0, stream);
	h2_put32(c, bytes);
}

L7_INLINE void h2_put_goaway(struct h2_connection *c, __u32 last, __u32 code)
{
	h2_put_header(c, 8, HTTP2_TYPE_GOAWAY, 0, 0);
	h2_put32(c, last);
	h2_put32(c, code);
}

/* SETTINGS with HEADER_TABLE_SIZE = 0. */
L7_INLINE void h2_put_settings(struct h2_connection *c)
{
	h2_put_header(c, 6, HTTP2_TYPE_SETTINGS, 0, 0);
	h2_put16(c, HTTP_TABLE_SIZE);
	h2_put32(c, 0);
}

L7_INLINE void h2_put_ping(struct h2_connection *c, __u32 status, __u32 stream)
{
	h2_put_header(c, 8, HTTP2_TYPE_PING, 0, 0);
	h2_put16(c, H2_PING_TAG);
	h2_put16(c, status);
	h2_put32(c, stream);
}

/* A piece of a reply's text. */
L7_INLINE void h2_put_text(struct h2_connection *c, const struct l7_reply *reply, __u32 from, __u32 length)
{
	__u32 at = c->out;

	barrier_var(at);
	barrier_var(from);
	barrier_var(length);
	if (at > H2_OUT - L7_REPLY_TEXT || from > L7_REPLY_TEXT)
		return;
	if (length > L7_REPLY_TEXT - from)
		return;
	barrier_var(length);
	if (length > L7_REPLY_TEXT)
		return;
	bpf_probe_read_kernel(c->room + H2_OUT_AT + at, length, reply->text + from);
	c->out = at + length;
}

/* The seconds after which a client may try again, at least 1: digits from the right, at a place of room. */
L7_INLINE void h2_put_retry(struct h2_connection *c, __u32 place, __u64 nanoseconds)
{
	__u64 seconds = (nanoseconds + 999999999) / 1000000000;

	if (!seconds)
		seconds = 1;
	barrier_var(place);
	if (place > H2_OUT - L7_RETRY_DIGITS)
		return;
	for (int i = L7_RETRY_DIGITS - 1; i >= 0; i--) {
		c->room[H2_OUT_AT + place + i] = '0' + seconds % 10;
		seconds /= 10;
	}
}

/* A size update that the client's decoder waits for: the server has acknowledged a smaller table, and has sent no block since
 * (RFC 7541 section 4.2). The server's own update comes with its next block, and may come twice. Returns its length. */
L7_INLINE __u32 h2_put_size(struct h2_connection *c)
{
	__u32 owed = c->tables.dynamic[L7_RESPONSE].owed, size = owed - 1;

	if (!owed)
		return 0;
	if (size < 31) {
		h2_put8(c, 0x20 | size);
		return 1;
	}
	size -= 31;
	h2_put8(c, 0x3f);
	h2_put8(c, (size & 127) | 128);
	h2_put8(c, size >> 7 & 127);
	return 3;
}

/* The reply that is due: HEADERS that end the stream. Never DATA: the client would take it out of the connection's window, of which
 * the server, who does not know, would then fill more than there is. 0 if there is no such reply. */
L7_GLOBAL int h2_put_reply(struct h2_connection *c)
{
	__u32 at, head, size, start, stream;
	struct l7_reply *reply;

	if (!c)
		return 0;
	stream = c->answer.stream;
	reply = l7_element(&l7_replies, c->answer.reply);
	if (!reply || !reply->length)
		return 0;
	head = reply->head;
	if (head > L7_REPLY_TEXT)
		return 0;
	start = c->out;
	h2_put_header(c, head, HTTP2_TYPE_HEADERS, HTTP2_END_HEADERS | HTTP2_END_STREAM, stream);
	size = h2_put_size(c);
	if (size) { /* the header again, with the length that it has by now */
		at = c->out;
		c->out = start;
		h2_put_header(c, head + size, HTTP2_TYPE_HEADERS, HTTP2_END_HEADERS | HTTP2_END_STREAM, stream);
		c->out = at;
	}
	at = c->out;
	h2_put_text(c, reply, 0, head);
	if (reply->retry)
		h2_put_retry(c, at + reply->retry, c->answer.retry_after);
	return 1;
}

#endif
