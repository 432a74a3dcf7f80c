/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Scanning header and trailer lines (RFC 9112 section 5). A line that lies whole in the window and whose value is short takes
 * one step; anything else goes from phase to phase. */
#ifndef EBPFMESH_L7_HTTP1_LINE_H
#define EBPFMESH_L7_HTTP1_LINE_H

#include "digest.h"
#include "field.h"
#include "keep.h"
#include "list.h"
#include "scan.h"
#include "span.h"
#include "state.h"

/* --- scanning ------------------------------------------------------------------------------------------------------- */

/* Whether a value can be completed before the byte behind its line has come. */
L7_INLINE int http1_is_due(const struct http1_walk *walk, __u8 phase)
{
	return phase == HTTP1_LIST ||
	       (phase == HTTP1_LINE && walk->half->back && !http1_allows(walk, HTTP1_ALLOW_FOLDED_LINES));
}

/* The first byte of a line; zero behind the window's end, if http1_is_due(). */
L7_INLINE long http1_line(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;

	if (half->back && !(http1_is_space(c) && http1_allows(walk, HTTP1_ALLOW_FOLDED_LINES)))
		return http1_value_complete(walk);
	if (http1_is_space(c)) {
		if (!half->back)
			return http1_fail(walk, HTTP1_FOLDED_LINE);
		half->phase = half->size ? half->back : HTTP1_VALUE_SPACE;
		return 0;
	}
	if (c == '\r' || c == '\n') {
		if (http1_line_end(walk, c, HTTP1_HEAD_LF, HTTP1_START, 0))
			return 1;
		if (half->at < walk->window->end && *http1_bytes(walk->window, half->at) == '\n' && c == '\r') {
			half->at++;
			half->phase = HTTP1_START;
		}
		if (half->phase == HTTP1_START)
			half->stop = HTTP1_HEAD_READ;
		return half->stop;
	}
	half->seen |= half->seen & HTTP1_IN_TRAILERS ? HTTP1_TRAILERS_CAME : 0;
	half->name = 0;
	half->value = walk->record->used + (http1_lists(walk) ? sizeof(struct l7_header) : 0);
	half->size = 0;
	half->phase = HTTP1_NAME;
	return 0;
}

/* Up to 40 characters of a name, folded to lower case; the ':' behind it. */
L7_INLINE long http1_name(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	const __u8 *from = http1_bytes(walk->window, half->at);
	__u8 *to = http1_text(walk, half->value + half->size);
	__u32 n = 40;
	__u8 c;

	for (__u32 k = 0; k < 40; k += 8) {
		__u64 word = l7_load64(from + k), stop = http1_not_name(word);

		l7_store64(to + k, word | HTTP1_EACH(0x20));
		if (stop) {
			n = k + http1_first(stop);
			break;
		}
	}
	n = http1_any(half, n);
	half->size += n;
	half->at += n;
	if (n == 40 || half->at >= walk->window->end)
		return 0;
	c = *http1_bytes(walk->window, half->at);
	if (c == ':' && half->size) {
		half->at++;
		return http1_name_complete(walk);
	}
	if (http1_is_token(c)) {
		*http1_text(walk, half->value + half->size) = c;
		half->size++;
		half->at++;
		return 0;
	}
	if (!http1_is_space(c) || !half->size)
		return http1_fail(walk, HTTP1_BAD_NAME);
	if (!http1_allows(walk, HTTP1_ALLOW_SPACE_BEFORE_COLON))
		return http1_fail(walk, HTTP1_SPACE_BEFORE_COLON);
	half->phase = HTTP1_NAME_SPACE;
	return 0;
}

L7_INLINE long http1_name_space(struct http1_walk *walk, __u8 c)
{
	if (c != ':' && !http1_is_space(c))
		return http1_fail(walk, HTTP1_BAD_NAME);
	walk->half->at++;
	return c == ':' ? http1_name_complete(walk) : 0;
}

/* Behind a value: the usual CR LF at one blow. */
L7_INLINE long http1_value_stop(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	const __u8 *bytes = http1_bytes(walk->window, half->at);

	if (half->at >= walk->window->end)
		return 0;
	if (bytes[0] == '\r' && bytes[1] == '\n') {
		half->at += 2;
		half->phase = HTTP1_LINE;
		return 0;
	}
	return http1_value_end(walk, bytes[0]);
}

/* Up to 64 bytes of a value that is kept, at least until it is complete. */
L7_INLINE long http1_value(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u32 n = http1_copy_run(http1_bytes(walk->window, half->at), http1_text(walk, half->value + half->size));

	n = http1_any(half, n);
	half->size += n;
	half->at += n;
	if (half->size > HTTP1_LIST_LIMIT && (half->field == HTTP_CONTENT_LENGTH || half->field == HTTP_FRAMING ||
					      half->field == HTTP_CONNECTION || half->field == HTTP_EXPECT)) {
		if (half->size - HTTP1_LIST_LIMIT < n) /* else white space went over it before this run */
			n = half->size - HTTP1_LIST_LIMIT;
		half->at -= n;
		return http1_fail(walk, L7_TOO_LONG);
	}
	return n == 64 ? 0 : http1_value_stop(walk);
}

