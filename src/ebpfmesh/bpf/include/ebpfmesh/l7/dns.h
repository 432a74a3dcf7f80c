/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* DNS (RFC 1035, EDNS by RFC 6891): the core dns is given a datagram in each window, dns_tcp a stream of messages with their
 * length in front (RFC 7766).
 *
 * A message is one record, told when all of its records were walked over: their lengths and pointers must be right, but only the
 * first question is read, and the OPT record. record.stream is the id of the message.
 *
 * Datagrams do not depend on one another. Who does not want a wrong one to end a flow gives each a struct l7_flow of its own. */
#ifndef EBPFMESH_L7_DNS_H
#define EBPFMESH_L7_DNS_H

#include "../parser.h"

enum dns_kind {
	DNS_QUERY = 1,
	DNS_RESPONSE = 2,
};

enum dns_field {
	DNS_NAME =
		0, /* of the first question: lower case, dots between labels, "." for the root; \. and \DDD as in RFC 1035 5.1 */
	DNS_TYPE = 1, /* numbers, all from here on */
	DNS_CLASS = 2,
	DNS_RCODE = 3, /* with the upper bits of the OPT record */
	DNS_FLAGS = 4, /* the second 16 bits of the header: opcode and rcode are among them */
	DNS_QUESTIONS = 5,
	DNS_ANSWERS = 6,
	DNS_AUTHORITIES = 7,
	DNS_ADDITIONALS = 8,
	DNS_LENGTH = 9,	     /* of the message, without the two bytes in front */
	DNS_EDNS_SIZE = 10,  /* what the sender takes by UDP; present if there is an OPT record */
	DNS_EDNS_FLAGS = 11, /* version and flags of the OPT record: the lower 24 bits of its TTL */
};

enum dns_code {
	DNS_SHORT = L7_OWN_CODES, /* the message ends inside of its header, a question or a record */
	DNS_TRAILING,		  /* bytes behind the last record */
	DNS_BAD_LABEL,		  /* a label of a type that there is not (RFC 6891 section 5) */
	DNS_BAD_POINTER,	  /* a compression pointer that does not point to an earlier name */
	DNS_NAME_TOO_LONG,	  /* more than 255 bytes */
};

enum dns_leniency {
	DNS_TAKE_TRAILING = 1, /* bytes behind the last record are passed */
};

#define DNS_HEADER 12
#define DNS_OPT 41
#define DNS_LONGEST_NAME 255
#define DNS_TEXT_LIMIT 1024 /* a name of bytes that all need an escape is shorter */

enum dns_phase {
	DNS_AT_LENGTH,
	DNS_AT_HEADER,
	DNS_AT_COUNTS,
	DNS_AT_LABEL,
	DNS_AT_TEXT, /* of a label */
	DNS_AT_POINTER,
	DNS_AT_QUESTION, /* behind its name */
	DNS_AT_RECORD,	 /* behind its name */
	DNS_AT_RDLENGTH,
	DNS_AT_NEXT, /* question or record: maybe in another section, or the end */
};

/* One direction. */
struct dns_half {
	__u64 number;	 /* being read */
	__u32 left;	 /* bytes of the message that were not read */
	__u32 length;	 /* of the message */
	__u32 skip;	 /* bytes at the end of a record that are not looked at */
	__u16 counts[4]; /* questions, answers, authorities, additionals: still to come */
	__u16 id;
	__u16 name; /* where the name begins in the message */
	__u16 type;
	__u16 kept; /* characters of the name so far */
	__u8 phase;
	__u8 needed; /* bytes of the number */
	__u8 section;
	__u8 label;  /* bytes left of it */
	__u8 octets; /* of the name so far */
	__u8 high;   /* the first byte of a pointer */
	__u8 keeps;  /* the name */
	__u8 datagram;
};

struct dns_state {
	struct dns_half halves[2];
	__u16 at; /* of the walk, between its steps: the verifier need not follow it */
};

_Static_assert(sizeof(struct dns_state) <= L7_STATE, "the state of a connection is bounded");

struct dns_walk {
	struct l7_config *config;
	struct l7_window *window;
	struct l7_record *record;
	struct dns_state *state;
	struct dns_half *half;
	__u32 at;
	__s32 op; /* -1: none yet */
};

