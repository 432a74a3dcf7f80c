/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* How much the first bytes look like HTTP/1. The usual methods with a path are known at once, every other method, and every
 * other form of the target, by the version at the end of the line: "get /key" is memcached's, "OPTIONS * RTSP/1.0" RTSP's. */
#ifndef EBPFMESH_L7_HTTP1_DETECT_H
#define EBPFMESH_L7_HTTP1_DETECT_H

#include "scan.h"
#include "state.h"

#define HTTP1_PREFIX 1024 /* bytes in which a request line ends that is to be known by its version */
#define HTTP1_METHOD_LIMIT 32

enum http1_guess_phase { HTTP1_GUESS_METHOD, HTTP1_GUESS_TARGET, HTTP1_GUESS_VERSION };

struct http1_guess {
	struct l7_window *window;
	__u64 word;  /* the first eight characters of the method, then the first one of the target */
	__u32 at;    /* in the window */
	__u32 count; /* characters of the method, of the target, of the version */
	__u32 phase;
	__u32 usual; /* the method is one that no other protocol has beside a path */
	__s32 sure;
};

L7_INLINE int http1_usual_method(__u64 word)
{
	return word == HTTP_WORD("GET\0\0\0\0\0") || word == HTTP_WORD("HEAD\0\0\0\0") ||
	       word == HTTP_WORD("POST\0\0\0\0") || word == HTTP_WORD("PUT\0\0\0\0\0") ||
	       word == HTTP_WORD("DELETE\0\0") || word == HTTP_WORD("OPTIONS\0") || word == HTTP_WORD("PATCH\0\0\0") ||
	       word == HTTP_WORD("TRACE\0\0\0");
}

/* Ends with so much confidence. */
L7_INLINE long http1_guessed(struct http1_guess *guess, __s32 sure)
{
	guess->sure = sure;
	return 1;
}

L7_INLINE void http1_guess_next(struct http1_guess *guess, __u32 phase)
{
	guess->phase = phase;
	guess->count = 0;
	guess->word = 0;
}

L7_INLINE long http1_guess_target(struct http1_guess *guess, __u8 c)
{
	if (c == ' ' && guess->count) {
		http1_guess_next(guess, HTTP1_GUESS_VERSION);
		return 0;
	}
	if (!guess->count++) {
		if (c == '/' && guess->usual)
			return http1_guessed(guess, 90);
		guess->word = c;
		return c == '/' || c == '*' || c == '[' || http1_is_digit(c) || (__u8)((c | 0x20) - 'a') < 26 ?
			       0 :
			       http1_guessed(guess, 0);
	}
	return c > ' ' && c < 0x7f && guess->word != '*' ? 0 : http1_guessed(guess, 0);
}

L7_CALLBACK long http1_guess_step(__u32 i, void *context)
{
	struct http1_guess *guess = context;
	__u8 c;

	(void)i;
	if (guess->at >= guess->window->end)
		return 1;
	c = *http1_bytes(guess->window, guess->at);
	guess->at++;
	if (guess->phase == HTTP1_GUESS_VERSION) {
		if (c != (__u8)(HTTP_WORD("HTTP/1.\0") >> (guess->count * 8 & 63)))
			return http1_guessed(guess, 0);
		return ++guess->count == 7 ? http1_guessed(guess, 95) : 0;
	}
	if (guess->phase == HTTP1_GUESS_TARGET)
		return http1_guess_target(guess, c);
	if (c == ' ' && guess->count) {
		if (guess->word == HTTP_WORD("PRI\0\0\0\0\0"))
			return http1_guessed(guess, 0);
		guess->usual = http1_usual_method(guess->word);
		http1_guess_next(guess, HTTP1_GUESS_TARGET);
		return 0;
	}
	if (!http1_is_token(c) || guess->count >= HTTP1_METHOD_LIMIT)
		return http1_guessed(guess, 0);
	/* a ninth character makes it none of the usual ones */
	guess->word |= guess->count < 8 ? (__u64)c << (guess->count * 8 & 63) : 0;
	guess->count++;
	return 0;
}

/* Behind the line breaks that may stand before a request (RFC 9112 section 2.2). */
L7_INLINE __u32 http1_guess_begin(const struct l7_window *window)
{
	__u32 at = window->start;

	for (__u32 i = 0; i < HTTP1_EMPTY_LINE_LIMIT; i++) {
		const __u8 *bytes = http1_bytes(window, at);

		if (at + 1 >= window->end || bytes[0] != '\r' || bytes[1] != '\n')
			break;
		at += 2;
	}
	return at;
}

L7_INLINE int http1_confidence(struct l7_window *window)
{
	struct http1_guess guess = { .window = window, .sure = L7_UNDECIDED };
	__u32 shown = window->end - window->start;

	if (window->direction == L7_RESPONSE) {
		__u64 differs = l7_load64(http1_bytes(window, window->start)) ^ HTTP_WORD("HTTP/1.\0");

		if (http_low_bytes(differs, shown < 7 ? shown : 7))
			return 0;
		return shown < 8 ? L7_UNDECIDED : 95;
	}
	guess.at = http1_guess_begin(window);
	if (guess.at + 1 == window->end && *http1_bytes(window, guess.at) == '\r')
		return L7_UNDECIDED;
	l7_loop(HTTP1_PREFIX, http1_guess_step, &guess);
	return guess.sure;
}

#endif
