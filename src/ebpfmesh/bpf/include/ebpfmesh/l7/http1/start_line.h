/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The request line and the status line (RFC 9112 sections 3 and 4). */
#ifndef EBPFMESH_L7_HTTP1_START_LINE_H
#define EBPFMESH_L7_HTTP1_START_LINE_H

#include "keep.h"
#include "scan.h"
#include "span.h"
#include "state.h"

/* A method of one to seven plain characters and the '/' of an origin-form, which nearly every request has. */
L7_INLINE void http1_usual_request(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	struct l7_record *record = walk->record;
	const __u8 *from = http1_bytes(walk->window, half->at);
	__u64 word = l7_load64(from), stop = http1_not_name(word);
	__u32 n = stop ? http1_first(stop) : 8;

	if (!n || n > 7 || (word >> (n * 8 & 63) & 0xff) != ' ' ||
	    http1_bytes(walk->window, half->at + n + 1)[0] != '/')
		return;
	word = http_low_bytes(word, n);
	if (word == HTTP_WORD("CONNECT\0") || word == HTTP_WORD("PRI\0\0\0\0\0"))
		return;
	if (word == HTTP_WORD("HEAD\0\0\0\0"))
		half->seen |= HTTP1_TO_HEAD;
	l7_store64(record->text, word);
	record->fields[HTTP_METHOD].number = (__u64)n << 32;
	record->present = 1u << HTTP_METHOD;
	record->used = n;
	half->value = n;
	half->mark = 0;
	half->at += n + 1;
	half->phase = HTTP1_TARGET_PATH;
}

/* "HTTP/1.1 200 OK", of any three digits and with a reason of less than 64 plain characters or none, and CR LF. */
L7_INLINE void http1_usual_response(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	const __u8 *from = http1_bytes(walk->window, half->at), *end;
	__u64 next = l7_load64(from + 8);
	__u32 a = (next >> 8 & 0xff) - '0', b = (next >> 16 & 0xff) - '0', c = (next >> 24 & 0xff) - '0', n;

	if (l7_load64(from) != HTTP_WORD("HTTP/1.1") || (next & 0xff000000ff) != (' ' | (__u64)' ' << 32) ||
	    a - 1 > 8 || b > 9 || c > 9)
		return;
	n = 13 + http1_any(half, http1_skip_run(http1_bytes(walk->window, half->at + 13)));
	end = http1_bytes(walk->window, half->at + n);
	if (end[0] != '\r' || end[1] != '\n')
		return;
	half->at += n + 2;
	half->mark = a * 100 + b * 10 + c;
	l7_set_number(walk->record, HTTP_STATUS, half->mark);
	l7_set_number(walk->record, HTTP_VERSION, 11);
	half->phase = HTTP1_LINE;
}

/* The first byte behind a message, or of a connection. */
L7_INLINE long http1_start(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;
	int response = walk->window->direction == L7_RESPONSE;

	if (!response && walk->state->awaited) {
		half->stop = HTTP1_UNDECIDED_BYTES;
		return 1;
	}
	if (!response && (c == '\r' || c == '\n')) {
		if (half->index++ >= HTTP1_EMPTY_LINE_LIMIT)
			return http1_fail(walk, HTTP1_EMPTY_LINES);
		return http1_line_end(walk, c, HTTP1_START_LF, HTTP1_START, 0);
	}
	if (half->last)
		return http1_fail(walk, HTTP1_DATA_AFTER_CLOSE);
	half->seen = http1_lists(walk) || http1_allows(walk, HTTP1_ALLOW_FOLDED_LINES) ? HTTP1_CAREFUL : 0;
	half->connection = 0;
	half->index = 0;
	half->back = 0;
	half->length = 0;
	l7_begin(walk->record);
	if (response) {
		half->phase = HTTP1_VERSION_PHASE;
		http1_usual_response(walk);
		return 0;
	}
	http1_open(walk);
	half->phase = HTTP1_METHOD_PHASE;
	http1_usual_request(walk);
	return 0;
}

