/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* SipHash-2-4 (Aumasson and Bernstein, 2012) of a value in record->text: a secret is told by its digest and not kept. */
#ifndef EBPFMESH_L7_HTTP2_DIGEST_H
#define EBPFMESH_L7_HTTP2_DIGEST_H

#include "text.h"

struct http2_digest {
	struct l7_record *record;
	__u32 at;
	__u32 left;
	__u64 v[4];
};

L7_INLINE __u64 http2_rotated(__u64 word, __u32 bits)
{
	return word << bits | word >> (64 - bits);
}

L7_INLINE void http2_sip_round(__u64 v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = http2_rotated(v[1], 13) ^ v[0];
	v[3] = http2_rotated(v[3], 16) ^ v[2];
	v[0] = http2_rotated(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = http2_rotated(v[1], 17) ^ v[2];
	v[3] = http2_rotated(v[3], 21) ^ v[0];
	v[2] = http2_rotated(v[2], 32);
}

L7_INLINE void http2_sip_word(__u64 v[4], __u64 word)
{
	v[3] ^= word;
	http2_sip_round(v);
	http2_sip_round(v);
	v[0] ^= word;
}

L7_CALLBACK long http2_digest_step(__u32 i, void *context)
{
	struct http2_digest *digest = context;

	(void)i;
	if (digest->left < 8)
		return 1;
	http2_sip_word(digest->v, http2_text_word(digest->record, digest->at));
	digest->at += 8;
	digest->left -= 8;
	return 0;
}

L7_INLINE __u64 http2_digest(const struct l7_config *config, struct l7_record *record, __u32 at, __u32 length)
{
	struct http2_digest digest = { .record = record, .at = at, .left = length };
	__u64 last;

	digest.v[0] = config->key[0] ^ 0x736f6d6570736575ull;
	digest.v[1] = config->key[1] ^ 0x646f72616e646f6dull;
	digest.v[2] = config->key[0] ^ 0x6c7967656e657261ull;
	digest.v[3] = config->key[1] ^ 0x7465646279746573ull;
	l7_loop(L7_TEXT / 8, http2_digest_step, &digest);
	last = http_low_bytes(http2_text_word(record, digest.at), digest.left & 7);
	http2_sip_word(digest.v, last | (__u64)length << 56);
	digest.v[2] ^= 0xff;
	for (__u32 i = 0; i < 4; i++)
		http2_sip_round(digest.v);
	return digest.v[0] ^ digest.v[1] ^ digest.v[2] ^ digest.v[3];
}

#endif
