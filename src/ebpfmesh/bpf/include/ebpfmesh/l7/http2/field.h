/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The headers of a head, one by one, as HPACK decodes them: which field each is, and whether it may be there (RFC 9113
 * sections 8.2 and 8.3). hpack.h calls http2_tag() for a name that it has not seen, and http2_field() for each header. */
#ifndef EBPFMESH_L7_HTTP2_FIELD_H
#define EBPFMESH_L7_HTTP2_FIELD_H

#include "digest.h"
#include "frame.h"

/* Of a tag; its low byte is enum http_field or enum http_name. */
enum http2_tag_flag {
	HTTP2_TAG_PSEUDO = 0x100,
	HTTP2_TAG_BAD = 0x200, /* no name */
	HTTP2_TAG_KNOWN =
		0x400, /* of one use, not of the name: its characters were looked at when it entered a table */
};

enum http2_head_flag {
	HTTP2_HEAD_LENGTH = 1,	   /* content-length came */
	HTTP2_HEAD_HOST = 2,	   /* host came */
	HTTP2_HEAD_REGULAR = 4,	   /* a header that is none of the pseudo-headers came */
	HTTP2_HEAD_HEAD = 8,	   /* :method is HEAD */
	HTTP2_HEAD_CONNECT = 16,   /* or CONNECT */
	HTTP2_HEAD_OPTIONS = 32,   /* or OPTIONS */
	HTTP2_HEAD_WEB = 64,	   /* :scheme is http or https */
	HTTP2_HEAD_MESSAGES = 128, /* content-type is that of gRPC */
	HTTP2_HEAD_GET = 256,	   /* :method is GET */
};

#define HTTP2_BIT(field) (1u << (field))
#define HTTP2_REQUEST_PSEUDO                                                                                           \
	(HTTP2_BIT(HTTP_METHOD) | HTTP2_BIT(HTTP_TARGET) | HTTP2_BIT(HTTP_HOST) | HTTP2_BIT(HTTP_SCHEME) |             \
	 HTTP2_BIT(HTTP_PROTOCOL))

/* By index of the static table: 1 + the field that a name is, so that nothing is compared; 0: by its name. */
static const __u8 http2_static_fields[64] = {
	[1] = 1 + HTTP_HOST,
	[2 ... 3] = 1 + HTTP_METHOD,
	[4 ... 5] = 1 + HTTP_TARGET,
	[6 ... 7] = 1 + HTTP_SCHEME,
	[8 ... 14] = 1 + HTTP_STATUS,
	[23] = 1 + HTTP_AUTHORIZATION,
	[28] = 1 + HTTP_CONTENT_LENGTH,
	[31] = 1 + HTTP_CONTENT_TYPE,
	[35] = 1 + HTTP_EXPECT,
	[38] = 1 + HTTP_HOST,
	[57] = 1 + HTTP_FRAMING,
	[58] = 1 + HTTP_USER_AGENT,
};

#define HTTP2_STATIC_PSEUDO 14 /* up to here the static table's names are pseudo-headers */

/* A name's tag. Index is that of the static table, or 0. */
L7_INLINE __u32 http2_tag(struct l7_config *config, struct l7_record *record, __u32 index, __u32 at, __u32 length)
{
	__u32 field = http2_static_fields[L7_INDEX(index, 64)];
	__u32 pseudo, tag;

	if (field)
		return (field - 1) | (index <= HTTP2_STATIC_PSEUDO ? HTTP2_TAG_PSEUDO : 0);
	pseudo = length && http2_text_byte(record, at) == ':';
	tag = http_field_of_name(config, record, at, length) & 255;
	if (!index && (tag == HTTP_OTHER || (tag >= HTTP_REGISTERED && tag < HTTP_REGISTERED + L7_NAMES)) &&
	    !http2_is_token(record, at + pseudo, length - pseudo, HTTP2_NAME))
		tag |= HTTP2_TAG_BAD;
	return pseudo ? tag | HTTP2_TAG_PSEUDO : tag;
}

