/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The contract of an L7 parser core: what it is given, and what it answers. docs/parser-contract.md is its long form, and
 * ebpfmesh.l7.contract its twin in Python.
 *
 * A core is one C header. The same text is compiled to BPF, where it is verified as a global function of sk_msg, sk_skb and
 * tc programs, and to a native shared library: kernel and user space cannot disagree about where a message ends.
 * It has no pointer in its state, no allocation, no recursion, and it never touches a socket. It consumes every byte that it
 * is shown, and what it must remember of them is in its state: bytes that were passed are not shown again. */
#ifndef EBPFMESH_PARSER_H
#define EBPFMESH_PARSER_H

#include <linux/types.h>

#ifdef __bpf__
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#else
#include <string.h>
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "parser cores load words of text: little-endian machines only"
#endif

#define L7_WINDOW 4096 /* bytes that a core is shown at a time */
#define L7_SLACK 64    /* behind them, and behind the text: a word may be loaded or stored at every offset */
#define L7_STATE 256   /* bytes of state of one connection, both directions */
#define L7_FIELDS 32
#define L7_NAMES 8	  /* header names that the user registers */
#define L7_NAME_LENGTH 40 /* their longest */
#ifdef __bpf__
#define L7_TEXT 4096
#else
#define L7_TEXT 65536 /* room only: how much of it is used is config.text_limit, 4096 unless the user raises it */
#endif

/* --- what a core is given ------------------------------------------------------------------------------------------- */

enum l7_direction { L7_REQUEST = 0, L7_RESPONSE = 1 }; /* from the client, from the server */

enum l7_window_flag {
	L7_END_OF_STREAM = 1, /* nothing comes after this window in its direction; the window may be empty */
};

/* Up to 4 KiB of one direction. A call parses from start to end; the driver moves start on, and fills again when it has come
 * to end. Never longer than L7_WINDOW. */
struct l7_window {
	__u32 size; /* of this structure, where it is filled: the contract is versioned by size */
	__u32 start;
	__u32 end;
	__u8 direction;
	__u8 flags;
	__u16 reserved;
	__u64 gap; /* bytes that were lost before data[start]: the capture missed them; 0 as a rule */
	__u8 data[L7_WINDOW + L7_SLACK];
};

/* What a core remembers of a connection. Zeroes at its beginning; a core lays its own structure over the words. */
struct l7_state {
	__u64 words[L7_STATE / 8];
};

struct l7_name {
	__u32 length;
	__u32 reserved;
	__u8 text[L7_NAME_LENGTH]; /* lower case, zeroes behind it */
};

enum l7_config_flag {
	L7_ALL_HEADERS = 1,   /* text also lists every header: struct l7_header, name, value, one after the other */
	L7_ONE_DIRECTION = 2, /* only one direction is seen: a response is read as the answer to a GET */
	L7_MIDSTREAM = 4,     /* the connection was not seen from its start */
};

/* How to parse: the same for all connections of a parser. A program keeps it in a map that it may write, since a global
 * function takes no read-only memory. */
struct l7_config {
	__u32 size;
	__u32 flags;
	__u32 leniencies;   /* bits, the protocol's own; 0 is strict */
	__u32 head_limit;   /* bytes of a head, 32768 by default; 0 is the default, as in each limit */
	__u32 text_limit;   /* bytes of text that a record may hold, at most L7_TEXT; 4096 */
	__u32 table_limit;  /* bytes of a compression table, at most what the core has room for; 4096 */
	__u32 block_limit;  /* bytes of a compressed header block; 4096 */
	__u32 stream_limit; /* streams that are followed at a time; the core's capacity */
	__u64 key[2];	    /* of the digest of secrets (SipHash-2-4) */
	__u64 lengths;	    /* bit n: a registered name has n characters; so that most headers need no comparison */
	struct l7_name names[L7_NAMES];
};

/* --- what a core answers -------------------------------------------------------------------------------------------- */

