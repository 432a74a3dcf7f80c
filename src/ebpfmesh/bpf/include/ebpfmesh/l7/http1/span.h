/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Runs of visible characters that have structure: targets (RFC 9112 section 3.2) and the value of Host. */
#ifndef EBPFMESH_L7_HTTP1_SPAN_H
#define EBPFMESH_L7_HTTP1_SPAN_H

#include "authority.h"
#include "digest.h"
#include "keep.h"
#include "scan.h"
#include "state.h"

/* The authority of the target ends: it is the host, without what stands before '@'. */
L7_INLINE long http1_authority_end(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;

	if (half->size == half->mark ||
	    !http1_is_authority(walk, half->mark, half->size - half->mark, half->phase == HTTP1_TARGET_CONNECT))
		return http1_fail(walk, HTTP1_BAD_TARGET);
	http1_keep_part(walk, HTTP_HOST, half->mark, half->size - half->mark);
	half->seen |= HTTP1_SEEN_AUTHORITY;
	return 0;
}

/* The path begins at mark and ends before this character. */
L7_INLINE void http1_path_end(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;

	http1_keep_part(walk, HTTP_PATH, half->mark, half->size - half->mark);
}

L7_INLINE long http1_target_end(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;

	if (half->phase == HTTP1_TARGET_PATH) {
		/* '*' stands alone */
		if (half->size != 1 && *http1_text(walk, half->value) == '*')
			return http1_fail(walk, HTTP1_BAD_TARGET);
		http1_path_end(walk);
	}
	http1_keep(walk, HTTP_TARGET);
	half->at++;
	half->phase = HTTP1_VERSION_PHASE;
	return 0;
}

/* A character at which the run of an authority stops. */
L7_INLINE long http1_authority_stop(struct http1_walk *walk, __u8 c)
{
	struct http1_half *half = walk->half;

	if (c == '@' && half->phase == HTTP1_TARGET_AUTHORITY && !(half->seen & HTTP1_USERINFO)) {
		half->seen |= HTTP1_USERINFO;
		half->mark = half->size + 1;
		return 0;
	}
	if (c == '@' || (c != ' ' && half->phase == HTTP1_TARGET_CONNECT) || http1_authority_end(walk))
		return http1_fail(walk, HTTP1_BAD_TARGET);
	half->mark = half->size;
	half->phase = c == '/' ? HTTP1_TARGET_PATH : c == ' ' ? half->phase : HTTP1_TARGET_QUERY;
	if (c != '/' && half->seen & HTTP1_SEEN_AUTHORITY && !(half->seen & HTTP1_TO_CONNECT)) {
		/* no path: it is "/" (RFC 9110 section 4.2.3), of which the target has one before its authority */
		http1_keep_part(walk, HTTP_PATH, walk->record->fields[HTTP_SCHEME].length + 1, 1);
	}
	return 0;
}

/* A character that is not a plain one of its run; it stands at half->at. */
L7_INLINE long http1_span_stop(struct http1_walk *walk, __u8 phase, __u8 c)
{
	struct http1_half *half = walk->half;

	if (phase == HTTP1_HOST_VALUE) {
		if ((http1_is_space(c) || c == '\r' || c == '\n') && !http1_is_authority(walk, 0, half->size, 0))
			return http1_fail(walk, HTTP1_BAD_HOST);
		if (http1_is_space(c)) {
			half->phase = HTTP1_HOST_END;
			return 0;
		}
		if (c == '/' || c == '?' || c == '@' || c == '#' || c >= 0x7f)
			return http1_fail(walk, HTTP1_BAD_HOST);
		return http1_value_end(walk, c);
	}
	if (phase == HTTP1_TARGET_AUTHORITY || phase == HTTP1_TARGET_CONNECT) {
		if (c <= 0x20 ? c != ' ' : c >= 0x7f)
			return http1_fail(walk, HTTP1_BAD_TARGET);
		if (http1_authority_stop(walk, c))
			return 1;
	} else if (phase == HTTP1_TARGET_PATH && (c == '?' || c == '#')) {
		if (*http1_text(walk, half->value) == '*')
			return http1_fail(walk, HTTP1_BAD_TARGET);
		http1_path_end(walk);
		half->phase = HTTP1_TARGET_QUERY;
	}
	if (c == ' ')
		return http1_target_end(walk);
	if (c < 0x20 || c >= 0x7f)
		return http1_fail(walk, HTTP1_BAD_TARGET);
	half->size++; /* it was stored with its word */
	half->at++;
	return 0;
}