/* A field of the record is this text. The first one stays. */
L7_INLINE int http2_keep(struct l7_record *record, __u32 field, __u32 at, __u32 length)
{
	__u32 bit = 1u << (field & (L7_FIELDS - 1));
	union l7_value *value = &record->fields[L7_INDEX(field, L7_FIELDS)];

	if (record->present & bit) {
		record->repeated |= bit;
		return 0;
	}
	record->present |= bit;
	value->offset = at;
	value->length = length;
	return 1;
}

L7_INLINE void http2_keep_number(struct l7_record *record, __u32 field, __u64 number)
{
	__u32 bit = 1u << (field & (L7_FIELDS - 1));

	if (record->present & bit)
		record->repeated |= bit;
	else
		l7_set_number(record, field, number);
}

/* --- pseudo-headers --------------------------------------------------------------------------------------------------- */

L7_INLINE int http2_method(struct http2_head *head, struct l7_record *record)
{
	__u64 word = http_low_bytes(http2_text_word(record, head->value_at), head->value_length);

	if (!(head->tag & HTTP2_TAG_KNOWN) && !http2_is_token(record, head->value_at, head->value_length, HTTP2_TOKEN))
		return -HTTP2_FIELD_VALUE;
	if (head->value_length == 3 && word == HTTP_WORD("GET\0\0\0\0\0"))
		head->flags |= HTTP2_HEAD_GET;
	if (head->value_length == 4 && word == HTTP_WORD("HEAD\0\0\0\0"))
		head->flags |= HTTP2_HEAD_HEAD;
	if (head->value_length == 7 && word == HTTP_WORD("CONNECT\0"))
		head->flags |= HTTP2_HEAD_CONNECT;
	if (head->value_length == 7 && word == HTTP_WORD("OPTIONS\0"))
		head->flags |= HTTP2_HEAD_OPTIONS;
	return http2_keep(record, HTTP_METHOD, head->value_at, head->value_length);
}

L7_INLINE int http2_status(struct http2_head *head, struct l7_record *record)
{
	__u64 status = 0;

	if (head->value_length != 3 || !http2_decimal(record, head->value_at, 3, &status) || status < 100)
		return -HTTP2_STATUS_CODE;
	head->status = status;
	l7_set_number(record, HTTP_STATUS, status);
	return 0;
}

L7_INLINE int http2_path(struct http2_head *head, struct l7_record *record)
{
	__u32 path = http2_before(record, head->value_at, head->value_length, '?');

	head->path_at = head->value_at;
	head->path_length = head->value_length;
	http2_keep(record, HTTP_TARGET, head->value_at, head->value_length);
	return http2_keep(record, HTTP_PATH, head->value_at, path);
}

L7_INLINE int http2_scheme(struct http2_head *head, struct l7_record *record)
{
	__u64 word = http_low_bytes(http2_text_word(record, head->value_at), head->value_length);

	if (!head->value_length)
		return -HTTP2_FIELD_VALUE;
	if ((head->value_length == 4 && http2_lower(word) == HTTP_WORD("http\0\0\0\0")) ||
	    (head->value_length == 5 && http2_lower(word) == HTTP_WORD("https\0\0\0")))
		head->flags |= HTTP2_HEAD_WEB;
	return http2_keep(record, HTTP_SCHEME, head->value_at, head->value_length);
}

L7_INLINE int http2_authority(struct http2_head *head, struct l7_record *record)
{
	if (http2_before(record, head->value_at, head->value_length, '@') < head->value_length)
		return -HTTP2_AUTHORITY;
	return http2_keep(record, HTTP_HOST, head->value_at, head->value_length);
}