/* Up to 64 bytes of a value that is not kept. */
L7_INLINE long http1_skip(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u32 n = http1_any(half, http1_skip_run(http1_bytes(walk->window, half->at)));

	half->at += n;
	return n == 64 ? 0 : http1_value_stop(walk);
}

/* White space before a value. */
L7_INLINE void http1_value_space(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	const __u8 *bytes = http1_bytes(walk->window, half->at);

	if (half->at >= walk->window->end)
		return;
	if (http1_is_space(bytes[0])) {
		half->at++;
		if (half->at >= walk->window->end || http1_is_space(bytes[1]))
			return;
	}
	half->phase = half->back;
}

L7_INLINE long http1_head_feed(struct http1_walk *walk, __u8 c)
{
	if (http1_line_feed(walk, c, HTTP1_START))
		return 1;
	walk->half->stop = HTTP1_HEAD_READ;
	return 1;
}

/* A value that is kept as it is, or the host, of at most 64 bytes, or its first 64. 0: it is not as plain as that. */
L7_INLINE int http1_whole_value(struct http1_walk *walk, __u32 at, __u32 field)
{
	struct l7_record *record = walk->record;
	struct http1_half *half = walk->half;
	const __u8 *from = http1_bytes(walk->window, at), *end;
	__u32 used = record->used, n;
	__u8 *to = record->text + L7_INDEX(used, L7_TEXT);

	if (used + 64 > half->room)
		return 0;
	n = http1_any(half, field == HTTP_HOST ? http1_usual_host_run(from, to) : http1_copy_run(from, to));
	if (field == HTTP_HOST && n && n < 56 && *http1_bytes(walk->window, at + n) == ':')
		n += http1_any(half,
			       http1_usual_port_run(http1_bytes(walk->window, at + n), http1_text(walk, used + n)));
	end = http1_bytes(walk->window, at + n);
	if (n == 64 && field != HTTP_HOST) {
		half->value = used;
		half->size = n;
		half->at = at + n;
		half->field = field;
		half->back = HTTP1_VALUE;
		half->phase = HTTP1_VALUE;
		return 1;
	}
	if (n == 64 || end[0] != '\r' || end[1] != '\n' || *http1_bytes(walk->window, at + n - 1) <= ' ')
		return 0;
	record->fields[L7_INDEX(field, L7_FIELDS)].number = used | (__u64)n << 32;
	record->present |= 1u << (field & (L7_FIELDS - 1));
	record->used = used + n;
	half->at = at + n + 2;
	if (field == HTTP_TRACEPARENT)
		walk->state->traceparent = at;
	return 1;
}

/* Fields that http1_whole_value() may take. Which of them are known in a direction is asked before. */
#define HTTP1_PLAIN_FIELDS                                                                                             \
	(1u << HTTP_HOST | 1u << HTTP_UPGRADE | 1u << HTTP_CONTENT_TYPE | 1u << HTTP_USER_AGENT |                      \
	 1u << HTTP_TRACEPARENT)

/* The length of a name of up to 24 plain characters at an offset of the window, and which field it is by itself; 0 if it is
 * anything else. */
L7_INLINE __u32 http1_whole_name(struct http1_walk *walk, __u32 at, __u32 *field)
{
	const __u8 *from = http1_bytes(walk->window, at);
	__u64 first = l7_load64(from), stop = http1_not_name(first), last = 0;
	__u8 ninth = from[8] | 0x20;
	__u32 n;

	if (stop) {
		n = http1_first(stop);
	} else {
		stop = http1_not_name(l7_load64(from + 8));
		if (stop) {
			n = 8 + http1_first(stop);
		} else {
			stop = http1_not_name(l7_load64(from + 16));
			if (!stop)
				return 0;
			n = 16 + http1_first(stop);
		}
		n = http1_any(walk->half, n);
		last = l7_load64(http1_bytes(walk->window, at + n - 8)) | HTTP1_EACH(0x20);
	}
	*field = http1_any(walk->half, http_field_of_words(n, first | HTTP1_EACH(0x20), last, ninth));
	return n;
}

/* The value of a line that nobody asked for. */
L7_INLINE void http1_whole_skip(struct http1_walk *walk, __u32 at)
{
	struct http1_half *half = walk->half;
	__u32 n = http1_any(half, http1_skip_run(http1_bytes(walk->window, at)));
	const __u8 *end = http1_bytes(walk->window, at + n);

	half->at = at + n;
	if (n < 64 && end[0] == '\r' && end[1] == '\n') {
		half->at += 2;
		return;
	}
	half->field = HTTP_OTHER;
	half->back = HTTP1_SKIP;
	half->size = 0;
	half->phase = HTTP1_SKIP;
}