enum l7_op {
	L7_MORE,  /* all shown bytes belong to something unfinished, which needs at least count more bytes */
	L7_PASS,  /* count bytes from start on may go on before the core is called again; may exceed what was shown */
	L7_DROP,  /* count bytes from start on must not go on */
	L7_REPLY, /* as DROP, and fields[L7_REPLY_FIELD] of text is sent to the peer of this direction */
	L7_ESCALATE, /* this connection cannot be followed from here on, and is not wrong: code says why; never guessed */
	L7_ERROR,    /* the bytes break the protocol: code says how, at says where */
};

#define L7_REPLY_FIELD (L7_FIELDS - 1)

/* Codes that every protocol shares; a protocol's own begin at L7_OWN_CODES. */
enum l7_code {
	L7_OK = 0,
	L7_GAP = 1,	       /* bytes are missing where the structure of the protocol was */
	L7_NOT_FROM_START = 2, /* the connection was not seen from its first byte */
	L7_INCOMPLETE = 3,     /* the stream ended inside a message */
	L7_TOO_LONG = 4,       /* a head, a line, a block exceeds its limit */
	L7_TOO_MANY = 5,       /* streams, outstanding requests, elements, frames: more than are followed */
	L7_BAD_CALL = 6,       /* the caller broke this contract */
	L7_OWN_CODES = 16,
};

enum l7_record_flag {
	L7_MESSAGE_ENDS = 1, /* the message of this record ends with the last byte of count */
	L7_TO_END = 2,	     /* count is not known: the payload lasts to the end of the stream */
	L7_LAST = 4,	     /* no further message can follow in this direction */
	L7_TUNNEL = 8,	     /* from here on, bytes of another protocol: both directions */
};

/* A field of a record: a piece of text, or a number, as the protocol declares. */
union l7_value {
	struct {
		__u32 offset; /* in text */
		__u32 length;
	};
	__u64 number;
};

struct l7_header { /* before each name and value in text, with L7_ALL_HEADERS */
	__u16 name;
	__u16 value;
};

/* What was found. It belongs to one direction and lasts from the first byte of a message to the call that tells it (kind is
 * not 0): a head that spans windows gathers its fields here. kind, flags, code, at, count and head are set by each call. */
struct l7_record {
	__u32 size;
	__u16 kind; /* 0: nothing to tell yet; else the protocol's own number of what this is */
	__u16 flags;
	__u32 code;
	__u32 at; /* in the window */
	__u64 stream; /* what makes a response find its request: an HTTP/2 stream, the ordinal of an HTTP/1 request, a DNS id */
	__u64 count;
	__u64 head;	 /* of the bytes of count, how many at the front are not payload */
	__u32 present;	 /* bit n: fields[n] is set */
	__u32 repeated;	 /* bit n: the field came more than once; the first value is kept */
	__u32 truncated; /* bit n: the text was full; the value is cut, or absent if nothing of it was kept */
	__u32 used;	 /* bytes of text */
	union l7_value fields[L7_FIELDS];
	__u8 text[L7_TEXT + L7_SLACK];
};

/* --- loading and looping, for both targets -------------------------------------------------------------------------- */

#define L7_INLINE static inline __attribute__((always_inline))

#ifdef __bpf__
/* An index that the verifier can follow: clang drops a mask that it can prove, and the proof is lost on the verifier. */
#define L7_INDEX(index, size)                                                                                          \
	({                                                                                                             \
		__u32 l7_index = (index);                                                                              \
		asm volatile("" : "+r"(l7_index));                                                                     \
		l7_index &((size)-1);                                                                                  \
	})
#define L7_CALLBACK static __attribute__((noinline))

/* What was loaded is loaded again: the verifier then knows no range of it. A cursor that is known to begin in 0 … 4096 has
 * another range after each step of a loop, and the verifier would walk them all; one that it knows nothing of has not. */
#define L7_FORGET() asm volatile("" ::: "memory")

/* Calls step(0, context) … up to count times; step returns 1 to stop. Minimum kernel: 5.17. */
#define l7_loop(count, step, context) bpf_loop(count, step, context, 0)

