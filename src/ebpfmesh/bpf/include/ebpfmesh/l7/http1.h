/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* HTTP/1.0 and HTTP/1.1 (RFC 9112, RFC 9110): heads, framing, pipelining, persistence. docs/http1-conformance.md says what is
 * accepted. A body goes by unseen; a head may span windows and be split at every byte.
 *
 * The scanners take eight bytes at a time and stop at whatever is not plain. In each step one phase, or a whole header line,
 * is done; http1_step() is called in a loop until the head is read or the window is. What changes between steps lies in the
 * state and not in registers, so that the verifier sees one step as every other. */
#ifndef EBPFMESH_L7_HTTP1_H
#define EBPFMESH_L7_HTTP1_H

#include "http.h"
#include "http1/chunk.h"
#include "http1/detect.h"
#include "http1/field.h"
#include "http1/line.h"
#include "http1/message.h"
#include "http1/span.h"
#include "http1/start_line.h"
#include "http1/state.h"

/* More than the steps that any window can take: one a byte, and one a byte again where a value is read a second time. */
#define HTTP1_STEPS (8 * L7_WINDOW)

/* One phase, and where a message is as most are, what follows: start line and first header line are one step. */
L7_CALLBACK long http1_step(__u32 i, void *context)
{
	struct http1_walk *walk = context;
	struct http1_half *half = walk->half;
	__u8 phase = half->phase;
	long stop = 0;

	(void)i;
	if (half->at >= walk->window->end && !http1_is_due(walk, phase))
		return 1;
	if (phase == HTTP1_START) {
		stop = http1_start(walk, *http1_bytes(walk->window, half->at));
		phase = half->phase;
		if (stop || half->at >= walk->window->end)
			return stop ? 1 : 0;
	}
	if (phase >= HTTP1_LINE)
		stop = http1_field_step(walk, *http1_bytes(walk->window, half->at));
	else if (phase >= HTTP1_CHUNK_FIRST)
		stop = http1_chunk_step(walk, phase, *http1_bytes(walk->window, half->at));
	else if (phase == HTTP1_HOST_END)
		stop = http1_host_end(walk, *http1_bytes(walk->window, half->at));
	else if (phase >= HTTP1_TARGET_AUTHORITY)
		stop = http1_span_step(walk, phase);
	else
		stop = http1_start_line_step(walk, phase, *http1_bytes(walk->window, half->at));
	return stop ? 1 : 0;
}

L7_INLINE __u32 http1_head_limit(const struct http1_walk *walk)
{
	return walk->config->head_limit ? walk->config->head_limit : HTTP1_HEAD_LIMIT;
}

/* All that was shown is read, or as much of it as a head may have, and the head is not complete. */
L7_INLINE int http1_unfinished(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;

	half->head += half->at - walk->window->start;
	if (half->at < walk->window->end)
		return l7_error(walk->record, half->head == http1_head_limit(walk) ? L7_TOO_LONG : L7_BAD_CALL,
				half->at);
	if (walk->window->flags & L7_END_OF_STREAM && half->phase != HTTP1_START)
		return l7_error(walk->record, L7_INCOMPLETE, half->at);
	return l7_more(walk->record, 1);
}

L7_INLINE int http1_answer(struct http1_walk *walk)
{
	struct http1_half *half = walk->half;
	__u8 stop = half->stop;

	if (stop == HTTP1_GO_ON)
		return http1_unfinished(walk);
	if (stop == HTTP1_FAILED) {
		walk->record->at = half->at;
		return L7_ERROR;
	}
	if (stop == HTTP1_UNDECIDED_BYTES)
		return l7_escalate(walk->record, HTTP1_BEFORE_ANSWER, half->at);
	if (stop == HTTP1_CHUNK_READ)
		return l7_pass(walk->record, half->at - walk->window->start, half->length);
	return http1_head(walk);
}

/* The room for text that is kept; behind it there is always room for a name and for what decides about framing. */
L7_INLINE __u32 http1_room(const struct l7_config *config)
{
	__u32 limit = config->text_limit;

	if (!limit)
		limit = HTTP1_TEXT_LIMIT;
	if (limit > L7_TEXT)
		limit = L7_TEXT;
	return limit < 2 * HTTP1_TEXT_RESERVE ? HTTP1_TEXT_RESERVE : limit - HTTP1_TEXT_RESERVE;
}

L7_INLINE int http1_core(struct l7_config *config, struct l7_window *window, struct l7_state *memory,
			 struct l7_record *record)
{
	struct http1_state *state = (struct http1_state *)memory->words;
	struct http1_half *half = &state->half[L7_INDEX(window->direction, 2)];
	struct http1_walk walk = { config, window, state, half, record };
	__u32 shown = window->end, left;
	__u8 *end, behind;

	/* a client completes its request before it speaks the other protocol (RFC 9110 section 7.8), and 101 may come earlier */
	if (state->tunnel && (window->direction || half->phase == HTTP1_START)) {
		if (window->start == window->end)
			return l7_more(record, 0);
		record->flags = L7_TUNNEL | L7_TO_END;
		return l7_pass(record, 0, 0);
	}
	if (window->gap)
		return l7_escalate(record, L7_GAP, window->start);
	if (config->flags & L7_MIDSTREAM)
		return l7_escalate(record, L7_NOT_FROM_START, window->start);
	half->at = window->start;
	state->traceparent = 0;
	half->stop = HTTP1_GO_ON;
	half->room = http1_room(config);
	/* not a byte more is read than a head may have: where it is too long does not depend on how much was shown */
	left = http1_head_limit(&walk) - half->head;
	if (shown - window->start > left)
		window->end = window->start + left;
	/* a zero stops every scanner: none needs to ask where the window ends */
	end = (__u8 *)http1_bytes(window, window->end);
	behind = *end;
	*end = 0;
	l7_loop(HTTP1_STEPS, http1_step, &walk);
	*end = behind;
	window->end = shown;
	return http1_answer(&walk);
}

L7_DETECTOR(http1)
L7_PARSER_WITHOUT_TABLES(http1)

#endif
