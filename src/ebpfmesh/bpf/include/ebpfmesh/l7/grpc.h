/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* gRPC over HTTP/2: the core of HTTP/2, which also tells each message (GRPC_MESSAGE) of streams whose content-type is
 * application/grpc. grpc-timeout, grpc-status, grpc-message are fields of the heads and trailers in both cores. */
#ifndef EBPFMESH_L7_GRPC_H
#define EBPFMESH_L7_GRPC_H

#include "http2/core.h"

/* From the first bytes gRPC is HTTP/2: whoever wants messages asks for them. */
L7_INLINE int grpc_confidence(struct l7_window *window)
{
	int confidence = http2_likelihood(window);

	return confidence > 0 ? confidence / 2 : confidence;
}

L7_INLINE int grpc_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			struct http2_tables *tables, struct l7_record *record)
{
	struct http2_state *connection = (struct http2_state *)state->words;

	connection->grpc = 1;
	return http2_follow(config, window, state, tables, record);
}

L7_DETECTOR(grpc)
L7_PARSER(grpc, struct http2_tables)

#endif