L7_INLINE __u64 l7_load64(const __u8 *from)
{
	return *(const __u64 *)from;
}

L7_INLINE void l7_store64(__u8 *to, __u64 word)
{
	*(__u64 *)to = word;
}

#else
#define L7_FORGET() (void)0
#define L7_INDEX(index, size) ((index) & ((size)-1))
#define L7_CALLBACK static inline __attribute__((always_inline))

L7_INLINE void l7_loop(__u32 count, long (*step)(__u32, void *), void *context)
{
	for (__u32 i = 0; i < count; i++)
		if (step(i, context))
			break;
}

L7_INLINE __u64 l7_load64(const __u8 *from)
{
	__u64 word;

	memcpy(&word, from, sizeof word);
	return word;
}

L7_INLINE void l7_store64(__u8 *to, __u64 word)
{
	memcpy(to, &word, sizeof word);
}
#endif

/* The byte, and the eight bytes, at an offset of the window; beyond its end they are what was there before. */
L7_INLINE __u8 l7_byte(const struct l7_window *window, __u32 at)
{
	return window->data[L7_INDEX(at, L7_WINDOW)];
}

L7_INLINE __u64 l7_word(const struct l7_window *window, __u32 at)
{
	return l7_load64(window->data + L7_INDEX(at, L7_WINDOW));
}

/* --- answering ------------------------------------------------------------------------------------------------------ */

L7_INLINE int l7_more(struct l7_record *record, __u64 needed)
{
	record->count = needed;
	return L7_MORE;
}

L7_INLINE int l7_pass(struct l7_record *record, __u64 head, __u64 payload)
{
	record->head = head;
	record->count = head + payload;
	return L7_PASS;
}

L7_INLINE int l7_error(struct l7_record *record, __u32 code, __u32 at)
{
	record->code = code;
	record->at = at;
	return L7_ERROR;
}

L7_INLINE int l7_escalate(struct l7_record *record, __u32 code, __u32 at)
{
	record->code = code;
	record->at = at;
	return L7_ESCALATE;
}

/* Before the first byte of a message: the fields of the one before are forgotten. */
L7_INLINE void l7_begin(struct l7_record *record)
{
	record->present = 0;
	record->repeated = 0;
	record->truncated = 0;
	record->used = 0;
}

L7_INLINE void l7_set_number(struct l7_record *record, __u32 field, __u64 number)
{
	record->fields[L7_INDEX(field, L7_FIELDS)].number = number;
	record->present |= 1u << (field & (L7_FIELDS - 1));
}

/* --- defining a core ------------------------------------------------------------------------------------------------ */

/* How a native library tells what it holds: one of these per core, named l7_core_NAME. The sizes are the contract's version:
 * a loader refuses a core that was built with others. */
struct l7_core {
	__u32 size;
	__u32 window_size;
	__u32 state_size;
	__u32 config_size;
	__u32 record_size;
	__u32 tables_size; /* of the protocol's own connection tables; 0 if it has none */
	int (*parse)(struct l7_config *, struct l7_window *, struct l7_state *, void *, struct l7_record *);
	int (*detect)(struct l7_window *); /* may be NULL */
};

#define L7_UNDECIDED -1 /* detect(): too few bytes to say; else a confidence from 0 to 100 */

#define L7_RESET(record)                                                                                               \
	do {                                                                                                           \
		(record)->kind = 0;                                                                                    \
		(record)->flags = 0;                                                                                   \
		(record)->code = 0;                                                                                    \
		(record)->at = 0;                                                                                      \
		(record)->count = 0;                                                                                   \
		(record)->head = 0;                                                                                    \
	} while (0)

/* Where a window is belongs to its driver: what a core writes there lasts until it returns. */
#define L7_KEEP(window)                                                                                                \
	const __u32 l7_start = (window)->start, l7_end = (window)->end;                                                \
	const __u8 l7_direction = (window)->direction

