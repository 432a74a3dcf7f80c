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
	HTTP_PROMISED = 2,
	HTTP_FLOOD_KIND = 3, /* the frame's type */
	HTTP_FLOOD_COUNT = 4,
	GRPC_LENGTH = 0,
	GRPC_COMPRESSED = 1,
	HTTP_ACK = 0, /* HTTP_SETTINGS: field n is the setting n of RFC 9113 section 6.5.2 */
	HTTP_TABLE_SIZE = 1,
	HTTP_ENABLE_PUSH = 2,
	HTTP_MAX_STREAMS = 3,
	HTTP_INITIAL_WINDOW = 4,
	HTTP_MAX_FRAME = 5,
	HTTP_MAX_LIST = 6,
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

#endif
