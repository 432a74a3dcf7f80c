/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What HTTP/1 and HTTP/2 share: kinds of records, fields by number, and which header is which field (RFC 9110). A policy
 * that reads fields need not know which of the two a request came by. */
#ifndef EBPFMESH_L7_HTTP_H
#define EBPFMESH_L7_HTTP_H

#include "../parser.h"

enum http_kind {
	HTTP_REQUEST = 1,  /* the head of a request */
	HTTP_RESPONSE = 2, /* the head of a final response */
	HTTP_INTERIM = 3,  /* the head of a 1xx response: the final one is still to come */
	HTTP_TRAILERS = 4, /* the trailer section; the message ends with it */
	HTTP_END = 5,	   /* the message ends here, without trailers and later than its head or last data */
	HTTP_RESET = 6,	   /* HTTP/2: a stream is reset; HTTP_CODE */
	HTTP_GOAWAY = 7,   /* HTTP/2: HTTP_CODE, HTTP_LAST_STREAM */
	HTTP_SETTINGS = 8, /* HTTP/2: HTTP_TABLE_SIZE … as far as present; an acknowledgement has HTTP_ACK */
	HTTP_PUSH = 9,	   /* HTTP/2: PUSH_PROMISE; stream is the one it came on, HTTP_PROMISED the new one */
	HTTP_FLOOD = 10,   /* HTTP/2: HTTP_FLOOD_KIND frames came at a rate no client needs; HTTP_FLOOD_COUNT of them */
	HTTP_UPGRADED = 11, /* HTTP/1: the connection now speaks another protocol (101, or CONNECT and 2xx) */
	GRPC_MESSAGE = 16,  /* a message begins: GRPC_LENGTH, GRPC_COMPRESSED; its bytes may span DATA frames */
};

enum http_field {
	HTTP_METHOD = 0,
	HTTP_TARGET = 1, /* as it was sent; :path in HTTP/2 */
	HTTP_PATH = 2,	 /* the target without query and without scheme and authority; "*" for OPTIONS */
	HTTP_HOST = 3,	 /* the authority of the target, else Host; :authority, else host, in HTTP/2 */
	HTTP_SCHEME = 4,
	HTTP_VERSION = 5,	 /* number: 10, 11, 20 */
	HTTP_STATUS = 6,	 /* number */
	HTTP_CONTENT_LENGTH = 7, /* number */
	HTTP_FRAMING = 8,	 /* number: enum http_framing */
	HTTP_CONNECTION = 9,	 /* number: bits of enum http_connection */
	HTTP_UPGRADE = 10,
	HTTP_CONTENT_TYPE = 11,
	HTTP_USER_AGENT = 12,
	HTTP_TRACEPARENT = 13,
	HTTP_AUTHORIZATION = 14,  /* number: SipHash-2-4 of the value under config.key; the value itself is not kept */
	HTTP_PROTOCOL = 15,	  /* :protocol of an extended CONNECT (RFC 8441) */
	GRPC_TIMEOUT = 16,	  /* number: nanoseconds */
	GRPC_STATUS = 17,	  /* number */
	GRPC_STATUS_MESSAGE = 18, /* still percent-encoded */
	GRPC_ENCODING = 19,
	HTTP_REGISTERED = 20, /* to 27: the names that the user registered, in their order */
	/* the fields of records that are no head have numbers of their own */
	HTTP_CODE = 0,
	HTTP_LAST_STREAM = 1,
	HTTP_PROMISED = 28,  /* beside the fields of the promised request */
	HTTP_FLOOD_KIND = 3, /* the frame's type */
	HTTP_FLOOD_COUNT = 4,
	GRPC_LENGTH = 0,
	GRPC_COMPRESSED = 1,
	GRPC_ORDINAL = 2, /* the message's number in its direction of the stream, from 1 on */
	HTTP_ACK = 0,	  /* HTTP_SETTINGS: field n is the setting n of RFC 9113 section 6.5.2 */
	HTTP_TABLE_SIZE = 1,
	HTTP_ENABLE_PUSH = 2,
	HTTP_MAX_STREAMS = 3,
	HTTP_INITIAL_WINDOW = 4,
	HTTP_MAX_FRAME = 5,
	HTTP_MAX_LIST = 6,
	HTTP_EXTENDED_CONNECT = 8, /* RFC 8441 */
	HTTP_NO_PRIORITIES = 9,	   /* RFC 9218 */
};

