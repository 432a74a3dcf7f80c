/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What the HTTP/1 core remembers, its phases, its error codes and what it may be lenient about. */
#ifndef EBPFMESH_L7_HTTP1_STATE_H
#define EBPFMESH_L7_HTTP1_STATE_H

#include "../http.h"

/* Sections are of RFC 9112, if they name no other. */
enum http1_code {
	HTTP1_BAD_METHOD = L7_OWN_CODES, /* 3.1: no token, or no single space after it */
	HTTP1_BAD_TARGET,		 /* 3.2: none of the four forms */
	HTTP1_BAD_VERSION,		 /* 2.3: not HTTP/1.0 or HTTP/1.1, in capitals */
	HTTP1_BAD_STATUS,		 /* 4: not three digits from 100 on */
	HTTP1_BARE_CR,			 /* 2.2: a CR that no LF follows */
	HTTP1_BARE_LF,			 /* 2.2: a line that ends with LF alone */
	HTTP1_FOLDED_LINE,		 /* 5.2: a line that begins with white space */
	HTTP1_SPACE_BEFORE_COLON,	 /* 5.1 */
	HTTP1_BAD_NAME,			 /* 9110 5.1: no token, or empty */
	HTTP1_BAD_VALUE,		 /* 9110 5.5: a control character */
	HTTP1_NO_HOST,			 /* 3.2: HTTP/1.1 without Host; an error only if HTTP1_REQUIRE_HOST is set */
	HTTP1_REPEATED_HOST,		 /* 3.2 */
	HTTP1_BAD_HOST,			 /* 3.2: not a host and port */
	HTTP1_BAD_CONTENT_LENGTH,	 /* 6.2: not digits only, or over 2**63 - 1 */
	HTTP1_REPEATED_CONTENT_LENGTH,	 /* 6.3, also with equal values */
	HTTP1_BAD_TRANSFER_ENCODING,	 /* 6.1: chunked is not the last coding, or twice; unknown codings; HTTP/1.0 */
	HTTP1_LENGTH_AND_CODING,	 /* 6.3: Content-Length and Transfer-Encoding */
	HTTP1_BAD_CHUNK_SIZE,		 /* 7.1: not hexadecimal digits only, or over 2**60 */
	HTTP1_BAD_CHUNK_EXTENSION,	 /* 7.1.1 */
	HTTP1_BAD_CHUNK_END,		 /* 7.1: no CRLF behind the data of a chunk */
	HTTP1_BAD_TRAILER,		 /* 9110 6.5.1: a field that decides about framing */
	HTTP1_DATA_AFTER_CLOSE,		 /* 9.6: bytes after the last message of the connection */
	HTTP1_EMPTY_LINES,		 /* 2.2: more than HTTP1_EMPTY_LINE_LIMIT before a request */
	HTTP1_UNASKED_RESPONSE,		 /* 9.2: no request is outstanding */
	HTTP1_UNASKED_UPGRADE,		 /* 9110 15.2.2: 101, and the request had no Upgrade */
	HTTP1_BODY_NOT_ALLOWED,		 /* 6.1, 6.2: a length or coding with 1xx or 204 */
	HTTP1_IS_HTTP2,			 /* the preface of HTTP/2 */
	HTTP1_BEFORE_ANSWER, /* ESCALATE: bytes behind CONNECT or Upgrade before the answer says what they are */
};

enum http1_leniency {
	HTTP1_ALLOW_FOLDED_LINES = 1,	       /* obs-fold; the line break is dropped, the white space stays */
	HTTP1_ALLOW_SPACE_BEFORE_COLON = 2,    /* and drop it */
	HTTP1_ALLOW_VALUE_CONTROLS = 4,	       /* controls in a field value, but NUL, CR and LF */
	HTTP1_ALLOW_BARE_LF = 8,	       /* as the end of a line */
	HTTP1_ALLOW_BARE_CR = 16,	       /* as the end of a line */
	HTTP1_ALLOW_DATA_AFTER_CLOSE = 32,     /* read it as a further message */
	HTTP1_ALLOW_LENGTH_AND_CODING = 64,    /* the coding decides, the length is forgotten */
	HTTP1_ALLOW_ANY_CODING = 128,	       /* if the last is not chunked, the body lasts to the end of the stream */
	HTTP1_ALLOW_ANY_VERSION = 256,	       /* of one digit, a dot, and one digit */
	HTTP1_ALLOW_NO_CRLF_AFTER_CHUNK = 512, /* behind its data */
	HTTP1_ALLOW_SPACE_AFTER_CHUNK_SIZE = 1024,
	HTTP1_ALLOW_EQUAL_LENGTHS = 2048, /* "5, 5", or two headers that say the same */
	HTTP1_REQUIRE_HOST = 65536,	  /* the other way: HTTP/1.1 without Host becomes an error */
};

