/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* HTTP/2 (RFC 9113) with HPACK (RFC 7541), both directions, from the client's preface on: with prior knowledge, or behind a TLS
 * that somebody else ended. What a connection needs beyond the state is struct http2_tables, some 30 KiB in BPF.
 *
 * Told: heads as HTTP_REQUEST … HTTP_TRAILERS by stream, DATA as payload, HTTP_SETTINGS, HTTP_RESET, HTTP_GOAWAY, HTTP_PUSH,
 * HTTP_FLOOD. Minimum kernel: 5.17. */
#ifndef EBPFMESH_L7_HTTP2_H
#define EBPFMESH_L7_HTTP2_H

#include "http2/core.h"

L7_INLINE int http2_confidence(struct l7_window *window)
{
	return http2_likelihood(window);
}

L7_INLINE int http2_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			 struct http2_tables *tables, struct l7_record *record)
{
	return http2_follow(config, window, state, tables, record);
}

L7_DETECTOR(http2)
L7_PARSER(http2, struct http2_tables)

#endif