L7_INLINE long dns_fail(struct dns_walk *walk, __u32 code)
{
	walk->op = l7_error(walk->record, code, walk->at);
	return 1;
}

/* These many bytes are read next, as a number. */
L7_INLINE long dns_needs(struct dns_walk *walk, __u8 phase, __u8 bytes)
{
	walk->half->phase = phase;
	walk->half->needed = bytes;
	walk->half->number = 0;
	return bytes > walk->half->left ? dns_fail(walk, DNS_SHORT) : 0;
}

#include "dns/name.h"
#include "dns/message.h"

/* A confidence of what a message looks like that begins at an offset, and of which some bytes are shown. Its counts and its bit
 * must fit the direction; as soon as they do not, no more bytes are needed. */
L7_INLINE int dns_looks(struct l7_window *window, __u32 at, __u32 shown)
{
	__u64 first = __builtin_bswap64(l7_word(window, at)), second = __builtin_bswap64(l7_word(window, at + 8));
	__u32 flags = first >> 32 & 0xffff, opcode = flags >> 11 & 15, authorities = second >> 48;
	__u32 answers = first & 0xffff, additionals = second >> 32 & 0xffff;

	if (shown >= 4 &&
	    (flags >> 15 != window->direction || flags & 0x40 || (opcode != 0 && opcode != 4 && opcode != 5)))
		return 0;
	if (shown >= 6 && (first >> 16 & 0xffff) != 1)
		return 0;
	if (shown <= DNS_HEADER)
		return L7_UNDECIDED;
	if (window->direction == L7_REQUEST && opcode != 5 && (answers > 1 || authorities > 1 || additionals > 4))
		return 0;
	return (second >> 24 & 0xff) <= 63 ? 80 : 0;
}

L7_INLINE int dns_confidence(struct l7_window *window)
{
	int confidence = dns_looks(window, window->start, window->end - window->start);

	return confidence == L7_UNDECIDED ? 0 : confidence; /* a datagram is whole */
}

L7_INLINE int dns_tcp_confidence(struct l7_window *window)
{
	__u32 length = l7_byte(window, window->start) << 8 | l7_byte(window, window->start + 1);
	__u32 shown = window->end - window->start;

	if (shown >= 2 && length < DNS_HEADER + 5)
		return 0;
	return shown < 2 ? L7_UNDECIDED : dns_looks(window, window->start + 2, shown - 2);
}

L7_INLINE int dns_walk(struct l7_config *config, struct l7_window *window, struct l7_state *words,
		       struct l7_record *record, int datagram)
{
	struct dns_state *state = (struct dns_state *)words->words;
	struct dns_half *half = &state->halves[window->direction & 1];
	struct dns_walk walk = {
		.config = config,
		.window = window,
		.record = record,
		.state = state,
		.half = half,
		.at = window->start,
		.op = -1,
	};

	half->datagram = datagram;
	if (window->start == window->end)
		return !datagram && half->length ? l7_error(record, L7_INCOMPLETE, window->end) : l7_more(record, 1);
	if (datagram && dns_begins(&walk, window->end - window->start))
		return walk.op;
	state->at = window->start;
	l7_loop(2 * L7_WINDOW, dns_step, &walk);
	if (walk.op == L7_ERROR && record->code == DNS_SHORT && datagram && window->end - window->start == L7_WINDOW)
		return l7_escalate(record, L7_TOO_LONG, window->end); /* more of it does not fit */
	if (walk.op >= 0)
		return walk.op;
	return state->at < window->end ? l7_pass(record, state->at - window->start, 0) :
					 l7_more(record, half->needed ? half->needed : 1);
}

L7_INLINE int dns_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
		       struct l7_record *record)
{
	return dns_walk(config, window, state, record, 1);
}

L7_INLINE int dns_tcp_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			   struct l7_record *record)
{
	if (config->flags & L7_MIDSTREAM)
		return l7_escalate(record, L7_NOT_FROM_START, window->start);
	if (window->gap)
		return l7_escalate(record, L7_GAP, window->start);
	return dns_walk(config, window, state, record, 0);
}

L7_DETECTOR(dns)
L7_PARSER_WITHOUT_TABLES(dns)
L7_DETECTOR(dns_tcp)
L7_PARSER_WITHOUT_TABLES(dns_tcp)

#endif
