/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Chunk lines and the line break behind a chunk's data (RFC 9112 section 7.1). The data itself is passed unseen. */
#ifndef EBPFMESH_L7_HTTP1_CHUNK_H
#define EBPFMESH_L7_HTTP1_CHUNK_H

#include "scan.h"
#include "state.h"

/* The line of a chunk is complete: what follows is its data or, if it is the last, the trailers. */
L7_INLINE long http1_chunk_line(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;

	if (half->length) {
		half->phase = HTTP1_DATA_CR;
		half->stop = HTTP1_CHUNK_READ;
		return 1;
	}
	half->seen |= HTTP1_IN_TRAILERS;
	half->back = 0;
	l7_begin(walk->record);
	half->phase = HTTP1_LINE;
	return 0;
}

L7_INLINE long http1_chunk_line_end(struct http1_walk *walk, __u8 c, __u32 otherwise)
{
	if (http1_line_end(walk, c, HTTP1_CHUNK_LF, HTTP1_LINE, otherwise))
		return 1;
	return walk->half->phase == HTTP1_LINE ? http1_chunk_line(walk) : 0;
}

/* Up to eight digits of the size. */
L7_INLINE long http1_chunk_size(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	const __u8 *bytes = http1_bytes(walk->window, half->at);
	__u64 length = half->length;
	__u32 n = 0;
	__u8 c = 0;

	for (; n < 8; n++) {
		__u8 digit, letter;

		c = bytes[n];
		digit = c - '0';
		letter = (c | 0x20) - 'a';
		if ((digit > 9 && letter > 5) || length >> 56)
			break;
		length = length << 4 | (digit > 9 ? letter + 10 : digit);
	}
	half->length = length;
	half->at += n;
	if (n)
		half->phase = HTTP1_CHUNK_SIZE;
	if (n == 8 || half->at >= walk->window->end)
		return 0;
	if (half->phase == HTTP1_CHUNK_SIZE && c == ';') {
		half->at++;
		half->phase = HTTP1_EXTENSION_FIRST;
		return 0;
	}
	if (half->phase == HTTP1_CHUNK_SIZE && http1_is_space(c) &&
	    http1_allows(walk, HTTP1_ALLOW_SPACE_AFTER_CHUNK_SIZE)) {
		half->phase = HTTP1_CHUNK_SPACE;
		return 0;
	}
	if (half->phase != HTTP1_CHUNK_SIZE)
		return http1_fail(walk, HTTP1_BAD_CHUNK_SIZE);
	return http1_chunk_line_end(walk, c, HTTP1_BAD_CHUNK_SIZE);
}

/* ";name", ";name=value" or ';name="value"', a character at a time; none is kept. */
L7_INLINE long http1_extension(struct http1_walk *walk, __u8 phase, __u8 c)
{
	struct http1_half *half = walk->half;
	int quotable = c == '\t' || (c >= ' ' && c != 0x7f);
	__u8 next = phase;

	switch (phase) {
	case HTTP1_EXTENSION_QUOTED:
		if (!quotable)
			return http1_fail(walk, HTTP1_BAD_CHUNK_EXTENSION);
		next = c == '"' ? HTTP1_EXTENSION_QUOTED_END : c == '\\' ? HTTP1_EXTENSION_ESCAPE : phase;
		break;
	case HTTP1_EXTENSION_ESCAPE:
		if (!quotable)
			return http1_fail(walk, HTTP1_BAD_CHUNK_EXTENSION);
		next = HTTP1_EXTENSION_QUOTED;
		break;
	case HTTP1_EXTENSION_FIRST:
	case HTTP1_EXTENSION_VALUE_FIRST:
		if (c == '"' && phase == HTTP1_EXTENSION_VALUE_FIRST)
			next = HTTP1_EXTENSION_QUOTED;
		else if (http1_is_token(c))
			next = phase + 1 == HTTP1_EXTENSION_NAME ? HTTP1_EXTENSION_NAME : HTTP1_EXTENSION_VALUE;
		else
			return http1_fail(walk, HTTP1_BAD_CHUNK_EXTENSION);
		break;
	default: /* a name, a value, or the end of a quoted one */
		if (c == ';')
			next = HTTP1_EXTENSION_FIRST;
		else if (c == '=' && phase == HTTP1_EXTENSION_NAME)
			next = HTTP1_EXTENSION_VALUE_FIRST;
		else if (phase == HTTP1_EXTENSION_QUOTED_END || !http1_is_token(c))
			return http1_chunk_line_end(walk, c, HTTP1_BAD_CHUNK_EXTENSION);
		break;
	}
	half->phase = next;
	half->at++;
	return 0;
}

L7_INLINE long http1_chunk_space(struct http1_walk *walk, __u8 c)
{
	if (!http1_is_space(c))
		return http1_chunk_line_end(walk, c, HTTP1_BAD_CHUNK_SIZE);
	walk->half->at++;
	return 0;
}

/* Behind the data of a chunk. */
L7_INLINE long http1_data_end(struct http1_walk *walk, __u8 phase, __u8 c)
{
	struct http1_half *half = walk->half;

	half->length = 0;
	half->head = 0;
	if (phase == HTTP1_DATA_LF) {
		if (c == '\n') {
			half->at++;
			half->phase = HTTP1_CHUNK_FIRST;
			return 0;
		}
		half->phase = HTTP1_CHUNK_FIRST;
		return http1_allows(walk, HTTP1_ALLOW_BARE_CR) ? 0 : http1_fail(walk, HTTP1_BARE_CR);
	}
	if (c == '\r' || (c == '\n' && http1_allows(walk, HTTP1_ALLOW_BARE_LF))) {
		half->at++;
		half->phase = c == '\r' ? HTTP1_DATA_LF : HTTP1_CHUNK_FIRST;
		return 0;
	}
	half->phase = HTTP1_CHUNK_FIRST;
	return http1_allows(walk, HTTP1_ALLOW_NO_CRLF_AFTER_CHUNK) ? 0 : http1_fail(walk, HTTP1_BAD_CHUNK_END);
}

L7_INLINE long http1_chunk_step(struct http1_walk *walk, __u8 phase, __u8 c)
{
	switch (phase) {
	case HTTP1_CHUNK_FIRST:
	case HTTP1_CHUNK_SIZE:
		return http1_chunk_size(walk);
	case HTTP1_CHUNK_SPACE:
		return http1_chunk_space(walk, c);
	case HTTP1_DATA_CR:
	case HTTP1_DATA_LF:
		return http1_data_end(walk, phase, c);
	case HTTP1_CHUNK_LF:
		return http1_line_feed(walk, c, HTTP1_LINE) ? 1 : http1_chunk_line(walk);
	default:
		return http1_extension(walk, phase, c);
	}
}

#endif