enum http_framing {
	HTTP_NO_BODY = 0,
	HTTP_BY_LENGTH = 1,
	HTTP_CHUNKED = 2,
	HTTP_TO_CLOSE = 3,
};

enum http_connection {
	HTTP_CLOSE = 1,	     /* Connection: close */
	HTTP_KEEP_ALIVE = 2, /* Connection: keep-alive */
	HTTP_UPGRADES = 4,   /* Connection: upgrade, with an Upgrade header */
	HTTP_EXPECTS = 8,    /* Expect: 100-continue */
	HTTP_PERSISTS = 16,  /* the connection stays open after this message (RFC 9112 section 9.3) */
};

/* --- which header is which field -------------------------------------------------------------------------------------- */

/* Headers that decide something but are no field by this number, and all that are none. Transfer-Encoding is found as
 * HTTP_FRAMING, grpc-message as GRPC_STATUS_MESSAGE. */
enum http_name {
	HTTP_EXPECT = 32,
	HTTP_TE = 33,
	HTTP_KEEP_ALIVE_NAME = 34,
	HTTP_PROXY_CONNECTION = 35,
	HTTP_OTHER = 255,
};

/* The eight bytes of a text, as l7_load64 gives them; a shorter text is padded with zeroes, as in "host\0\0\0\0". */
#define HTTP_WORD(text)                                                                                                \
	((__u64)(__u8)(text)[0] | (__u64)(__u8)(text)[1] << 8 | (__u64)(__u8)(text)[2] << 16 |                         \
	 (__u64)(__u8)(text)[3] << 24 | (__u64)(__u8)(text)[4] << 32 | (__u64)(__u8)(text)[5] << 40 |                  \
	 (__u64)(__u8)(text)[6] << 48 | (__u64)(__u8)(text)[7] << 56)

/* Of a word whose first n bytes count (n < 8, or all), those bytes. */
L7_INLINE __u64 http_low_bytes(__u64 word, __u32 n)
{
	return n >= 8 ? word : word & ((1ull << (n * 8 & 63)) - 1);
}

/* A name of less than eight characters; the word holds nothing else. */
L7_INLINE int http_field_of_short_name(__u64 word)
{
	if (word == HTTP_WORD("host\0\0\0\0"))
		return HTTP_HOST;
	if (word == HTTP_WORD("expect\0\0"))
		return HTTP_EXPECT;
	if (word == HTTP_WORD("upgrade\0"))
		return HTTP_UPGRADE;
	if (word == HTTP_WORD("te\0\0\0\0\0\0"))
		return HTTP_TE;
	if (word == HTTP_WORD(":path\0\0\0"))
		return HTTP_TARGET;
	if (word == HTTP_WORD(":method\0"))
		return HTTP_METHOD;
	if (word == HTTP_WORD(":scheme\0"))
		return HTTP_SCHEME;
	if (word == HTTP_WORD(":status\0"))
		return HTTP_STATUS;
	return HTTP_OTHER;
}

/* A name of 9 to 12 characters: its first eight and its last eight. */
L7_INLINE int http_field_of_medium_name(__u32 length, __u64 first, __u64 last)
{
	if (length == 9 && first == HTTP_WORD(":protoco") && last == HTTP_WORD("protocol"))
		return HTTP_PROTOCOL;
	if (length == 10) {
		if (first == HTTP_WORD("connecti") && last == HTTP_WORD("nnection"))
			return HTTP_CONNECTION;
		if (first == HTTP_WORD("user-age") && last == HTTP_WORD("er-agent"))
			return HTTP_USER_AGENT;
		if (first == HTTP_WORD(":authori") && last == HTTP_WORD("uthority"))
			return HTTP_HOST;
		if (first == HTTP_WORD("keep-ali") && last == HTTP_WORD("ep-alive"))
			return HTTP_KEEP_ALIVE_NAME;
	}
	if (length == 11) {
		if (first == HTTP_WORD("tracepar") && last == HTTP_WORD("ceparent"))
			return HTTP_TRACEPARENT;
		if (first == HTTP_WORD("grpc-sta") && last == HTTP_WORD("c-status"))
			return GRPC_STATUS;
	}
	if (length == 12) {
		if (first == HTTP_WORD("content-") && last == HTTP_WORD("ent-type"))
			return HTTP_CONTENT_TYPE;
		if (first == HTTP_WORD("grpc-tim") && last == HTTP_WORD("-timeout"))
			return GRPC_TIMEOUT;
		if (first == HTTP_WORD("grpc-mes") && last == HTTP_WORD("-message"))
			return GRPC_STATUS_MESSAGE;
	}
	return HTTP_OTHER;
}