#define L7_PUT_BACK(window)                                                                                            \
	do {                                                                                                           \
		(window)->start = l7_start;                                                                            \
		(window)->end = l7_end;                                                                                \
		(window)->direction = l7_direction;                                                                    \
	} while (0)

/* L7_PARSER(name, tables) makes the global function name_parse() around the static inline name_core(). L7_PARSER_WITHOUT_TABLES
 * is for a core that has none: a program passes NULL. */
#define L7_PARSER(name, tables_type)                                                                                   \
	L7_GLOBAL int name##_parse(struct l7_config *config, struct l7_window *window, struct l7_state *state,         \
				   tables_type *tables, struct l7_record *record)                                      \
	{                                                                                                              \
		int op;                                                                                                \
                                                                                                                       \
		if (!config || !window || !state || !tables || !record)                                                \
			return L7_ERROR;                                                                               \
		L7_RESET(record);                                                                                      \
		if (window->end > L7_WINDOW || window->start > window->end || window->direction > L7_RESPONSE)         \
			return l7_error(record, L7_BAD_CALL, 0);                                                       \
		L7_KEEP(window);                                                                                       \
		L7_FORGET();                                                                                           \
		op = name##_core(config, window, state, tables, record);                                               \
		L7_PUT_BACK(window);                                                                                   \
		return op;                                                                                             \
	}                                                                                                              \
	L7_NATIVE_CORE(name, sizeof(tables_type))

struct l7_no_tables {
	__u64 unused;
};

#define L7_PARSER_WITHOUT_TABLES(name)                                                                                 \
	L7_GLOBAL int name##_parse(struct l7_config *config, struct l7_window *window, struct l7_state *state,         \
				   struct l7_no_tables *tables, struct l7_record *record)                              \
	{                                                                                                              \
		int op;                                                                                                \
                                                                                                                       \
		(void)tables;                                                                                          \
		if (!config || !window || !state || !record)                                                           \
			return L7_ERROR;                                                                               \
		L7_RESET(record);                                                                                      \
		if (window->end > L7_WINDOW || window->start > window->end || window->direction > L7_RESPONSE)         \
			return l7_error(record, L7_BAD_CALL, 0);                                                       \
		L7_KEEP(window);                                                                                       \
		L7_FORGET();                                                                                           \
		op = name##_core(config, window, state, record);                                                       \
		L7_PUT_BACK(window);                                                                                   \
		return op;                                                                                             \
	}                                                                                                              \
	L7_NATIVE_CORE(name, 0)

/* L7_DETECTOR(name) makes name_detect() around name_confidence(); it goes before L7_PARSER. */
#ifdef __bpf__
/* weak: or clang, which sees the body, passes nothing for an argument that it does not use, and the verifier refuses that */
#define L7_GLOBAL __attribute__((noinline, weak))
#define L7_NATIVE_CORE(name, tables)
#else
#define L7_GLOBAL static
#define L7_NATIVE_CORE(name, tables)                                                                                   \
	extern const struct l7_core l7_core_##name;                                                                    \
	__attribute__((visibility("default"))) const struct l7_core l7_core_##name = {                                 \
		.size = sizeof(struct l7_core),                                                                        \
		.window_size = sizeof(struct l7_window),                                                               \
		.state_size = sizeof(struct l7_state),                                                                 \
		.config_size = sizeof(struct l7_config),                                                               \
		.record_size = sizeof(struct l7_record),                                                               \
		.tables_size = (tables),                                                                               \
		.parse = (int (*)(struct l7_config *, struct l7_window *, struct l7_state *, void *,                   \
				  struct l7_record *))name##_parse,                                                    \
		.detect = name##_detect,                                                                               \
	};
#endif
#define L7_DETECTOR(name)                                                                                              \
	L7_GLOBAL int name##_detect(struct l7_window *window)                                                          \
	{                                                                                                              \
		if (!window || window->end > L7_WINDOW || window->start > window->end)                                 \
			return 0;                                                                                      \
		return name##_confidence(window);                                                                      \
	}

#endif
