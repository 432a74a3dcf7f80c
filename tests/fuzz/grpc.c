/* gRPC on HTTP/2 under libFuzzer. */
#include <ebpfmesh/l7/grpc.h>

#include "http_fields.h"
#include "tables.h"

#define FUZZ_CORE grpc

L7_INLINE void fuzz_tables(void *memory, struct l7_config *config)
{
	struct http2_tables *tables = memory;

	(void)config;
	fuzz_table_holds(&tables->dynamic[0]);
	fuzz_table_holds(&tables->dynamic[1]);
}

#include "target.h"
