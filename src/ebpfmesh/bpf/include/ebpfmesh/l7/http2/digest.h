/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The digest of a value in record->text: a secret is told by it and not kept. */
#ifndef EBPFMESH_L7_HTTP2_DIGEST_H
#define EBPFMESH_L7_HTTP2_DIGEST_H

#include "text.h"

#include "../siphash.h"

struct http2_digest {
	struct l7_record *record;
	__u32 at;
	__u32 left;
	__u64 v[4];
};

L7_CALLBACK long http2_digest_step(__u32 i, void *context)
{
	struct http2_digest *digest = context;

	(void)i;
	if (digest->left < 8)
		return 1;
	siphash_word(digest->v, http2_text_word(digest->record, digest->at));
	digest->at += 8;
	digest->left -= 8;
	return 0;
}

L7_INLINE __u64 http2_digest(const struct l7_config *config, struct l7_record *record, __u32 at, __u32 length)
{
	struct http2_digest digest = { .record = record, .at = at, .left = length };

	siphash_begin(digest.v, config);
	l7_loop(L7_TEXT / 8, http2_digest_step, &digest);
	return siphash_end(digest.v, http_low_bytes(http2_text_word(record, digest.at), digest.left & 7), length);
}

#endif
