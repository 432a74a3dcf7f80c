/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Header and trailer lines (RFC 9112 section 5). A line that lies whole in the window and whose value is short takes one step:
 * from name to value to the end of the line without a return. */
#ifndef EBPFMESH_L7_HTTP1_FIELD_H
#define EBPFMESH_L7_HTTP1_FIELD_H

#include "digest.h"
#include "keep.h"
#include "list.h"
#include "scan.h"
#include "state.h"

#define HTTP1_BIT(field) (1ull << (field))
#define HTTP1_OF_BOTH                                                                                                  \
	(HTTP1_BIT(HTTP_CONTENT_LENGTH) | HTTP1_BIT(HTTP_FRAMING) | HTTP1_BIT(HTTP_CONNECTION) |                       \
	 HTTP1_BIT(HTTP_UPGRADE) | HTTP1_BIT(HTTP_CONTENT_TYPE) | HTTP1_BIT(HTTP_TRACEPARENT) |                        \
	 0xffull << HTTP_REGISTERED)
#define HTTP1_OF_REQUESTS                                                                                              \
	(HTTP1_OF_BOTH | HTTP1_BIT(HTTP_HOST) | HTTP1_BIT(HTTP_USER_AGENT) | HTTP1_BIT(HTTP_AUTHORIZATION) |           \
	 HTTP1_BIT(HTTP_EXPECT))
#define HTTP1_OF_TRAILERS (HTTP1_BIT(HTTP_CONTENT_LENGTH) | HTTP1_BIT(HTTP_FRAMING) | 0xffull << HTTP_REGISTERED)

/* --- a value is complete -------------------------------------------------------------------------------------------- */

/* The value in the text, of eight bytes at most, in lower case. */
L7_INLINE __u64 http1_short_value(const struct http1_walk *walk)
{
	const struct http1_half *half = walk->half;

	return half->size > 8 ? 0 :
				http_low_bytes(l7_load64(http1_text(walk, half->value)) | HTTP1_EACH(0x20), half->size);
}

L7_INLINE long http1_connection_value(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u64 word = http1_short_value(walk);
	__u64 last = l7_load64(http1_text(walk, half->value + 2)) | HTTP1_EACH(0x20);

	if (half->size == 10 && last == HTTP_WORD("ep-alive") &&
	    ((l7_load64(http1_text(walk, half->value)) & 0xffff) | 0x2020) == ('k' | 'e' << 8))
		half->connection |= HTTP_KEEP_ALIVE;
	else if (word == HTTP_WORD("close\0\0\0"))
		half->connection |= HTTP_CLOSE;
	else if (word == HTTP_WORD("upgrade\0"))
		half->connection |= HTTP_UPGRADES;
	else if (half->size)
		return http1_list_begin(walk);
	half->back = 0;
	return 0;
}

L7_INLINE long http1_framing_value(struct http1_walk *walk)
{
	walk->half->seen |= HTTP1_SEEN_CODING;
	if (http1_short_value(walk) != HTTP_WORD("chunked\0"))
		return http1_list_begin(walk);
	walk->half->back = 0;
	return http1_add_coding(walk, HTTP1_CHUNKED_CODING);
}

L7_INLINE void http1_expect_value(struct http1_walk *walk)
{
	__u64 first = l7_load64(http1_text(walk, walk->half->value)) | HTTP1_EACH(0x20);
	__u64 last = l7_load64(http1_text(walk, walk->half->value + 4)) | HTTP1_EACH(0x20);

	if (walk->half->size == 12 && first == HTTP_WORD("100-cont") && last == HTTP_WORD("continue"))
		walk->half->connection |= HTTP_EXPECTS;
}