L7_INLINE long http1_method_end(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u64 word = http_low_bytes(l7_load64(http1_text(walk, half->value)), half->size);

	if (!half->size)
		return http1_fail(walk, HTTP1_BAD_METHOD);
	if (half->size == 3 && word == HTTP_WORD("PRI\0\0\0\0\0"))
		return http1_fail(walk, HTTP1_IS_HTTP2);
	if (half->size == 4 && word == HTTP_WORD("HEAD\0\0\0\0"))
		half->seen |= HTTP1_TO_HEAD;
	if (half->size == 7 && word == HTTP_WORD("CONNECT\0"))
		half->seen |= HTTP1_TO_CONNECT;
	if ((half->size == 7 && word == HTTP_WORD("OPTIONS\0")) || (half->size == 8 && word == HTTP_WORD("M-SEARCH")))
		half->seen |= HTTP1_TO_OPTIONS;
	http1_keep(walk, HTTP_METHOD);
	http1_open(walk);
	half->at++;
	half->mark = 0;
	half->phase = HTTP1_TARGET_FIRST;
	return 0;
}

/* Up to eight characters of the method. */
L7_INLINE long http1_method(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u64 word = l7_load64(http1_bytes(walk->window, half->at));
	__u64 stop = http1_not_name(word);
	__u32 n = stop ? http1_first(stop) : 8;
	__u8 c;

	l7_store64(http1_text(walk, half->value + half->size), word);
	half->size += n;
	half->at += n;
	if (!stop || half->at >= walk->window->end)
		return 0;
	c = word >> (n * 8 & 63);
	if (c == ' ')
		return http1_method_end(walk);
	if (!http1_is_token(c))
		return http1_fail(walk, c == '\r' && !half->size ? HTTP1_BARE_CR : HTTP1_BAD_METHOD);
	half->size++; /* it was stored with its word */
	half->at++;
	return 0;
}

/* What the target begins with says which of the four forms it has (section 3.2). */
L7_INLINE long http1_target_first(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;
	__u8 letter = (c | 0x20) - 'a';

	if (half->seen & HTTP1_TO_CONNECT)
		half->phase = HTTP1_TARGET_CONNECT;
	else if (c == '/' || (c == '*' && half->seen & HTTP1_TO_OPTIONS))
		half->phase = HTTP1_TARGET_PATH;
	else if (letter < 26)
		half->phase = HTTP1_TARGET_SCHEME;
	else
		return http1_fail(walk, HTTP1_BAD_TARGET);
	return 0;
}

/* The scheme of an absolute-form, and the "://" behind it: a character at a time, there are few. */
L7_INLINE long http1_target_scheme(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;
	__u8 letter = (c | 0x20) - 'a';

	*http1_text(walk, half->value + half->size) = c;
	half->size++;
	half->at++;
	if (half->phase == HTTP1_TARGET_SCHEME) {
		if (c == ':') {
			http1_keep_part(walk, HTTP_SCHEME, 0, half->size - 1);
			half->phase = HTTP1_TARGET_SLASHES;
		} else if (letter >= 26 && !http1_is_digit(c) && c != '+' && c != '-' && c != '.') {
			return http1_fail(walk, HTTP1_BAD_TARGET);
		}
		return 0;
	}
	if (c != '/')
		return http1_fail(walk, HTTP1_BAD_TARGET);
	if (half->mark++) {
		half->mark = half->size;
		half->phase = HTTP1_TARGET_AUTHORITY;
	}
	return 0;
}

/* "HTTP/1.0" or "HTTP/1.1", of which index characters are matched. */
L7_INLINE long http1_version(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;
	__u32 index = half->index & 7;
	int lenient = http1_allows(walk, HTTP1_ALLOW_ANY_VERSION) && http1_is_digit(c);

	if (index == 5)
		half->mark = c - '0';
	if (index == 7 ? !(c == '0' || c == '1' || lenient) :
			 c != (__u8)(HTTP_WORD("HTTP/1.\0") >> (index * 8)) && !(index == 5 && lenient))
		return http1_fail(walk, HTTP1_BAD_VERSION);
	half->at++;
	half->index = index + 1;
	if (index == 7) {
		__u32 version = half->mark * 10 + c - '0';

		if (version < 11)
			half->seen |= HTTP1_VERSION_0;
		l7_set_number(walk->record, HTTP_VERSION, version);
		half->index = 0;
		half->mark = 0;
		half->phase = walk->window->direction ? HTTP1_STATUS_PHASE : HTTP1_VERSION_END;
	}
	return 0;
}

