/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Redis: RESP2 and RESP3 (the protocol specification of redis.io), arrays of bulk strings and inline commands.
 *
 * A command and a reply are one record each. It is told when the last length of the message is known: what is left of a big
 * value then goes on unseen, as bigger values before it did. Values are neither kept nor told. The two bytes behind a string
 * that is skipped are not looked at; redis-server does not look at them either (processMultibulkBuffer() in networking.c).
 *
 * record.stream counts the commands, from 1, and a reply bears the number of its command; 0 is a message that answers none, or
 * of which that cannot be known: after CLIENT REPLY, after UNSUBSCRIBE without arguments, and from where SUBSCRIBE or its kin is
 * sent while another is not yet answered. */
#ifndef EBPFMESH_L7_REDIS_H
#define EBPFMESH_L7_REDIS_H

#include "../parser.h"

enum redis_kind {
	REDIS_COMMAND = 1,
	REDIS_REPLY = 2,
	REDIS_PUSH =
		3, /* a message of pub/sub, of MONITOR, of invalidation: it was not asked for, or it confirms SUBSCRIBE */
};

enum redis_field {
	REDIS_NAME = 0,	      /* of the command: upper case */
	REDIS_SUBCOMMAND = 1, /* of CONFIG, CLIENT, …: upper case */
	REDIS_KEY = 2,	      /* the first key, if the command has one. Passwords (AUTH, HELLO) are never kept */
	REDIS_CHANNEL = 3,    /* the first channel of SUBSCRIBE, PUBLISH, …; of a push, what stands second in it */
	REDIS_COUNT =
		4, /* number: arguments of a command, its name included; elements of an aggregate, pairs of a map */
	REDIS_LENGTH = 5, /* number: bytes of the whole message */
	REDIS_TYPE = 6,	  /* number: the first byte of a reply, behind its attributes; '_' for each null */
	REDIS_TEXT = 7,	  /* of a simple string or an error */
	REDIS_PUSHED = 8, /* what kind of push: message, subscribe, invalidate … */
};

enum redis_code {
	REDIS_BAD_LENGTH = L7_OWN_CODES, /* no decimal number, a leading zero, negative, or over 18 digits */
	REDIS_BAD_LINE_END,		 /* CR without LF, or LF without CR */
	REDIS_BAD_TYPE,			 /* a first byte that no type has */
	REDIS_NOT_BULK,			 /* an argument that is not a bulk string */
	REDIS_BAD_VALUE,		 /* what a null, boolean or number cannot be */
	REDIS_BAD_INLINE,		 /* quotes that do not close, or NUL, in an inline command */
	REDIS_BAD_STRING_END,		 /* a string longer than its length: no CRLF behind it */
	REDIS_STREAMED,			 /* a string or aggregate of unknown length (ESCALATE) */
	REDIS_TOO_DEEP,			 /* more than 16 levels of aggregates (ESCALATE) */
};

/* How much of a text is kept. */
#define REDIS_NAME_LIMIT 32
#define REDIS_KEY_LIMIT 512
#define REDIS_TEXT_LIMIT 256
#define REDIS_ALL_TEXT 1024 /* more than these together: none of them ever comes to the end of the record's text */

#define REDIS_DEPTH 16
#define REDIS_LARGEST 0x7fffffff /* elements of an aggregate, as in the server */
#define REDIS_DIGITS 18
#define REDIS_LINE_LIMIT 32768 /* config.head_limit is 0 */

enum redis_phase {
	REDIS_AT_TYPE,
	REDIS_AT_NUMBER,
	REDIS_AT_NUMBER_LF,
	REDIS_AT_LINE, /* to its CR, not looked into */
	REDIS_AT_LINE_LF,
	REDIS_AT_STRING, /* a string that is kept */
	REDIS_AT_STRING_CR,
	REDIS_AT_STRING_LF,
	REDIS_AT_WORD,	    /* in an inline command */
	REDIS_AT_VALUE_END, /* no byte of it is left but half->number */
};

/* What a string is read for: a field, or … */
#define REDIS_TO_SKIP 0xff
#define REDIS_TO_LOOK 0xfe /* whether the key follows */

/* One direction. */
struct redis_half {
	__u64 length;		 /* of the message, before the bytes that this call was shown */
	__u64 number;		 /* being read; then what is left of a string */
	__u32 left[REDIS_DEPTH]; /* elements still to come, of each level */
	__u32 line;		 /* characters of the line so far */
	__u16 attributes;	 /* bit n: level n is an attribute, which is no element */
	__u16 kept;		 /* bytes of the text so far */
	__u8 phase;
	__u8 depth;
	__u8 begun; /* a message is under way */
	__u8 type;
	__u8 first; /* character of the line */
	__u8 negative;
	__u8 reads; /* enum redis_field, or above */
	__u8 quote; /* enum redis_quote */
	__u8 digit; /* of an escape */
	__u8 key;   /* of the command: see struct redis_command */
	__u8 traits;
	__u8 effect;
	__u16 limit; /* of the text */
};

enum redis_flag {
	REDIS_RESP3 = 1,
	REDIS_SUBSCRIBED = 2,
	REDIS_MONITORING = 4,
	REDIS_UNMATCHED = 8, /* replies from now on */
};

