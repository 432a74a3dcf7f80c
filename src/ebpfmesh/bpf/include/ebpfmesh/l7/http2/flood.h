/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Frames that cost their receiver much and their sender nothing: HTTP_FLOOD is told when there are more of them than a peer
 * needs. A core has no clock, so that it counts them among the other frames of their direction: per period of so many frames.
 * Nothing is decided here; what is told is for a policy. RFC 9113 section 10.5. */
#ifndef EBPFMESH_L7_HTTP2_FLOOD_H
#define EBPFMESH_L7_HTTP2_FLOOD_H

#include "frame.h"

#define HTTP2_PERIOD 512	 /* frames */
#define HTTP2_RESETS 128	 /* of them RST_STREAM: streams are opened to be reset ("rapid reset") */
#define HTTP2_SETTINGS_FRAMES 64 /* SETTINGS, each of which must be acknowledged */
#define HTTP2_EMPTY 128		 /* DATA, HEADERS, CONTINUATION without payload that end nothing */
#define HTTP2_PRIORITIES 256	 /* PRIORITY */
#define HTTP2_PINGS                                                                                                    \
	64 /* PING that the other side has not answered: an idle connection may well be kept alive by PING alone */

L7_INLINE void http2_new_period(struct http2_half *half)
{
	half->frames = 0;
	half->resets = 0;
	half->settings = 0;
	half->empty = 0;
	half->priorities = 0;
}

/* Whether the frame has no payload, and ends neither its message nor its head. */
L7_INLINE int http2_is_empty(const struct http2_half *half)
{
	if (half->length)
		return 0;
	if (half->type == HTTP2_TYPE_DATA)
		return !(half->flags & HTTP2_END_STREAM);
	return (half->type == HTTP2_TYPE_HEADERS || half->type == HTTP2_TYPE_CONTINUATION) &&
	       !(half->flags & HTTP2_END_HEADERS);
}

/* Counts a PING of half, which peer is to answer. Returns how many wait, if they have just become too many. */
L7_INLINE __u32 http2_count_ping(struct http2_half *half, struct http2_half *peer)
{
	if (half->flags & HTTP2_ACK) {
		if (peer->pings)
			peer->pings--;
		return 0;
	}
	if (half->pings < 0xffff)
		half->pings++;
	return half->pings % HTTP2_PINGS ? 0 : half->pings;
}

/* Counts the frame whose header is complete. Returns the count of its kind if it has just become a flood. */
L7_INLINE __u32 http2_count(struct http2_half *half, struct http2_half *peer, __u32 one_direction)
{
	if (half->frames >= HTTP2_PERIOD)
		http2_new_period(half);
	half->frames++;
	if (half->type == HTTP2_TYPE_CONTINUATION && half->continuations == HTTP2_CONTINUATIONS + 1)
		return half->continuations;
	if (http2_is_empty(half))
		return ++half->empty == HTTP2_EMPTY ? HTTP2_EMPTY : 0;
	switch (half->type) {
	case HTTP2_TYPE_RST_STREAM:
		return ++half->resets == HTTP2_RESETS ? HTTP2_RESETS : 0;
	case HTTP2_TYPE_PRIORITY:
		return ++half->priorities == HTTP2_PRIORITIES ? HTTP2_PRIORITIES : 0;
	case HTTP2_TYPE_SETTINGS:
		if (half->flags & HTTP2_ACK)
			return 0;
		return ++half->settings == HTTP2_SETTINGS_FRAMES ? HTTP2_SETTINGS_FRAMES : 0;
	case HTTP2_TYPE_PING:
		return one_direction ? 0 : http2_count_ping(half, peer);
	}
	return 0;
}

#endif