L7_INLINE int http2_pseudo(struct http2_head *head, struct l7_record *record, __u32 field)
{
	__u32 allowed = head->kind == HTTP_REQUEST || head->kind == HTTP_PUSH ? HTTP2_REQUEST_PSEUDO :
			head->kind == HTTP_TRAILERS			      ? 0 :
			head->direction == L7_RESPONSE			      ? HTTP2_BIT(HTTP_STATUS) :
										0;

	if (!head->kind && head->direction == L7_REQUEST) /* it was opened long ago, or skipped */
		return -HTTP2_STREAM_STATE;
	if (field >= L7_FIELDS || !(allowed >> field & 1))
		return -HTTP2_PSEUDO_UNKNOWN;
	if (head->flags & HTTP2_HEAD_REGULAR)
		return -HTTP2_PSEUDO_ORDER;
	if (head->pseudo >> field & 1)
		return -HTTP2_PSEUDO_REPEATED;
	head->pseudo |= HTTP2_BIT(field);
	if (!(head->tag & HTTP2_TAG_KNOWN) && !http2_is_clean(record, head->value_at, head->value_length, '!'))
		return -HTTP2_FIELD_VALUE;
	switch (field) {
	case HTTP_METHOD:
		return http2_method(head, record);
	case HTTP_STATUS:
		return http2_status(head, record);
	case HTTP_TARGET:
		return http2_path(head, record);
	case HTTP_SCHEME:
		return http2_scheme(head, record);
	case HTTP_HOST:
		return http2_authority(head, record);
	}
	return http2_keep(record, HTTP_PROTOCOL, head->value_at, head->value_length);
}

/* --- regular headers -------------------------------------------------------------------------------------------------- */

/* host: what :authority said, if it came; else it is the field itself. */
L7_INLINE int http2_host(struct http2_head *head, struct l7_record *record)
{
	union l7_value authority = record->fields[HTTP_HOST];

	if (head->flags & HTTP2_HEAD_HOST)
		return -HTTP2_AUTHORITY;
	head->flags |= HTTP2_HEAD_HOST;
	if (!(record->present >> HTTP_HOST & 1)) {
		if (!http2_is_clean(record, head->value_at, head->value_length, '!'))
			return -HTTP2_FIELD_VALUE;
		return http2_authority(head, record);
	}
	if (authority.length != head->value_length ||
	    !http2_same(record, authority.offset, head->value_at, head->value_length))
		return -HTTP2_AUTHORITY;
	return 0;
}

L7_INLINE int http2_content_length(struct http2_head *head, struct l7_record *record)
{
	if (head->flags & HTTP2_HEAD_LENGTH ||
	    !http2_decimal(record, head->value_at, head->value_length, &head->length))
		return -HTTP2_CONTENT_LENGTH_FORM;
	head->flags |= HTTP2_HEAD_LENGTH;
	l7_set_number(record, HTTP_CONTENT_LENGTH, head->length);
	return 0;
}

/* application/grpc, with +proto, ;charset… or nothing behind it; not application/grpc-web. */
L7_INLINE int http2_content_type(struct http2_head *head, struct l7_record *record)
{
	__u32 at = head->value_at;
	__u8 behind = http2_text_byte(record, at + 16);

	if (head->value_length >= 16 && http2_lower(http2_text_word(record, at)) == HTTP_WORD("applicat") &&
	    http2_lower(http2_text_word(record, at + 8)) == HTTP_WORD("ion/grpc") &&
	    (head->value_length == 16 || behind == '+' || behind == ';'))
		head->flags |= HTTP2_HEAD_MESSAGES;
	return http2_keep(record, HTTP_CONTENT_TYPE, head->value_at, head->value_length);
}

/* grpc-timeout: up to eight digits and a unit. One that is none is left out: servers then know of no deadline. What exceeds
 * 64 bits of nanoseconds is their maximum. */
L7_INLINE int http2_timeout(struct http2_head *head, struct l7_record *record)
{
	__u32 digits = head->value_length - 1;
	__u64 number = 0, unit = 0;

	if (digits > 8 || !http2_decimal(record, head->value_at, digits, &number))
		return 0;
	switch (http2_text_byte(record, head->value_at + digits)) {
	case 'H':
		unit = 3600000000000ull;
		break;
	case 'M':
		unit = 60000000000ull;
		break;
	case 'S':
		unit = 1000000000ull;
		break;
	case 'm':
		unit = 1000000;
		break;
	case 'u':
		unit = 1000;
		break;
	case 'n':
		unit = 1;
		break;
	}
	if (unit == 3600000000000ull && number > ~0ull / 3600000000000ull)
		http2_keep_number(record, GRPC_TIMEOUT, ~0ull);
	else if (unit)
		http2_keep_number(record, GRPC_TIMEOUT, number * unit);
	return 0;
}