/* A name of 13 to 17 characters: its first eight, its last eight, and the character between them. */
L7_INLINE int http_field_of_long_name(__u32 length, __u64 first, __u64 last, __u8 ninth)
{
	if (length == 13) {
		if (first == HTTP_WORD("authoriz") && last == HTTP_WORD("rization"))
			return HTTP_AUTHORIZATION;
		if (first == HTTP_WORD("grpc-enc") && last == HTTP_WORD("encoding"))
			return GRPC_ENCODING;
	}
	if (length == 14 && first == HTTP_WORD("content-") && last == HTTP_WORD("t-length"))
		return HTTP_CONTENT_LENGTH;
	if (length == 16 && first == HTTP_WORD("proxy-co") && last == HTTP_WORD("nnection"))
		return HTTP_PROXY_CONNECTION;
	if (length == 17 && first == HTTP_WORD("transfer") && last == HTTP_WORD("encoding") && ninth == '-')
		return HTTP_FRAMING;
	return HTTP_OTHER;
}

/* Any name, by its first eight characters, its last eight if it has more than eight, and its ninth; all lower case. */
L7_INLINE int http_field_of_words(__u32 length, __u64 first, __u64 last, __u8 ninth)
{
	if (length < 8)
		return http_field_of_short_name(http_low_bytes(first, length));
	if (length == 8 || length > 17)
		return HTTP_OTHER;
	return length <= 12 ? http_field_of_medium_name(length, first, last) :
			      http_field_of_long_name(length, first, last, ninth);
}

/* A name that the user registered, if it is one: all eight are compared with the same five words of text. */
L7_INLINE int http_registered_name(const struct l7_config *config, const __u8 *name, __u32 length)
{
	__u64 a = http_low_bytes(l7_load64(name), length);
	__u64 b = length > 8 ? http_low_bytes(l7_load64(name + 8), length - 8) : 0;
	__u64 c = length > 16 ? http_low_bytes(l7_load64(name + 16), length - 16) : 0;
	__u64 d = length > 24 ? http_low_bytes(l7_load64(name + 24), length - 24) : 0;
	__u64 e = length > 32 ? http_low_bytes(l7_load64(name + 32), length - 32) : 0;

	for (__u32 i = 0; i < L7_NAMES; i++) {
		const struct l7_name *known = &config->names[i];

		if (known->length == length && !((l7_load64(known->text) ^ a) | (l7_load64(known->text + 8) ^ b) |
						 (l7_load64(known->text + 16) ^ c) | (l7_load64(known->text + 24) ^ d) |
						 (l7_load64(known->text + 32) ^ e)))
			return HTTP_REGISTERED + i;
	}
	return HTTP_OTHER;
}

/* The field (enum http_field), or enum http_name, of the header whose name, in lower case, lies in the record's text at an
 * offset. A name that is both a field and registered is the field: registering it changes nothing. */
L7_GLOBAL __attribute__((unused)) int http_field_of_name(struct l7_config *config, struct l7_record *record, __u32 at,
							 __u32 length)
{
	const __u8 *name;
	int field;

	if (!config || !record || !length || length > L7_NAME_LENGTH)
		return HTTP_OTHER;
	name = record->text + L7_INDEX(at, L7_TEXT);
	field = http_field_of_words(length, l7_load64(name),
				    l7_load64(record->text + L7_INDEX(at + length - 8, L7_TEXT)), name[8]);
	if (field == HTTP_OTHER && config->lengths >> length & 1)
		field = http_registered_name(config, name, length);
	return field;
}

/* The registered name alone, for a header that is no field where it was found: HTTP_REGISTERED on, or HTTP_OTHER. */
L7_GLOBAL __attribute__((unused)) int http_registered_field(struct l7_config *config, struct l7_record *record,
							    __u32 at, __u32 length)
{
	if (!config || !record || !length || length > L7_NAME_LENGTH || !(config->lengths >> length & 1))
		return HTTP_OTHER;
	return http_registered_name(config, record->text + L7_INDEX(at, L7_TEXT), length);
}

#endif