/* " 200 ", of which index characters are matched; the last space may be missing if no reason follows. */
L7_INLINE long http1_status(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;
	__u32 index = half->index;

	if (index == 4 && c != ' ') {
		half->phase = HTTP1_REASON;
		if (c != '\r' && c != '\n')
			return http1_fail(walk, HTTP1_BAD_STATUS);
		return 0;
	}
	if (index == 0 || index == 4 ? c != ' ' : !http1_is_digit(c))
		return http1_fail(walk, index ? HTTP1_BAD_STATUS : HTTP1_BAD_VERSION);
	half->at++;
	half->index++;
	if (index == 4) {
		half->phase = HTTP1_REASON;
	} else if (index) {
		half->mark = half->mark * 10 + c - '0';
		if (index == 1 && c == '0')
			return http1_fail(walk, HTTP1_BAD_STATUS);
		if (index == 3)
			l7_set_number(walk->record, HTTP_STATUS, half->mark);
	}
	return 0;
}

/* Up to eight characters of the reason phrase, which is not kept. */
L7_INLINE long http1_reason(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u64 word = l7_load64(http1_bytes(walk->window, half->at));
	__u64 stop = http1_not_value(word);
	__u32 n = stop ? http1_first(stop) : 8;

	half->at += n;
	if (!stop || half->at >= walk->window->end)
		return 0;
	return http1_line_end(walk, word >> (n * 8 & 63), HTTP1_START_LINE_LF, HTTP1_LINE, HTTP1_BAD_VALUE);
}

/* The common endings of a start line at one blow; 1 if it is one. */
L7_INLINE int http1_version_at_once(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	const __u8 *bytes = http1_bytes(walk->window, half->at);
	__u64 word = l7_load64(bytes), next = l7_load64(bytes + 8);
	__u32 one = word == HTTP_WORD("HTTP/1.1");

	if (half->index || half->at + 16 > walk->window->end || (!one && word != HTTP_WORD("HTTP/1.0")))
		return 0;
	if (walk->window->direction == L7_REQUEST) {
		if ((next & 0xffff) != ('\r' | '\n' << 8))
			return 0;
		half->at += 10;
		half->phase = HTTP1_LINE;
	} else {
		__u32 a = (next >> 8 & 0xff) - '0', b = (next >> 16 & 0xff) - '0', c = (next >> 24 & 0xff) - '0';

		if ((next & 0xff000000ff) != (' ' | (__u64)' ' << 32) || a - 1 > 8 || b > 9 || c > 9)
			return 0;
		half->at += 13;
		half->mark = a * 100 + b * 10 + c;
		l7_set_number(walk->record, HTTP_STATUS, half->mark);
		half->phase = HTTP1_REASON;
	}
	if (!one)
		half->seen |= HTTP1_VERSION_0;
	l7_set_number(walk->record, HTTP_VERSION, 10 + one);
	return 1;
}

L7_INLINE long http1_start_line_step(struct http1_walk *walk, __u8 phase, __u8 c)
{
	switch (phase) {
	case HTTP1_START:
		return http1_start(walk, c);
	case HTTP1_START_LF:
		return http1_line_feed(walk, c, HTTP1_START);
	case HTTP1_METHOD_PHASE:
		return http1_method(walk);
	case HTTP1_TARGET_FIRST:
		return http1_target_first(walk, c);
	case HTTP1_TARGET_SCHEME:
	case HTTP1_TARGET_SLASHES:
		return http1_target_scheme(walk, c);
	case HTTP1_VERSION_PHASE:
		return http1_version_at_once(walk) ? 0 : http1_version(walk, c);
	case HTTP1_VERSION_END:
		return http1_line_end(walk, c, HTTP1_START_LINE_LF, HTTP1_LINE, HTTP1_BAD_VERSION);
	case HTTP1_STATUS_PHASE:
		return http1_status(walk, c);
	case HTTP1_REASON:
		return http1_reason(walk);
	default:
		return http1_line_feed(walk, c, HTTP1_LINE);
	}
}

#endif