L7_INLINE int http2_regular(struct l7_config *config, struct http2_head *head, struct l7_record *record, __u32 field)
{
	__u32 trailers = head->kind == HTTP_TRAILERS;
	__u64 number = 0;

	switch (field) {
	case HTTP_CONNECTION:
	case HTTP_UPGRADE:
	case HTTP_FRAMING:
	case HTTP_KEEP_ALIVE_NAME:
	case HTTP_PROXY_CONNECTION:
		return -HTTP2_CONNECTION_HEADER;
	case HTTP_TE:
		if (head->value_length != 8 ||
		    http2_lower(http2_text_word(record, head->value_at)) != HTTP_WORD("trailers"))
			return -HTTP2_CONNECTION_HEADER;
		return 0;
	case HTTP_HOST:
		return trailers || head->kind == HTTP_RESPONSE ? 0 : http2_host(head, record);
	case HTTP_CONTENT_LENGTH:
		return trailers ? 0 : http2_content_length(head, record);
	case HTTP_CONTENT_TYPE:
		return trailers ? 0 : http2_content_type(head, record);
	case HTTP_AUTHORIZATION:
		if (trailers)
			return 0;
		number = http2_digest(config, record, head->value_at, head->value_length);
		http2_keep_number(record, HTTP_AUTHORIZATION, number);
		return 0;
	case GRPC_TIMEOUT:
		return trailers ? 0 : http2_timeout(head, record);
	case GRPC_STATUS:
		if (http2_decimal(record, head->value_at, head->value_length, &number))
			http2_keep_number(record, GRPC_STATUS, number);
		return 0;
	case HTTP_USER_AGENT:
	case HTTP_TRACEPARENT:
	case GRPC_ENCODING:
		return trailers ? 0 : http2_keep(record, field, head->value_at, head->value_length);
	case GRPC_STATUS_MESSAGE:
		return http2_keep(record, field, head->value_at, head->value_length);
	}
	if (field >= HTTP_REGISTERED && field < HTTP_REGISTERED + L7_NAMES)
		return http2_keep(record, field, head->value_at, head->value_length);
	return 0;
}

/* What a regular header may have: no control characters, and no white space at its ends. */
L7_INLINE int http2_is_value(struct l7_record *record, __u32 at, __u32 length)
{
	if (!http2_is_clean(record, at, length, ' '))
		return 0;
	return !length || (!http2_is_blank(http2_text_byte(record, at)) &&
			   !http2_is_blank(http2_text_byte(record, at + length - 1)));
}

/* The header that head describes: 0 if its text need not stay, 1 if it must, or a code, negated. */
L7_GLOBAL int http2_field(struct l7_config *config, struct http2_head *head, struct l7_record *record)
{
	__u32 at, length;

	if (!config || !head || !record)
		return -L7_BAD_CALL;
	at = head->value_at;
	length = head->value_length;
	if (head->tag & HTTP2_TAG_BAD)
		return -HTTP2_FIELD_NAME;
	if (head->tag & HTTP2_TAG_PSEUDO)
		return http2_pseudo(head, record, head->tag & 255);
	head->flags |= HTTP2_HEAD_REGULAR;
	if (!(head->tag & HTTP2_TAG_KNOWN) && !http2_is_value(record, at, length))
		return -HTTP2_FIELD_VALUE;
	return http2_regular(config, head, record, head->tag & 255);
}

/* Hands a header to http2_field(), which takes few arguments. */
L7_INLINE int http2_hand(struct l7_config *config, struct http2_head *head, struct l7_record *record, __u32 tag,
			 __u32 name_at, __u32 name_length, __u32 value_length)
{
	head->tag = tag;
	head->value_at = name_at + name_length;
	head->value_length = value_length;
	return http2_field(config, head, record);
}

#define HPACK_HEAD struct http2_head
#define HPACK_TAG(walk, index, at, length) http2_tag((walk)->config, (walk)->record, index, at, length)
#define HPACK_FIELD(walk, tag, name_at, name_length, value_at, value_length)                                           \
	http2_hand((walk)->config, (walk)->head, (walk)->record, (tag) | ((walk)->known ? HTTP2_TAG_KNOWN : 0),        \
		   name_at, name_length, value_length)

#endif
