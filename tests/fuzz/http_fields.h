/* Which fields of a record of HTTP are pieces of text. */
#ifndef EBPFMESH_FUZZ_HTTP_FIELDS_H
#define EBPFMESH_FUZZ_HTTP_FIELDS_H

#include <ebpfmesh/l7/http.h>

L7_INLINE __u32 fuzz_text_fields(__u16 kind)
{
	__u32 numbers = 1u << HTTP_VERSION | 1u << HTTP_STATUS | 1u << HTTP_CONTENT_LENGTH | 1u << HTTP_FRAMING |
			1u << HTTP_CONNECTION | 1u << HTTP_AUTHORIZATION | 1u << GRPC_TIMEOUT | 1u << GRPC_STATUS;
	int is_head = (kind >= HTTP_REQUEST && kind <= HTTP_TRAILERS) || kind == HTTP_PUSH;

	return is_head ? ~numbers & ((1u << (HTTP_REGISTERED + L7_NAMES)) - 1) : 0;
}

#endif
