/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* HTTP/2 (RFC 9113): numbers of frames, settings and errors, and what is remembered of a connection. */
#ifndef EBPFMESH_L7_HTTP2_FRAME_H
#define EBPFMESH_L7_HTTP2_FRAME_H

#include "../http.h"
#include "../hpack/table.h"

/* What breaks the protocol. The RFC makes some of these errors of a stream only, after which the connection goes on; here each
 * ends the connection (ERROR), since requests that are malformed in the eyes of one peer only are what smuggling is made of. */
enum http2_code {
	HTTP2_FIRST_FRAME = L7_OWN_CODES, /* the client's first frame after the preface is not SETTINGS (3.4) */
	HTTP2_FRAME_SIZE, /* a length that the type does not allow, or above SETTINGS_MAX_FRAME_SIZE (4.2) */
	HTTP2_STREAM_ID,  /* a frame on stream 0 that needs a stream or the reverse; an id of the wrong side (5.1.1) */
	HTTP2_STREAM_STATE,	       /* a frame that the state of its stream does not allow (5.1) */
	HTTP2_PADDING,		       /* as long as the payload, or longer (6.1, 6.2, 6.6) */
	HTTP2_CONTINUATION_EXPECTED,   /* another frame inside a header block (4.3) */
	HTTP2_CONTINUATION_UNEXPECTED, /* and CONTINUATION outside of one (6.10) */
	HTTP2_SETTING,		       /* a value out of its range (6.5.2) */
	HTTP2_WINDOW_INCREMENT,	       /* of 0 (6.9) */
	HTTP2_PUSH, /* PUSH_PROMISE by a client, against SETTINGS_ENABLE_PUSH = 0, or of neither GET nor HEAD (6.6, 8.4) */
	HTTP2_GOAWAY,	   /* its last stream is higher than in the one before (6.8) */
	HTTP2_FIELD_NAME,  /* upper case, or no token (8.2.1) */
	HTTP2_FIELD_VALUE, /* a control character, or white space at an end (8.2.1); likewise in a pseudo-header */
	HTTP2_CONNECTION_HEADER, /* Connection and what belongs to it; TE with anything but "trailers" (8.2.2) */
	HTTP2_PSEUDO_UNKNOWN,	 /* or one of the other direction, or in trailers (8.3) */
	HTTP2_PSEUDO_ORDER,	 /* behind a regular header (8.3) */
	HTTP2_PSEUDO_REPEATED,	 /* (8.3) */
	HTTP2_PSEUDO_MISSING, /* or one that CONNECT must not have; neither :authority nor host (8.3.1, 8.3.2, 8.5) */
	HTTP2_PATH,	      /* empty, or begins with neither "/" nor is "*" of OPTIONS (8.3.1) */
	HTTP2_AUTHORITY,      /* differs from host, has user information, host comes twice (8.3.1) */
	HTTP2_STATUS_CODE,    /* not three digits; 101; an interim response that ends its stream (8.1, 8.6) */
	HTTP2_CONTENT_LENGTH_FORM, /* no number, or more than one (RFC 9110 section 8.6) */
	HTTP2_CONTENT_LENGTH,	   /* is not the sum of the DATA frames; DATA where there can be none (8.1.1) */
	HTTP2_TRAILERS,		   /* a second head that does not end its stream (8.1) */
	HTTP2_GRPC_FLAG,	   /* a gRPC message whose compressed flag is neither 0 nor 1 */
	HTTP2_GRPC_CUT,		   /* a stream that ends inside a gRPC message */
};

enum http2_leniency {
	HTTP2_UPGRADED = 1, /* begun by "Upgrade: h2c" in HTTP/1: stream 1 is open, its request was made there */
};

enum http2_type {
	HTTP2_TYPE_DATA = 0,
	HTTP2_TYPE_HEADERS = 1,
	HTTP2_TYPE_PRIORITY = 2,
	HTTP2_TYPE_RST_STREAM = 3,
	HTTP2_TYPE_SETTINGS = 4,
	HTTP2_TYPE_PUSH_PROMISE = 5,
	HTTP2_TYPE_PING = 6,
	HTTP2_TYPE_GOAWAY = 7,
	HTTP2_TYPE_WINDOW_UPDATE = 8,
	HTTP2_TYPE_CONTINUATION = 9,
};

enum http2_flag {
	HTTP2_ACK = 1,
	HTTP2_END_STREAM = 1,
	HTTP2_END_HEADERS = 4,
	HTTP2_PADDED = 8,
	HTTP2_HAS_PRIORITY = 32,
};