#define HTTP1_HEAD_LIMIT 32768
#define HTTP1_TEXT_LIMIT 4096
#define HTTP1_TEXT_RESERVE                                                                                             \
	320		     /* of the text: a name and the value of a framing header have room when all else is full */
#define HTTP1_LIST_LIMIT 256 /* bytes of a value that decides about framing: what is longer is an error */
#define HTTP1_EMPTY_LINE_LIMIT 8
#define HTTP1_OUTSTANDING 64	/* requests whose answer is still to come */
#define HTTP1_LIST_TRUNCATED 31 /* bit of truncated: L7_ALL_HEADERS, and not every header found room */

/* Where in a message the next byte is. The order matters: http1_step(). */
enum http1_phase {
	HTTP1_START,
	HTTP1_START_LF,
	HTTP1_METHOD_PHASE,
	HTTP1_TARGET_FIRST,
	HTTP1_TARGET_SCHEME,
	HTTP1_TARGET_SLASHES,
	HTTP1_VERSION_PHASE,
	HTTP1_VERSION_END, /* behind the version of a request: CR */
	HTTP1_STATUS_PHASE,
	HTTP1_REASON,
	HTTP1_START_LINE_LF,
	/* runs of visible characters */
	HTTP1_TARGET_AUTHORITY,
	HTTP1_TARGET_CONNECT, /* the authority-form */
	HTTP1_TARGET_PATH,
	HTTP1_TARGET_QUERY,
	HTTP1_HOST_VALUE,
	HTTP1_HOST_END, /* white space behind it */
	/* the body */
	HTTP1_CHUNK_FIRST,
	HTTP1_CHUNK_SIZE,
	HTTP1_CHUNK_SPACE,
	HTTP1_EXTENSION_FIRST,
	HTTP1_EXTENSION_NAME,
	HTTP1_EXTENSION_VALUE_FIRST,
	HTTP1_EXTENSION_VALUE,
	HTTP1_EXTENSION_QUOTED,
	HTTP1_EXTENSION_ESCAPE,
	HTTP1_EXTENSION_QUOTED_END,
	HTTP1_CHUNK_LF,
	HTTP1_DATA_CR,
	HTTP1_DATA_LF,
	/* header lines */
	HTTP1_LINE, /* the first byte of a line; the line before may still be folded */
	HTTP1_NAME,
	HTTP1_NAME_SPACE,
	HTTP1_VALUE_SPACE,
	HTTP1_VALUE,
	HTTP1_SKIP, /* a value that is not kept */
	HTTP1_VALUE_LF,
	HTTP1_DIGEST,
	HTTP1_LIST, /* the elements of a value that is complete, in text */
	HTTP1_HEAD_LF,
};

enum http1_seen {
	HTTP1_SEEN_LENGTH = 1,
	HTTP1_SEEN_CODING = 2,
	HTTP1_SEEN_CHUNKED = 4, /* the last coding so far */
	HTTP1_SEEN_HOST = 8,
	HTTP1_SEEN_AUTHORITY = 16, /* the target names the host: a Host header does not count */
	HTTP1_IN_TRAILERS = 32,
	HTTP1_TO_HEAD = 64,	/* the method is HEAD */
	HTTP1_TO_CONNECT = 128, /* … CONNECT */
	HTTP1_USERINFO = 256,
	HTTP1_TRAILERS_CAME = 512,
	HTTP1_VERSION_0 = 1024, /* HTTP/1.0 */
	HTTP1_SEEN_UPGRADE = 2048,
	HTTP1_TO_OPTIONS = 8192, /* … OPTIONS, or M-SEARCH of UPnP: to "*" */
	HTTP1_CAREFUL = 4096,	 /* no line is taken as a whole: all headers are listed, or lines may be folded */
};

/* Of a request that waits for its answer: what that answer may look like. */
enum http1_asked { HTTP1_ASKED_OTHER = 0, HTTP1_ASKED_HEAD = 1, HTTP1_ASKED_CONNECT = 2, HTTP1_ASKED_UPGRADE = 3 };

enum http1_stop { HTTP1_GO_ON = 0, HTTP1_FAILED, HTTP1_HEAD_READ, HTTP1_CHUNK_READ, HTTP1_UNDECIDED_BYTES };

