/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Which reply answers which command of a Redis connection. Replies come in the order of the commands, except that pushes come
 * in between, and that RESP2 has no type for them: there a push is an array that begins with the name of one, where a
 * subscription is in force. */
#ifndef EBPFMESH_L7_REDIS_MATCH_H
#define EBPFMESH_L7_REDIS_MATCH_H

#include "../redis.h"

/* A name of at most 16 characters that was kept, in two words with zeroes behind it. */
struct redis_text {
	__u64 first;
	__u64 second;
};

L7_INLINE __u64 redis_cut(__u64 word, __u32 length)
{
	__u32 cut = length < 8 ? 32 - 4 * length : 0;

	return word << cut << cut >> cut >> cut;
}

L7_INLINE struct redis_text redis_text(const struct l7_record *record, __u32 at, __u32 length)
{
	struct redis_text text = {
		.first = redis_cut(l7_load64(record->text + L7_INDEX(at, L7_TEXT)), length),
		.second = length > 8 ? redis_cut(l7_load64(record->text + L7_INDEX(at + 8, L7_TEXT)), length - 8) : 0,
	};

	return text;
}

#define REDIS_8(a, b, c, d, e, f, g, h)                                                                                \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |    \
	 (__u64)(g) << 48 | (__u64)(h) << 56)

enum redis_message { REDIS_NO_MESSAGE, REDIS_MESSAGE, REDIS_SUBSCRIBED_TO, REDIS_UNSUBSCRIBED_FROM };

/* What a server says to a subscriber: message, subscribe, unsubscribe, and these with p or s in front. */
L7_GLOBAL int redis_message(__u64 first, __u64 second, __u32 length)
{
	__u8 letter = first;

	if ((length == 8 || length == 10 || length == 12) && (letter == 'p' || letter == 's')) {
		first = first >> 8 | second << 56;
		second >>= 8;
		length--;
	}
	if (length == 7 && first == REDIS_8('m', 'e', 's', 's', 'a', 'g', 'e', 0))
		return REDIS_MESSAGE;
	if (length == 9 && first == REDIS_8('s', 'u', 'b', 's', 'c', 'r', 'i', 'b') && second == 'e')
		return REDIS_SUBSCRIBED_TO;
	if (length == 11 && first == REDIS_8('u', 'n', 's', 'u', 'b', 's', 'c', 'r') &&
	    second == REDIS_8('i', 'b', 'e', 0, 0, 0, 0, 0))
		return REDIS_UNSUBSCRIBED_FROM;
	return REDIS_NO_MESSAGE;
}

L7_INLINE int redis_message_of(const struct l7_record *record, __u32 at, __u32 length)
{
	struct redis_text text = redis_text(record, at, length);

	return redis_message(text.first, text.second, length);
}

/* The reply to this command is the last that is sure to be one. */
L7_INLINE void redis_unmatch(struct redis_state *state, __u64 last)
{
	if (state->has_unmatched && (__s32)((__u32)last - state->unmatched) >= 0)
		return;
	state->has_unmatched = 1;
	state->unmatched = last;
	if (state->answered >= last)
		state->flags |= REDIS_UNMATCHED;
}

/* A command is complete. */
L7_INLINE __u64 redis_asks(struct redis_state *state, const struct redis_half *half, __u64 arguments)
{
	__u64 ordinal = ++state->asked;

	switch (half->effect) {
	case REDIS_SUBSCRIBES:
	case REDIS_UNSUBSCRIBES:
		if (half->effect == REDIS_SUBSCRIBES)
			state->flags |= REDIS_SUBSCRIBED;
		if (state->subscribe) { /* only one is kept */
			redis_unmatch(state, ordinal - (__u32)((__u32)ordinal - state->subscribe) - 1);
			break;
		}
		if (arguments < 2) /* it is not known how many messages confirm it */
			redis_unmatch(state, ordinal);
		state->subscribe = ordinal;
		state->confirmations = arguments < 2 ? 1 : arguments - 1;
		break;
	case REDIS_MONITORS:
		state->monitor = ordinal;
		break;
	case REDIS_GREETS:
		state->hello = ordinal;
		break;
	case REDIS_RESETS:
		state->reset = ordinal;
		break;
	}
	return ordinal;
}

/* Whether an array of the server may be a push: none of the replies that were outstanding at SUBSCRIBE is one. */
L7_INLINE int redis_may_push(const struct redis_state *state)
{
	if (!(state->flags & REDIS_SUBSCRIBED) || state->flags & REDIS_RESP3)
		return 0;
	return !state->subscribe || (__u32)(state->answered + 1) >= state->subscribe;
}

/* A push is complete: the ordinal that it answers, or 0. */
L7_INLINE __u64 redis_pushes(struct redis_state *state, int message)
{
	if (message < REDIS_SUBSCRIBED_TO || !state->subscribe || (__u32)(state->answered + 1) != state->subscribe)
		return 0;
	if (--state->confirmations)
		return state->flags & REDIS_UNMATCHED ? 0 : state->answered + 1;
	state->subscribe = 0;
	state->answered++;
	if (state->has_unmatched && (__u32)state->answered > state->unmatched)
		state->flags |= REDIS_UNMATCHED;
	return state->flags & REDIS_UNMATCHED ? 0 : state->answered;
}

/* A reply that is no push is complete: the ordinal of its command, or 0. */
L7_INLINE __u64 redis_answers(struct redis_state *state, __u8 type)
{
	__u64 ordinal = ++state->answered;

	if (state->has_unmatched && (__u32)ordinal > state->unmatched)
		state->flags |= REDIS_UNMATCHED;
	if ((__u32)ordinal == state->subscribe)
		state->subscribe = 0; /* refused, or queued by MULTI */
	if ((__u32)ordinal == state->monitor && type == '+')
		state->flags |= REDIS_MONITORING;
	if ((__u32)ordinal == state->hello && type == '*')
		state->flags &= ~REDIS_RESP3;
	if ((__u32)ordinal == state->reset)
		state->flags &= REDIS_UNMATCHED;
	return state->flags & REDIS_UNMATCHED ? 0 : ordinal;
}

#endif