/* Marks the bytes of a word that are zero, in the manner of all scanners: the first mark is right. */
L7_INLINE __u64 http1_zeroes(__u64 word)
{
	return (word - HTTP1_EACH(1)) & ~word;
}

/* How many of 64 characters belong to a run, which are copied: of an authority, in which '/' and '?', which differ in one bit,
 * '#' and '@' stand for something. */
L7_INLINE __u32 http1_authority_run(const __u8 *from, __u8 *to)
{
	for (__u32 k = 0; k < 64; k += 8) {
		__u64 word = l7_load64(from + k);
		__u64 stop = http1_zeroes((word | HTTP1_EACH(0x10)) ^ HTTP1_EACH('?')) |
			     http1_zeroes(word ^ HTTP1_EACH('#')) | http1_zeroes(word ^ HTTP1_EACH('@'));

		l7_store64(to + k, word);
		stop = (stop & HTTP1_HIGH) | http1_not_visible(word);
		if (stop)
			return k + http1_first(stop);
	}
	return 64;
}

/* … of a usual host: letters, digits, '-', '.'. */
L7_INLINE __u32 http1_usual_host_run(const __u8 *from, __u8 *to)
{
	for (__u32 k = 0; k < 64; k += 8) {
		__u64 word = l7_load64(from + k);
		__u64 stop = http1_not_name(word) & ~http1_zero_bytes(word ^ HTTP1_EACH('.'));

		l7_store64(to + k, word);
		if (stop)
			return k + http1_first(stop);
	}
	return 64;
}

/* … of a colon and a usual port: one to four digits, or five up to 59999. 0: it is none. */
L7_INLINE __u32 http1_usual_port_run(const __u8 *from, __u8 *to)
{
	__u64 word = l7_load64(from), low = word & HTTP1_LOW7, stop;
	__u32 n;

	l7_store64(to, word);
	stop = ~((low + HTTP1_EACH(0x80 - '0')) & ~(low + HTTP1_EACH(0x7f - '9'))) | word;
	stop &= HTTP1_HIGH & ~0xffull;
	if (from[0] != ':' || !stop)
		return 0;
	n = http1_first(stop);
	return n == 1 || n > 6 || (n == 6 && from[1] > '5') ? 0 : n;
}

/* … of a path, which ends at '?' or '#'. */
L7_INLINE __u32 http1_path_run(const __u8 *from, __u8 *to)
{
	for (__u32 k = 0; k < 64; k += 8) {
		__u64 word = l7_load64(from + k);
		__u64 stop = http1_zeroes(word ^ HTTP1_EACH('?')) | http1_zeroes(word ^ HTTP1_EACH('#'));

		l7_store64(to + k, word);
		stop = (stop & HTTP1_HIGH) | http1_not_visible(word);
		if (stop)
			return k + http1_first(stop);
	}
	return 64;
}

/* … of a query. */
L7_INLINE __u32 http1_query_run(const __u8 *from, __u8 *to)
{
	for (__u32 k = 0; k < 64; k += 8) {
		__u64 word = l7_load64(from + k), stop = http1_not_visible(word);

		l7_store64(to + k, word);
		if (stop)
			return k + http1_first(stop);
	}
	return 64;
}

/* Up to 64 characters of the run, and the one that ends it. */
L7_INLINE long http1_span_step(struct http1_walk *walk, __u8 phase)
{
	struct http1_half *half = walk->half;
	const __u8 *from = http1_bytes(walk->window, half->at);
	__u8 *to = http1_text(walk, half->value + half->size);
	__u32 n;

	if (phase == HTTP1_TARGET_QUERY)
		n = http1_query_run(from, to);
	else if (phase == HTTP1_TARGET_PATH)
		n = http1_path_run(from, to);
	else
		n = http1_authority_run(from, to);
	n = http1_any(half, n);
	half->size += n;
	half->at += n;
	if (n == 64 || half->at >= walk->window->end)
		return 0;
	return http1_span_stop(walk, phase, *http1_bytes(walk->window, half->at));
}

/* White space behind the value of Host. */
L7_INLINE long http1_host_end(struct http1_walk *walk, __u8 c)
{
	if (http1_is_space(c)) {
		walk->half->at++;
		return 0;
	}
	return http1_line_end(walk, c, HTTP1_VALUE_LF, HTTP1_LINE, HTTP1_BAD_HOST);
}

#endif
