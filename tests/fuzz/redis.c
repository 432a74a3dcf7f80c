/* Redis under libFuzzer. */
#include <ebpfmesh/l7/redis.h>

#define FUZZ_CORE redis

L7_INLINE __u32 fuzz_text_fields(__u16 kind)
{
	(void)kind;
	return 1u << REDIS_NAME | 1u << REDIS_SUBCOMMAND | 1u << REDIS_KEY | 1u << REDIS_CHANNEL | 1u << REDIS_TEXT |
	       1u << REDIS_PUSHED;
}

L7_INLINE void fuzz_tables(void *tables, struct l7_config *config)
{
	(void)tables;
	(void)config;
}

#include "target.h"