/* The value at hand, without white space at its end, becomes what its field makes of it. */
L7_INLINE long http1_value_complete(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	struct l7_record *record = walk->record;
	__u32 field = half->field;

	for (int i = 0; i < 8; i++) {
		if (!half->size || !http1_is_space(*http1_text(walk, half->value + half->size - 1)))
			break;
		half->size--;
	}
	if (half->size && http1_is_space(*http1_text(walk, half->value + half->size - 1)))
		return 0;
	if (http1_lists(walk))
		http1_stay(walk);
	if (field == HTTP_CONNECTION)
		return http1_connection_value(walk);
	if (field == HTTP_FRAMING)
		return http1_framing_value(walk);
	if (field == HTTP_CONTENT_LENGTH) {
		if (http1_allows(walk, HTTP1_ALLOW_EQUAL_LENGTHS))
			return http1_list_begin(walk);
		half->back = 0;
		return http1_content_length(walk, half->value, half->size);
	}
	half->back = 0;
	if (field == HTTP_EXPECT) {
		http1_expect_value(walk);
	} else if (field == HTTP_AUTHORIZATION) {
		if (!(record->present & 1u << HTTP_AUTHORIZATION))
			l7_set_number(record, HTTP_AUTHORIZATION, http1_digest_end(walk->state));
	} else if (field < L7_FIELDS && !(record->present & 1u << (field & 31))) {
		if (field == HTTP_UPGRADE)
			half->seen |= HTTP1_SEEN_UPGRADE;
		http1_keep_part(walk, field, 0, half->size);
		if (!http1_lists(walk))
			http1_stay(walk);
	}
	return 0;
}

/* --- a name is complete --------------------------------------------------------------------------------------------- */

/* What may come once, or not beside another. */
L7_INLINE __u32 http1_clash(const struct http1_walk *walk, __u32 field)
{
	const struct http1_half *half = walk->half;
	__u32 seen = half->seen;

	if (field == HTTP_CONTENT_LENGTH || field == HTTP_FRAMING) {
		if (seen & HTTP1_IN_TRAILERS)
			return HTTP1_BAD_TRAILER;
		if (field == HTTP_CONTENT_LENGTH && seen & HTTP1_SEEN_LENGTH &&
		    !http1_allows(walk, HTTP1_ALLOW_EQUAL_LENGTHS))
			return HTTP1_REPEATED_CONTENT_LENGTH;
		if (seen & (field == HTTP_FRAMING ? HTTP1_SEEN_LENGTH : HTTP1_SEEN_CODING) &&
		    !http1_allows(walk, HTTP1_ALLOW_LENGTH_AND_CODING))
			return HTTP1_LENGTH_AND_CODING;
	}
	if (field == HTTP_HOST && seen & HTTP1_SEEN_HOST)
		return HTTP1_REPEATED_HOST;
	return 0;
}

/* How the value of a field is read. */
L7_INLINE __u8 http1_way_of(const struct http1_walk *walk, __u32 field)
{
	struct l7_record *record = walk->record;

	if (field == HTTP_AUTHORIZATION) {
		if (!(record->present & 1u << HTTP_AUTHORIZATION))
			return HTTP1_DIGEST;
		record->repeated |= 1u << HTTP_AUTHORIZATION;
		return HTTP1_SKIP;
	}
	if (field == HTTP_HOST)
		return HTTP1_HOST_VALUE;
	if (field == HTTP_CONTENT_LENGTH || field == HTTP_FRAMING || field == HTTP_CONNECTION || field == HTTP_EXPECT)
		return HTTP1_VALUE;
	if (field < L7_FIELDS && record->present & 1u << field) {
		record->repeated |= 1u << field;
		field = HTTP_OTHER;
	}
	return field == HTTP_OTHER && !http1_lists(walk) ? HTTP1_SKIP : HTTP1_VALUE;
}

L7_INLINE __u64 http1_known_fields(const struct http1_walk *walk)
{
	return walk->half->seen & HTTP1_IN_TRAILERS ? HTTP1_OF_TRAILERS :
	       walk->window->direction		    ? HTTP1_OF_BOTH :
						      HTTP1_OF_REQUESTS;
}

/* The name is read, and which field it is. */
L7_INLINE long http1_field_begins(struct http1_walk *walk, __u32 field)
{
	struct http1_half *half = walk->half;
	__u32 clash = http1_clash(walk, field);

	if (clash)
		return http1_fail(walk, clash);
	if (field == HTTP_HOST)
		half->seen |= HTTP1_SEEN_HOST;
	half->field = field;
	half->back = http1_way_of(walk, field);
	if (half->back == HTTP1_DIGEST)
		http1_digest_begin(walk);
	half->size = 0;
	half->phase = HTTP1_VALUE_SPACE;
	return 0;
}

/* The name is in the text and ':' behind it is consumed. */
L7_INLINE long http1_name_complete(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u32 length = half->size;
	__u32 field = http_field_of_name(walk->config, walk->record, half->value, length);

	if (field < 64 && !(http1_known_fields(walk) >> field & 1))
		field = http_registered_field(walk->config, walk->record, half->value, length);
	if (http1_lists(walk)) {
		half->name = length;
		half->value += length;
	}
	return http1_field_begins(walk, field);
}

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