#define HTTP2_STREAMS 128	/* that are followed at a time; both builds have the same, and answer alike */
#define HTTP2_FRAME_LIMIT 16384 /* SETTINGS_MAX_FRAME_SIZE before any SETTINGS */
#define HTTP2_CONTINUATIONS 8	/* of one header block; with more, the connection is not followed */
#define HTTP2_UNACKNOWLEDGED 16 /* SETTINGS of one side that the other has not acknowledged; likewise */
#define HTTP2_STREAM_BITS 0x7fffffffu
#define HTTP2_GO_ON -1 /* no answer yet */
#define HTTP2_NONE -1  /* no such stream */

/* How far a direction is in a frame. */
enum http2_phase {
	HTTP2_START = 0, /* the client's preface */
	HTTP2_HEADER,	 /* the nine bytes before each frame */
	HTTP2_HEAD,	 /* what stands first in the payload */
	HTTP2_INSIDE,	 /* and then: entries of SETTINGS, a fragment of a header block */
	HTTP2_MESSAGES,	 /* DATA in which gRPC messages are looked for */
	HTTP2_PAD,	 /* behind the payload of DATA */
};

enum http2_side_state {
	HTTP2_IDLE = 0,
	HTTP2_OPEN,  /* its head was sent */
	HTTP2_ENDED, /* END_STREAM was sent */
	HTTP2_RESET, /* RST_STREAM was sent */
};

enum http2_side_flag {
	HTTP2_SIDE_LENGTH = 1,	 /* there was a content-length; expected counts down */
	HTTP2_SIDE_NO_BODY = 2,	 /* a response that has no content, whatever its content-length says */
	HTTP2_SIDE_MESSAGES = 4, /* gRPC messages */
};

/* One direction of a stream. */
struct http2_side {
	__u64 expected; /* bytes of content that content-length still announces */
	__u32 message;	/* bytes of a gRPC message that are still to come */
	__u32 messages; /* begun so far */
	__u32 length;	/* of a gRPC message, as far as its prefix is read */
	__u8 got;	/* bytes of that prefix; 5 inside the message */
	__u8 compressed;
	__u8 state;
	__u8 flags;
};

enum http2_stream_flag {
	HTTP2_STREAM_LIVE = 1,	  /* counts as followed; otherwise its place may be taken */
	HTTP2_STREAM_HEAD = 2,	  /* the request was HEAD */
	HTTP2_STREAM_CONNECT = 4, /* or CONNECT */
};

struct http2_stream {
	__u32 id;
	__u32 flags;
	struct http2_side side[2];
};

enum http2_pending_flag {
	HTTP2_PENDING_TABLE = 1,
	HTTP2_PENDING_FRAME = 2,
	HTTP2_PENDING_PUSH = 4, /* ENABLE_PUSH = 1 */
	HTTP2_PENDING_NO_PUSH = 8,
};

/* Of a SETTINGS frame, what binds the other side once it has acknowledged it. */
struct http2_pending {
	__u32 flags;
	__u32 table_least; /* SETTINGS_HEADER_TABLE_SIZE may come twice: the least, and the last */
	__u32 table;
	__u32 frame;
};

/* Of one direction: the frame that is being read, and what its sender has done so far. */
struct http2_half {
	__u8 phase;
	__u8 got; /* bytes gathered */
	__u8 type;
	__u8 flags;
	__u32 length; /* of the frame's payload */
	__u32 left;   /* of it, without padding, what is not consumed */
	__u32 stream;
	__u32 used;  /* bytes of the window that this call has consumed */
	__u32 pad;   /* bytes at the end of the frame */
	__u32 block; /* the stream whose header block is not complete; 0: none */
	__u32 promised;
	__u8 block_flags;   /* of the HEADERS frame that began it */
	__u8 block_type;    /* or PUSH_PROMISE */
	__u8 continuations; /* since then */
	__u8 begun;	    /* its first SETTINGS frame came */
	__u32 last;	    /* highest stream that it opened, or promised */
	__u32 goaway;	    /* 1 + the last stream of its GOAWAY; 0: none */
	__u32 frame_limit;  /* of the frames that it may send; 0: HTTP2_FRAME_LIMIT */
	__u32 unfinished;   /* its messages that have begun and not ended */
	__u16 frames;	    /* in the present period; then how many of them were of one kind: */
	__u16 resets;
	__u16 settings;
	__u16 empty;
	__u16 priorities;
	__u16 pings;  /* that the other side has not answered */
	__u8 counted; /* the present frame is in these counts */
	__u8 pending; /* its SETTINGS that the other side has not acknowledged; they begin at tables.pending[][first] */
	__u8 first;
	__u8 early;	   /* acknowledgements by it of SETTINGS that were not seen yet */
	__u8 gathered[32]; /* room for words beyond what is needed */
};

struct http2_state {
	struct http2_half half[2];
	__u32 live;	    /* streams */
	__u32 code;	    /* why the connection is lost, in both directions */
	__u32 forgotten[2]; /* of the streams that a side opened, the highest whose place was taken */
	__u8 op;
	__u8 grpc;	       /* look for messages of gRPC */
	__u8 extended_connect; /* the server allows :protocol (RFC 8441) */
	__u8 no_push;	       /* the client allows no PUSH_PROMISE */
	__u8 upgraded;
};

