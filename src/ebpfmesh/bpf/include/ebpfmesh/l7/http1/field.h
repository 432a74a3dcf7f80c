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
	} else if (field < L7_FIELDS && !http1_came(record, field)) {
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
	if (field < L7_FIELDS && http1_came(record, field)) {
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

#endif
