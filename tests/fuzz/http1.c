/* HTTP/1 under libFuzzer. */
#include <ebpfmesh/l7/http1.h>

#include "http_fields.h"

#define FUZZ_CORE http1
#define FUZZ_TEXT_FLOOR (2 * HTTP1_TEXT_RESERVE)

L7_INLINE void fuzz_tables(void *tables, struct l7_config *config)
{
	(void)tables;
	(void)config;
}

#include "target.h"