_Static_assert(sizeof(struct http2_state) <= L7_STATE, "the state of HTTP/2 does not fit");

/* A head while it is decoded. */
struct http2_head {
	__u32 kind; /* enum http_kind; 0: of a stream that is forgotten */
	__u32 direction;
	__u32 pseudo; /* bit n: the pseudo-header of field n came */
	__u32 flags;  /* enum http2_head_flag */
	__u32 status;
	__u32 path_at; /* of :path and :scheme, the first bytes and the length */
	__u32 path_length;
	__u32 tag; /* the header that is looked at: what it is, and where in text */
	__u32 value_at;
	__u32 value_length;
	__u64 length; /* content-length */
};

#define HTTP2_MEMO_BLOCK 192 /* bytes of a header block that is remembered */
#define HTTP2_MEMO_TEXT 384  /* … and of the text of its record */
#define HTTP2_MEMO_KEY 8

/* A header block that came twice, and what it was decoded to: memo.h. */
struct http2_memo {
	__u64 key
		[HTTP2_MEMO_KEY]; /* all that its meaning depends on, but for the registered names; [0] is 0: nothing */
	__u64 seen;		  /* of the block before, so that only one that comes again is remembered */
	__u32 list;
	__u32 fields;
	__u32 effects;
	__u32 present;
	__u32 repeated;
	__u32 truncated;
	__u32 used;
	__u32 reserved;
	struct http2_head head;
	union l7_value values[L7_FIELDS];
	__u8 block[HTTP2_MEMO_BLOCK];
	__u8 text[HTTP2_MEMO_TEXT];
};

struct http2_tables {
	struct hpack_table dynamic[2];
	struct hpack_block block[2];
	struct http2_head head[2];
	struct http2_pending pending[2][HTTP2_UNACKNOWLEDGED];
	struct http2_stream streams[HTTP2_STREAMS];
	struct http2_memo memos[4]; /* by direction, and whether it is trailers */
};

L7_INLINE struct http2_half *http2_half_of(struct l7_state *state, __u32 direction)
{
	struct http2_state *connection = (struct http2_state *)state->words;

	return &connection->half[L7_INDEX(direction, 2)];
}

/* Where in the window this call is. */
L7_INLINE __u32 http2_at(const struct http2_half *half, const struct l7_window *window)
{
	return window->start + half->used;
}

/* The connection is lost: the other direction gets the same answer. */
L7_INLINE int http2_error(struct l7_state *state, struct l7_window *window, struct l7_record *record, __u32 code)
{
	struct http2_state *connection = (struct http2_state *)state->words;

	connection->op = L7_ERROR;
	connection->code = code;
	return l7_error(record, code, http2_at(http2_half_of(state, window->direction), window));
}

L7_INLINE int http2_escalate(struct l7_state *state, struct l7_window *window, struct l7_record *record, __u32 code)
{
	struct http2_state *connection = (struct http2_state *)state->words;

	connection->op = L7_ESCALATE;
	connection->code = code;
	return l7_escalate(record, code, http2_at(http2_half_of(state, window->direction), window));
}

/* Gathers bytes until there are need of them (at most 16); whether there are. */
L7_INLINE int http2_gather(struct http2_half *half, struct l7_window *window, __u32 need)
{
	__u32 at = http2_at(half, window);
	__u32 shown = window->end - at, wanted = need - half->got;
	__u8 *to = half->gathered + L7_INDEX(half->got, 16);

	if (wanted > shown)
		wanted = shown;
	l7_store64(to, l7_word(window, at));
	l7_store64(to + 8, l7_word(window, at + 8));
	half->got += wanted;
	half->used += wanted;
	return half->got >= need;
}

L7_INLINE __u32 http2_number16(const __u8 *from)
{
	return from[0] << 8 | from[1];
}

L7_INLINE __u32 http2_number32(const __u8 *from)
{
	return (__u32)from[0] << 24 | from[1] << 16 | from[2] << 8 | from[3];
}

/* The frame is done with what was consumed, rest more bytes that are not payload, and then payload. */
L7_INLINE int http2_done(struct http2_half *half, struct l7_record *record, __u64 rest, __u64 payload)
{
	half->phase = HTTP2_HEADER;
	half->got = 0;
	return l7_pass(record, half->used + rest, payload);
}

/* What is known of the settings of a direction's peer is not all there is: only one direction is seen, the two are not seen in
 * the order in which they were sent, or the client's first settings came in a header of HTTP/1 (HTTP2-Settings). */
L7_INLINE int http2_is_unordered(const struct l7_config *config, const struct http2_half *half)
{
	return config->flags & L7_ONE_DIRECTION || config->leniencies & HTTP2_UPGRADED || half->early;
}

#endif
