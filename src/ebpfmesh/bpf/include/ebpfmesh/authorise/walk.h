/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* From a normalised path to the list of rules that are about it: the whole path in l7_paths, else its segments one after the
 * other through l7_segments. Both are asked for digests, so that a look-up costs the same for every number of rules. */
#ifndef EBPFMESH_AUTHORISE_WALK_H
#define EBPFMESH_AUTHORISE_WALK_H

#include "../l7/siphash.h"
#include "path.h"

#define L7_DIGEST_WORDS                                                                                                \
	8 /* words of eight bytes that are taken one after the other; the rest of a long text in a loop */

/* A digest of a part of the normalised path. Where it is stands in decision.path_offset: what is on the stack has a range that
 * the verifier would follow through each turn of a loop. */
struct l7_digest {
	__u64 v[4];
	struct l7_decision *decision;
};

/* 0: the key is not there. */
L7_INLINE int l7_digest_begin(__u64 v[4])
{
	const struct l7_settings *settings = l7_element(&l7_settings, 0);

	if (!settings)
		return 0;
	siphash_keyed(v, settings->key[0], settings->key[1]);
	return 1;
}

/* The index of the first '/' of a word, 8 if it has none. */
L7_INLINE __u32 l7_slash(__u64 word)
{
	__u64 marks = l7_zeroes(word ^ HTTP1_EACH('/')) & HTTP1_HIGH;

	return marks ? http1_first(marks) : 8;
}

L7_CALLBACK long l7_segment_word(__u32 i, void *context)
{
	struct l7_digest *digest = context;
	struct l7_decision *decision = digest->decision;
	__u64 word = l7_load64(l7_path_at(decision, decision->path_offset));

	(void)i;
	if (l7_slash(word) < 8)
		return 1;
	siphash_word(digest->v, word);
	decision->path_offset += 8;
	return 0;
}

L7_CALLBACK long l7_whole_word(__u32 i, void *context)
{
	struct l7_digest *digest = context;
	struct l7_decision *decision = digest->decision;

	(void)i;
	if (decision->path_offset + 8 > decision->path_length)
		return 1;
	siphash_word(digest->v, l7_load64(l7_path_at(decision, decision->path_offset)));
	decision->path_offset += 8;
	return 0;
}

/* Goes on through a long text. */
L7_INLINE void l7_digest_rest(struct l7_decision *decision, __u64 v[4], long (*word)(__u32, void *))
{
	struct l7_digest digest = { .decision = decision };

	for (int i = 0; i < 4; i++)
		digest.v[i] = v[i];
	l7_loop(L7_PATH / 8, word, &digest);
	for (int i = 0; i < 4; i++)
		v[i] = digest.v[i];
}

/* The length and the digest of the segment that begins at path_offset, which moves on to the next; 0 if it cannot be. Of less than
 * eight bytes, the digest is they themselves. */
L7_INLINE int l7_segment_digest(struct l7_decision *decision, struct l7_segment_key *key)
{
	__u32 start = decision->path_offset, at = start, n = 8;
	__u64 v[4], word = 0;

	word = l7_load64(l7_path_at(decision, at));
	n = l7_slash(word);
	if (n < 8) {
		key->length = n;
		key->hash = http_low_bytes(word, n);
		decision->path_offset = at + n + 1;
		return 1;
	}
	if (!l7_digest_begin(v))
		return 0;
	for (int k = 0; k < L7_DIGEST_WORDS; k++) {
		word = l7_load64(l7_path_at(decision, at));
		n = l7_slash(word);
		if (n < 8)
			break;
		siphash_word(v, word);
		at += 8;
	}
	decision->path_offset = at;
	if (n == 8) {
		l7_digest_rest(decision, v, l7_segment_word);
		word = l7_load64(l7_path_at(decision, decision->path_offset));
		n = l7_slash(word);
	}
	key->length = decision->path_offset + n - start;
	key->hash = siphash_end(v, http_low_bytes(word, n & 7), key->length);
	decision->path_offset += n + 1;
	return 1;
}

/* The digest of the whole path, in path_hash; 0 if it cannot be. */
L7_GLOBAL int l7_path_digest(struct l7_decision *decision)
{
	__u32 length, at = 0;
	__u64 v[4];

	if (!decision || !l7_digest_begin(v))
		return 0;
	length = decision->path_length;
	for (int k = 0; k < L7_DIGEST_WORDS; k++) {
		if (at + 8 > length)
			break;
		siphash_word(v, l7_load64(decision->path + at));
		at += 8;
	}
	decision->path_offset = at;
	if (at + 8 <= length)
		l7_digest_rest(decision, v, l7_whole_word);
	at = decision->path_offset;
	decision->path_hash =
		siphash_end(v, http_low_bytes(l7_load64(l7_path_at(decision, at)), (length - at) & 7), length);
	return 1;
}

enum l7_walked { L7_WALKS = 0, L7_ARRIVED = 1, L7_LOST_ITS_WAY = -1 };

/* One segment: path_state moves on, or the list is found; enum l7_walked. */
L7_GLOBAL int l7_walk_step(struct l7_decision *decision)
{
	struct l7_segment_key key = {};
	const struct l7_path_state *state;
	const __u32 *next;

	if (!decision)
		return L7_LOST_ITS_WAY;
	state = l7_element(&l7_path_states, decision->path_state);
	if (!state || !decision->path_state)
		return L7_LOST_ITS_WAY;
	if (decision->path_offset > decision->path_length) {
		decision->list = state->here;
		return L7_ARRIVED;
	}
	decision->list = state->deeper;
	if (state->leaf)
		return L7_ARRIVED;
	key.state = decision->path_state;
	if (!l7_segment_digest(decision, &key))
		return L7_LOST_ITS_WAY;
	next = bpf_map_lookup_elem(&l7_segments, &key);
	if (next)
		decision->path_state = *next;
	else if (key.length && state->other)
		decision->path_state = state->other;
	else
		return L7_ARRIVED;
	return L7_WALKS;
}

/* The list of the rules about the path, in decision.list; 0 if an entry that must be there is not. */
L7_INLINE int l7_walk(struct l7_decision *decision)
{
	const struct l7_policy *policy;
	struct l7_path_key key = {};
	const __u32 *list;

	if (!decision->policy)
		return 0;
	policy = l7_element(&l7_policies, decision->policy);
	if (!policy)
		return 0;
	decision->list = policy->list;
	if (decision->path_ok != L7_PATH_NORMAL)
		return 1;
	if (policy->flags & L7_POLICY_EXACT) {
		if (!l7_path_digest(decision))
			return 0;
		key.policy = decision->policy;
		key.length = decision->path_length;
		key.hash = decision->path_hash;
		list = bpf_map_lookup_elem(&l7_paths, &key);
		if (list) {
			decision->list = *list;
			return 1;
		}
	}
	decision->path_state = policy->root;
	decision->path_offset = 1;
	if (!policy->root)
		return 1;
	/* one step more, at which the path ends, or is deeper than all that is said of it */
	for (int i = 0; i <= L7_SEGMENTS; i++) {
		int walked = l7_walk_step(decision);

		if (walked != L7_WALKS)
			return walked == L7_ARRIVED;
	}
	return 1;
}

#endif
