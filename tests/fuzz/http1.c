/* HTTP/1 under libFuzzer. */
#include <ebpfmesh/l7/http1.h>

#define FUZZ_CORE http1

L7_INLINE __u32 fuzz_text_fields(__u16 kind)
{
	__u32 numbers = 1u << HTTP_VERSION | 1u << HTTP_STATUS | 1u << HTTP_CONTENT_LENGTH | 1u << HTTP_FRAMING |
			1u << HTTP_CONNECTION | 1u << HTTP_AUTHORIZATION;

	return kind >= HTTP_REQUEST && kind <= HTTP_TRAILERS ? ~numbers & ((1u << (HTTP_REGISTERED + L7_NAMES)) - 1) :
							       0;
}

L7_INLINE void fuzz_tables(void *tables, struct l7_config *config)
{
	(void)tables;
	(void)config;
}

#include "target.h"