struct http1_half {   /* one direction */
	__u64 length; /* of the body, of a chunk */
	__u32 head;   /* bytes of this head or chunk line in windows before */
	__u32 at;     /* in the window */
	__u32 value;  /* in text: where the run at hand begins, first a name, then its value */
	__u32 size;   /* … and its length so far */
	__u32 mark;   /* in the run: where its host or path begins; of a response, its status */
	__u32 room;   /* in text, for what is kept */
	__u32 run;    /* http1_any() */
	__u16 seen;   /* enum http1_seen */
	__u16 name;   /* length of the header's name */
	__u8 phase;
	__u8 back;	 /* the phase of the value at hand, to which a folded line returns; 0: there is none */
	__u8 field;	 /* enum http_field, enum http_name */
	__u8 index;	 /* characters matched, digits read, empty lines */
	__u8 stop;	 /* enum http1_stop */
	__u8 last;	 /* no further message may follow */
	__u8 connection; /* enum http_connection */
};

struct http1_digest {
	__u64 v[4];
	__u64 tail; /* bytes that make no word yet */
};

struct http1_list {
	__u64 high, low; /* the last 16 characters of the element */
	__u16 at;	 /* in the value: the next character */
	__u16 start;	 /* … the element's first */
	__u16 count;	 /* characters of the element */
	__u16 spaced;	 /* white space came behind it */
};

struct http1_state {
	struct http1_half half[2];
	__u64 requests;	 /* heads seen */
	__u64 responses; /* final ones */
	__u64 asked[2];	 /* two bits a request: enum http1_asked */
	__u32 awaited;	 /* the last request was CONNECT or asked for an upgrade, and is not answered */
	__u32 tunnel;
	struct http1_digest digest;	   /* of Authorization so far */
	struct http1_digest without_space; /* … before the white space that it ends with so far */
	__u32 digest_length;
	__u32 length_without_space;
	struct http1_list list; /* read without a pause: both directions share it */
	__u32 traceparent; /* where its value lies in the window that the request's head ended in, if it lies there whole; else 0 */
};

_Static_assert(sizeof(struct http1_state) <= L7_STATE, "the state of HTTP/1 does not fit");

struct http1_walk {
	struct l7_config *config;
	struct l7_window *window;
	struct http1_state *state;
	struct http1_half *half;
	struct l7_record *record;
};

/* --- what every phase does ------------------------------------------------------------------------------------------ */

L7_INLINE long http1_fail(struct http1_walk *walk, __u32 code)
{
	walk->record->code = code;
	walk->half->stop = HTTP1_FAILED;
	return 1;
}

L7_INLINE int http1_allows(const struct http1_walk *walk, __u32 leniency)
{
	return !!(walk->config->leniencies & leniency);
}

L7_INLINE int http1_lists(const struct http1_walk *walk)
{
	return !!(walk->config->flags & L7_ALL_HEADERS);
}

/* The same number, of which the verifier knows nothing: else it would follow every length that a run can have by itself. */
L7_INLINE __u32 http1_any(struct http1_half *half, __u32 n)
{
#ifdef __bpf__
	*(volatile __u32 *)&half->run = n;
	n = *(volatile __u32 *)&half->run;
#else
	(void)half;
#endif
	return n;
}

/* Where text is written: never over what is kept, nor beyond its end. */
L7_INLINE __u8 *http1_text(const struct http1_walk *walk, __u32 at)
{
	__u32 most = walk->half->room + HTTP1_TEXT_RESERVE - 1;

	return walk->record->text + L7_INDEX(at < most ? at : most, L7_TEXT);
}

/* A CR, or an LF without one, ends the line: next is the phase in which LF is due, after the one behind the line. */
L7_INLINE long http1_line_end(struct http1_walk *walk, __u8 c, __u8 next, __u8 after, __u32 otherwise)
{
	struct http1_half *half = walk->half;

	if (c != '\r' && !(c == '\n' && http1_allows(walk, HTTP1_ALLOW_BARE_LF)))
		return http1_fail(walk, c == '\n' ? HTTP1_BARE_LF : otherwise);
	half->at++;
	half->phase = c == '\r' ? next : after;
	return 0;
}

/* The LF behind a CR. Returns 1 if the line does not end here. */
L7_INLINE long http1_line_feed(struct http1_walk *walk, __u8 c, __u8 after)
{
	struct http1_half *half = walk->half;

	if (c == '\n')
		half->at++;
	else if (!http1_allows(walk, HTTP1_ALLOW_BARE_CR))
		return http1_fail(walk, HTTP1_BARE_CR);
	half->phase = after;
	return 0;
}

#endif
