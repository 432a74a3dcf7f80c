/* DNS over TCP under libFuzzer. */
#include <ebpfmesh/l7/dns.h>

#define FUZZ_CORE dns_tcp

L7_INLINE __u32 fuzz_text_fields(__u16 kind)
{
	(void)kind;
	return 1u << DNS_NAME;
}

L7_INLINE void fuzz_tables(void *tables, struct l7_config *config)
{
	(void)tables;
	(void)config;
}

#include "target.h"
