/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Local replies, rendered by the agent, byte for byte as they go to the client. Only the agent writes these maps. */
#ifndef EBPFMESH_REPLY_REPLY_H
#define EBPFMESH_REPLY_REPLY_H

#include "../authorise/policy.h"

#define L7_REPLY_TEXT 1024
#define L7_RETRY_DIGITS 10

/* A reply is four elements in a row: element + variant. */
enum l7_reply_variant {
	L7_REPLY_OPEN = 0,   /* HTTP/1, the connection stays */
	L7_REPLY_CLOSES = 1, /* HTTP/1, with Connection: close */
	L7_REPLY_HTTP2 = 2,  /* text: a header block without dynamic entries; no body, see http2_tier/frames.h */
	L7_REPLY_GRPC =
		3, /* text: the header block of a trailers-only response (HTTP 200, grpc-status, grpc-message) */
};

struct l7_reply {
	__u16 status; /* HTTP; of the request that it answers, for metrics */
	__u16 length; /* of text; 0: there is no such reply */
	__u16 head;   /* of it, the head: all that a HEAD request is sent */
	__u16 retry;  /* where L7_RETRY_DIGITS digits of seconds stand, padded on the left by spaces; 0: nowhere */
	__u8 text[L7_REPLY_TEXT];
};

/* Headers that are set on every request: element 0 is none. */
#define L7_INSERT_TEXT 504

struct l7_insert {
	__u16 length; /* of text: whole lines, each with CRLF */
	__u16 block;  /* length of the same as HPACK literals that are not indexed, behind it */
	__u32 spare;
	__u8 text[L7_INSERT_TEXT];
};

L7_TABLE(l7_replies, 1024, struct l7_reply);
L7_TABLE(l7_inserts, 256, struct l7_insert);

#endif
