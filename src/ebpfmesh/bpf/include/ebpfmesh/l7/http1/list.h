/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Values that decide about framing and persistence, once they are complete in the text: Content-Length, and the lists of
 * Connection and Transfer-Encoding. */
#ifndef EBPFMESH_L7_HTTP1_LIST_H
#define EBPFMESH_L7_HTTP1_LIST_H

#include "keep.h"
#include "scan.h"
#include "state.h"

struct http1_length {
	struct http1_walk *walk;
	__u64 number;
	__u32 at;
	__u32 count;
	__u32 bad;
};

/* One digit. Not a loop in C: 6.1 refuses one that clang closes without a jump. */
L7_CALLBACK long http1_length_step(__u32 i, void *context)
{
	struct http1_length *length = context;
	__u8 c;

	if (i >= length->count)
		return 1;
	c = *http1_text(length->walk, length->at + i);
	if (!http1_is_digit(c)) {
		length->bad = 1;
		return 1;
	}
	length->number = length->number * 10 + (c - '0');
	return 0;
}

/* A Content-Length, or one of several that are equal (RFC 9110 section 8.6): digits only. */
L7_INLINE long http1_content_length(struct http1_walk *walk, __u32 at, __u32 count)
{
	struct http1_half *half = walk->half;
	struct http1_length length = { .walk = walk, .at = at, .count = count };
	__u64 number;

	if (!count || count > 19)
		return http1_fail(walk, HTTP1_BAD_CONTENT_LENGTH);
	l7_loop(19, http1_length_step, &length);
	if (length.bad)
		return http1_fail(walk, HTTP1_BAD_CONTENT_LENGTH);
	number = length.number;
	if (number >> 63)
		return http1_fail(walk, HTTP1_BAD_CONTENT_LENGTH);
	if (half->seen & HTTP1_SEEN_LENGTH && number != half->length)
		return http1_fail(walk, HTTP1_REPEATED_CONTENT_LENGTH);
	half->seen |= HTTP1_SEEN_LENGTH;
	half->length = number;
	return 0;
}

/* The characters of an element, the last eight in low; upper case is folded. */
L7_INLINE __u32 http1_connection_option(__u64 high, __u64 low, __u32 count)
{
	if (count == 5 && low == __builtin_bswap64(HTTP_WORD("\0\0\0close")))
		return HTTP_CLOSE;
	if (count == 7 && low == __builtin_bswap64(HTTP_WORD("\0upgrade")))
		return HTTP_UPGRADES;
	if (count == 10 && low == __builtin_bswap64(HTTP_WORD("ep-alive")) &&
	    high == __builtin_bswap64(HTTP_WORD("\0\0\0\0\0\0ke")))
		return HTTP_KEEP_ALIVE;
	return 0;
}

enum http1_coding { HTTP1_UNKNOWN_CODING, HTTP1_CHUNKED_CODING, HTTP1_OTHER_CODING };

/* Codings of RFC 9112 section 7.2. Any other is refused: who does not know it cannot tell where such a body ends. */
L7_INLINE int http1_coding_of(__u64 high, __u64 low, __u32 count)
{
	if (count == 7 && low == __builtin_bswap64(HTTP_WORD("\0chunked")))
		return HTTP1_CHUNKED_CODING;
	if ((count == 4 && low == __builtin_bswap64(HTTP_WORD("\0\0\0\0gzip"))) ||
	    (count == 6 && low == __builtin_bswap64(HTTP_WORD("\0\0x-gzip"))) ||
	    (count == 7 && low == __builtin_bswap64(HTTP_WORD("\0deflate"))) ||
	    (count == 8 && low == __builtin_bswap64(HTTP_WORD("compress"))) ||
	    (count == 10 && low == __builtin_bswap64(HTTP_WORD("compress")) &&
	     high == __builtin_bswap64(HTTP_WORD("\0\0\0\0\0\0x-"))))
		return HTTP1_OTHER_CODING;
	return HTTP1_UNKNOWN_CODING;
}

/* RFC 9112 section 6.1: chunked is applied once, and last. */
L7_INLINE long http1_add_coding(struct http1_walk *walk, int coding)
{
	struct http1_half *half = walk->half;

	if (!http1_allows(walk, HTTP1_ALLOW_ANY_CODING | HTTP1_ALLOW_LENGTH_AND_CODING) &&
	    (coding == HTTP1_UNKNOWN_CODING || half->seen & HTTP1_SEEN_CHUNKED))
		return http1_fail(walk, HTTP1_BAD_TRANSFER_ENCODING);
	half->seen =
		coding == HTTP1_CHUNKED_CODING ? half->seen | HTTP1_SEEN_CHUNKED : half->seen & ~HTTP1_SEEN_CHUNKED;
	return 0;
}

L7_INLINE void http1_element_begin(struct http1_list *list)
{
	list->high = 0;
	list->low = 0;
	list->count = 0;
	list->spaced = 0;
	list->start = list->at;
}

L7_INLINE long http1_element_end(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	struct http1_list *list = &walk->state->list;
	int coding;

	if (half->field == HTTP_CONNECTION) {
		if (!(list->spaced & 2))
			half->connection |= http1_connection_option(list->high, list->low, list->count);
		return 0;
	}
	if (half->field == HTTP_CONTENT_LENGTH) {
		if (list->spaced & 2)
			return http1_fail(walk, HTTP1_BAD_CONTENT_LENGTH);
		return http1_content_length(walk, half->value + list->start, list->count);
	}
	coding = list->spaced & 2 ? HTTP1_UNKNOWN_CODING : http1_coding_of(list->high, list->low, list->count);
	return http1_add_coding(walk, coding);
}

/* One character of the list; no byte of the window. A list is short: these few steps are not worth a second scanner. */
L7_INLINE long http1_list_step(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	struct http1_list *list = &walk->state->list;
	__u8 c;

	if (list->at >= half->size) {
		half->back = 0;
		half->phase = HTTP1_LINE;
		return http1_element_end(walk);
	}
	c = *http1_text(walk, half->value + list->at);
	list->at++;
	if (c == ',') {
		if (http1_element_end(walk))
			return 1;
		http1_element_begin(list);
	} else if (!http1_is_space(c)) {
		/* an element of two words is none that we know: it keeps the mark */
		list->spaced |= list->spaced << 1;
		list->high = list->high << 8 | list->low >> 56;
		list->low = list->low << 8 | ((__u8)(c - 'A') < 26 ? c | 0x20 : c);
		list->count++;
	} else if (!list->count) {
		list->start = list->at;
	} else {
		list->spaced |= 1;
	}
	return 0;
}

L7_INLINE long http1_list_begin(struct http1_walk *walk)
{
	walk->state->list.at = 0;
	http1_element_begin(&walk->state->list);
	walk->half->phase = HTTP1_LIST;
	return 0;
}

#endif