/* A Content-Length of one to eight digits at an offset of the window, the first of its head, with its CR LF. */
L7_INLINE int http1_usual_length(struct http1_walk *walk, __u32 at)
{
	struct http1_half *half = walk->half;
	__u64 word = l7_load64(http1_bytes(walk->window, at)), stop = http1_not_digit(word);
	__u32 n = http1_any(half, stop ? http1_first(stop) : 8);
	const __u8 *end = http1_bytes(walk->window, at + n);

	if (!n || end[0] != '\r' || end[1] != '\n' || half->seen & (HTTP1_SEEN_LENGTH | HTTP1_SEEN_CODING))
		return 0;
	half->length = http1_number(word, n);
	half->seen |= HTTP1_SEEN_LENGTH;
	half->at = at + n + 2;
	return 1;
}

/* "keep-alive" or "close" at an offset of the window, alone in its line. */
L7_INLINE int http1_usual_connection(struct http1_walk *walk, __u32 at)
{
	struct http1_half *half = walk->half;
	const __u8 *bytes = http1_bytes(walk->window, at);
	__u64 first = l7_load64(bytes) | 0x2020200020202020ull; /* letters are folded; a CR would become the '-' */
	__u64 behind = l7_load64(bytes + 8);

	if (first == HTTP_WORD("keep-ali") && ((behind | 0x2020) & 0xffffffff) == HTTP_WORD("ve\r\n\0\0\0\0")) {
		half->connection |= HTTP_KEEP_ALIVE;
		half->at = at + 12;
		return 1;
	}
	if ((first & 0xffffffffff) == HTTP_WORD("close\0\0\0") && bytes[5] == '\r' && bytes[6] == '\n') {
		half->connection |= HTTP_CLOSE;
		half->at = at + 7;
		return 1;
	}
	return 0;
}

/* A line of the usual form, name ':' SP value CR LF, at one blow. Returns 0 if it is anything else, of which nothing is
 * consumed; what the phases know how to do is left to them. */
L7_INLINE int http1_whole_line(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u32 field = HTTP_OTHER, at = half->at, n = http1_whole_name(walk, at, &field);
	const __u8 *behind = http1_bytes(walk->window, at + n);

	if (!n || behind[0] != ':' || behind[1] != ' ' || behind[2] <= ' ' || walk->config->lengths >> n & 1)
		return 0;
	at += n;
	if (field >= 64 || !((walk->window->direction ? HTTP1_OF_BOTH : HTTP1_OF_REQUESTS) >> field & 1)) {
		http1_whole_skip(walk, at + 2);
		return 1;
	}
	if (field < L7_FIELDS && HTTP1_PLAIN_FIELDS & 1u << field && !http1_came(walk->record, field) &&
	    !(field == HTTP_HOST && half->seen & HTTP1_SEEN_HOST) && http1_whole_value(walk, at + 2, field)) {
		half->seen |= field == HTTP_HOST ? HTTP1_SEEN_HOST : field == HTTP_UPGRADE ? HTTP1_SEEN_UPGRADE : 0;
		return 1;
	}
	if ((field == HTTP_CONTENT_LENGTH && http1_usual_length(walk, at + 2)) ||
	    (field == HTTP_CONNECTION && http1_usual_connection(walk, at + 2)))
		return 1;
	half->value = walk->record->used;
	half->at = at + 1; /* where a clash is told */
	if (http1_field_begins(walk, field))
		return 1;
	half->at++;
	half->phase = half->back;
	return 1;
}

/* Behind a whole line: the empty one that ends the head, if it is there. */
L7_INLINE long http1_head_ends(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	const __u8 *bytes = http1_bytes(walk->window, half->at);

	if (bytes[0] != '\r' || bytes[1] != '\n')
		return 0;
	half->at += 2;
	half->phase = HTTP1_START;
	half->stop = HTTP1_HEAD_READ;
	return 1;
}

L7_INLINE long http1_field_step(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;

	if (half->phase == HTTP1_LINE) {
		if (!half->back && !(half->seen & (HTTP1_CAREFUL | HTTP1_IN_TRAILERS)) && http1_whole_line(walk)) {
			if (half->stop)
				return 1;
			if (half->phase == HTTP1_LINE)
				return http1_head_ends(walk);
			if (half->phase != HTTP1_VALUE)
				return 0;
			return http1_value(walk);
		}
		if (http1_line(walk, c))
			return 1;
		if (half->phase != HTTP1_NAME)
			return 0;
	}
	if (half->phase == HTTP1_NAME) {
		if (http1_name(walk))
			return 1;
		if (half->phase != HTTP1_VALUE_SPACE)
			return 0;
	}
	if (half->phase == HTTP1_VALUE_SPACE)
		http1_value_space(walk);
	if (half->phase == HTTP1_SKIP)
		return http1_skip(walk);
	if (half->phase == HTTP1_VALUE)
		return http1_value(walk);
	switch (half->phase) {
	case HTTP1_NAME_SPACE:
		return http1_name_space(walk, c);
	case HTTP1_VALUE_LF:
		return http1_line_feed(walk, c, HTTP1_LINE);
	case HTTP1_DIGEST:
		return http1_digest_step(walk);
	case HTTP1_LIST:
		return http1_list_step(walk);
	case HTTP1_HEAD_LF:
		return http1_head_feed(walk, c);
	}
	return 0;
}

#endif