/* The ordinals of commands whose replies mean something are kept as their lower half. */
struct redis_state {
	struct redis_half halves[2];
	__u64 asked;
	__u64 answered;
	__u32 subscribe;     /* SUBSCRIBE and its kin: not yet answered */
	__u32 confirmations; /* that are still to come for it */
	__u32 unmatched;     /* the last command whose reply is sure */
	__u32 monitor;
	__u32 hello;
	__u32 reset;
	__u8 flags;
	__u8 has_unmatched;
	__u16 at; /* of the walk, between its steps: the verifier need not follow them */
	__u16 from;
	__u8 reserved[2];
};

_Static_assert(sizeof(struct redis_state) <= L7_STATE, "the state of a connection is bounded");

struct redis_walk {
	struct l7_config *config;
	struct l7_window *window;
	struct l7_record *record;
	struct redis_state *state;
	struct redis_half *half;
	__u32 at;
	__u32 from; /* where the bytes begin that half->length does not count */
	__s32 op;   /* -1: none yet */
};

enum redis_verdict {
	REDIS_ON,   /* to the next step */
	REDIS_STOP, /* with walk->op */
	REDIS_DONE, /* an element is complete, but for half->number bytes */
	REDIS_KEPT, /* likewise, and its text was kept */
	REDIS_WORD, /* a word of an inline command is complete */
	REDIS_LAST_WORD,
};

L7_INLINE long redis_fail(struct redis_walk *walk, __u32 code, __u32 at)
{
	walk->op = l7_error(walk->record, code, at);
	return REDIS_STOP;
}

L7_INLINE long redis_give_up(struct redis_walk *walk, __u32 code)
{
	walk->op = l7_escalate(walk->record, code, walk->at);
	return REDIS_STOP;
}

L7_INLINE int redis_is_command(const struct redis_walk *walk)
{
	return walk->window->direction == L7_REQUEST;
}

L7_INLINE __u64 redis_length(const struct redis_walk *walk)
{
	return walk->half->length + (walk->at - walk->from) + walk->half->number;
}

#include "redis/commands.h"
#include "redis/match.h"
#include "redis/keep.h"
#include "redis/inline.h"
#include "redis/words.h"
#include "redis/scan.h"

L7_INLINE int redis_is_letter(__u8 byte)
{
	return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
}

/* A confidence: the beginning of an array of bulk strings is hardly anything else; what a server says is less sure. "+OK" and
 * "-ERR" are POP3's greetings too, and a server of Redis never speaks first: they are enough with the port's hint only. */
L7_INLINE int redis_confidence(struct l7_window *window)
{
	__u32 at = window->start, shown = window->end - window->start;
	__u8 type = l7_byte(window, at);
	__u32 digits = 0;

	if (!shown)
		return L7_UNDECIDED;
	if (window->direction == L7_RESPONSE && (type == '+' || type == '-'))
		return shown < 2 ? L7_UNDECIDED : redis_is_letter(l7_byte(window, at + 1)) ? 30 : 0;
	if (type != '*' &&
	    (window->direction == L7_REQUEST || (type != '$' && type != ':' && type != '%' && type != '>')))
		return 0;
	for (__u32 i = 1; i < 12; i++) {
		__u8 byte = l7_byte(window, at + i);

		if (i >= shown)
			return L7_UNDECIDED;
		if (byte == '\r') {
			if (i + 1 >= shown)
				return L7_UNDECIDED;
			if (!digits || l7_byte(window, at + i + 1) != '\n')
				return 0;
			if (type != '*' || window->direction == L7_RESPONSE)
				return 70;
			return i + 2 >= shown ? L7_UNDECIDED : l7_byte(window, at + i + 2) == '$' ? 95 : 0;
		}
		if ((byte < '0' || byte > '9') && !(i == 1 && byte == '-' && window->direction == L7_RESPONSE))
			return 0;
		digits++;
	}
	return 0;
}

L7_INLINE int redis_core(struct l7_config *config, struct l7_window *window, struct l7_state *words,
			 struct l7_record *record)
{
	struct redis_state *state = (struct redis_state *)words->words;
	struct redis_half *half = &state->halves[window->direction & 1];
	struct redis_walk walk = {
		.config = config,
		.window = window,
		.record = record,
		.state = state,
		.half = half,
		.op = -1,
	};

	if (config->flags & L7_MIDSTREAM)
		return l7_escalate(record, L7_NOT_FROM_START, window->start);
	if (window->gap)
		return l7_escalate(record, L7_GAP, window->start);
	if (window->flags & L7_END_OF_STREAM && window->start == window->end)
		return half->begun ? l7_error(record, L7_INCOMPLETE, window->end) : l7_more(record, 1);
	state->at = state->from = window->start;
	l7_loop(2 * L7_WINDOW, redis_step, &walk);
	if (walk.op >= 0)
		return walk.op;
	if (half->begun)
		half->length += state->at - state->from;
	if (state->at > window->start && (!half->begun || state->at < window->end))
		return l7_pass(record, state->at - window->start, 0);
	return l7_more(record, half->phase == REDIS_AT_STRING ? half->number + 2 : 1);
}

L7_DETECTOR(redis)
L7_PARSER_WITHOUT_TABLES(redis)

#endif
