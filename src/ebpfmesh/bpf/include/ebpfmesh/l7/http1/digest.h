/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* SipHash-2-4 (Aumasson and Bernstein, 2012) of a value that comes in pieces: a secret is told by its digest and never kept. */
#ifndef EBPFMESH_L7_HTTP1_DIGEST_H
#define EBPFMESH_L7_HTTP1_DIGEST_H

#include "keep.h"
#include "scan.h"
#include "state.h"

#include "../siphash.h"

L7_INLINE void http1_digest_begin(struct http1_walk *walk)
{
	struct http1_state *state = walk->state;

	siphash_begin(state->digest.v, walk->config);
	state->digest.tail = 0;
	state->digest_length = 0;
	state->without_space = state->digest;
	state->length_without_space = 0;
}

/* Takes n <= 8 bytes, the low ones of a word. */
L7_INLINE void http1_digest_take(struct http1_state *state, __u64 word, __u32 n)
{
	__u32 held = state->digest_length & 7;
	__u64 tail;

	word = http_low_bytes(word, n);
	tail = state->digest.tail | word << (held * 8);
	if (held + n >= 8) {
		siphash_word(state->digest.v, tail);
		tail = held ? word >> (64 - held * 8) : 0;
	}
	state->digest.tail = tail;
	state->digest_length += n;
}

/* The digest of what came before the white space at the end. */
L7_INLINE __u64 http1_digest_end(struct http1_state *state)
{
	struct http1_digest *digest = &state->without_space;

	return siphash_end(digest->v, digest->tail, state->length_without_space);
}

/* Of a byte that no value has: whether it is taken all the same. */
L7_INLINE int http1_is_allowed_control(const struct http1_walk *walk, __u8 c)
{
	return c && c != '\r' && c != '\n' && http1_allows(walk, HTTP1_ALLOW_VALUE_CONTROLS);
}

/* What ends a value, or breaks it. */
L7_INLINE long http1_value_end(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;

	if (http1_is_allowed_control(walk, c)) {
		half->at++;
		if (half->phase == HTTP1_VALUE)
			half->size++; /* it was stored with its word */
		return 0;
	}
	return http1_line_end(walk, c, HTTP1_VALUE_LF, HTTP1_LINE, HTTP1_BAD_VALUE);
}

/* Up to eight bytes of the value: as many as are visible, or one that is white space. */
L7_INLINE long http1_digest_step(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	struct http1_state *state = walk->state;
	__u64 word = l7_load64(http1_bytes(walk->window, half->at));
	__u64 stop = http1_not_visible(word);
	__u32 n = stop ? http1_first(stop) : 8;
	__u8 c = word & 0xff;

	if (n) {
		http1_digest_take(state, word, n);
		half->at += n;
	} else {
		if (!(c & 0x80) && !http1_is_space(c) && !http1_is_allowed_control(walk, c)) {
			half->size = 0;
			return http1_value_end(walk, c);
		}
		http1_digest_take(state, word, 1);
		half->at++;
		if (http1_is_space(c))
			return 0;
	}
	state->without_space = state->digest;
	state->length_without_space = state->digest_length;
	return 0;
}

#endif