/* How many of 64 bytes may stand in a value, up to the first that may not; they are copied. */
L7_INLINE __u32 http1_copy_run(const __u8 *from, __u8 *to)
{
	for (__u32 k = 0; k < 64; k += 8) {
		__u64 word = l7_load64(from + k);

		l7_store64(to + k, word);
		if (http1_not_visible_or_space(word)) {
			__u64 stop = http1_not_value(word);

			if (stop)
				return k + http1_first(stop);
		}
	}
	return 64;
}

/* The same for a value that nobody asked for. */
L7_INLINE __u32 http1_skip_run(const __u8 *from)
{
	for (__u32 k = 0; k < 64; k += 8) {
		__u64 word = l7_load64(from + k);

		if (http1_not_visible_or_space(word)) {
			__u64 stop = http1_not_value(word);

			if (stop)
				return k + http1_first(stop);
		}
	}
	return 64;
}

/* Up to 64 bytes of a value that is kept, at least until it is complete. */
L7_INLINE long http1_value(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u32 n = http1_copy_run(http1_bytes(walk->window, half->at), http1_text(walk, half->value + half->size));

	half->size += n;
	half->at += n;
	if (half->size > HTTP1_LIST_LIMIT && (half->field == HTTP_CONTENT_LENGTH || half->field == HTTP_FRAMING ||
					      half->field == HTTP_CONNECTION || half->field == HTTP_EXPECT)) {
		half->at -= half->size - HTTP1_LIST_LIMIT;
		return http1_fail(walk, L7_TOO_LONG);
	}
	return n == 64 ? 0 : http1_value_stop(walk);
}

/* Up to 64 bytes of a value that is not kept. */
L7_INLINE long http1_skip(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u32 n = http1_skip_run(http1_bytes(walk->window, half->at));

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

/* A line of the usual form, name ':' SP value CR LF, with a name of up to 24 plain characters, at one blow. Returns 0 if it is
 * anything else, of which nothing is consumed; what the phases know how to do is left to them. */
L7_INLINE int http1_whole_line(struct http1_walk *walk)
{
	struct l7_window *window = walk->window;
	struct l7_record *record = walk->record;
	struct http1_half *half = walk->half;
	__u32 at = half->at, n, field;
	const __u8 *from = http1_bytes(window, at), *value;
	__u64 first = l7_load64(from), stop = http1_not_name(first), last = 0;
	__u8 ninth = from[8] | 0x20;

	if (stop) {
		n = http1_first(stop);
	} else {
		__u64 second = l7_load64(from + 8);

		stop = http1_not_name(second);
		if (stop) {
			n = 8 + http1_first(stop);
		} else {
			stop = http1_not_name(l7_load64(from + 16));
			if (!stop)
				return 0;
			n = 16 + http1_first(stop);
		}
		last = l7_load64(http1_bytes(window, at + n - 8)) | HTTP1_EACH(0x20);
	}
	if (!n)
		return 0;
	at += n;
	value = http1_bytes(window, at);
	if (value[0] != ':' || value[1] != ' ' || value[2] <= ' ' || walk->config->lengths >> n & 1)
		return 0;
	field = http_field_of_words(n, first | HTTP1_EACH(0x20), last, ninth);
	if (field < 64 && !(http1_known_fields(walk) >> field & 1))
		field = HTTP_OTHER;
	if (field != HTTP_OTHER) {
		half->value = record->used;
		half->at = at + 1;
		if (http1_field_begins(walk, field))
			return 1;
		half->at++;
		half->phase = half->back;
		return 1;
	}
	at += 2;
	n = http1_skip_run(http1_bytes(window, at));
	at += n;
	value = http1_bytes(window, at);
	if (n < 64 && value[0] == '\r' && value[1] == '\n') {
		half->at = at + 2;
		return 1;
	}
	half->at = at;
	half->field = HTTP_OTHER;
	half->back = HTTP1_SKIP;
	half->size = 0;
	half->phase = HTTP1_SKIP;
	return 1;
}

L7_INLINE long http1_field_step(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;

	if (half->phase == HTTP1_LINE) {
		if (!half->back && !(half->seen & HTTP1_CAREFUL) && http1_whole_line(walk)) {
			if (half->stop)
				return 1;
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
