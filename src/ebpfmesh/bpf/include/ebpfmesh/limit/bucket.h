/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Which word a request's limit is kept in, and taking from it. The words of all keys of all limits share one map. A key that
 * finds it full takes from the limit's overflow bucket, which all such keys share: more keys than there is room for are
 * limited more, never less. The agent removes words whose time has passed: a key without one begins as if it were idle. */
#ifndef EBPFMESH_LIMIT_BUCKET_H
#define EBPFMESH_LIMIT_BUCKET_H

#include "../authorise/walk.h"
#include "gcra.h"

struct l7_value_digest {
	__u64 v[4];
	struct l7_record *record;
	struct l7_decision *decision;
};

/* decision.work while a value is digested. */
enum l7_value_work { L7_VALUE_DIGEST = 0, L7_VALUE_AT, L7_VALUE_END };

L7_CALLBACK long l7_value_word(__u32 i, void *context)
{
	struct l7_value_digest *digest = context;
	__u64 *work = digest->decision->work;

	(void)i;
	if (work[L7_VALUE_AT] + 8 > work[L7_VALUE_END])
		return 1;
	siphash_word(digest->v, l7_load64(l7_text_at(digest->record, work[L7_VALUE_AT])));
	work[L7_VALUE_AT] += 8;
	return 0;
}

/* The digest of the value of a field, in decision.work; 0 if it cannot be. */
L7_INLINE int l7_value_digest(struct l7_record *record, struct l7_decision *decision, __u32 field)
{
	struct l7_value_digest digest = { .record = record, .decision = decision };
	const union l7_value *value;
	__u64 tail;

	if (!l7_digest_begin(digest.v))
		return 0;
	value = &record->fields[L7_INDEX(field, L7_FIELDS)];
	decision->work[L7_VALUE_AT] = value->offset;
	decision->work[L7_VALUE_END] = (__u64)value->offset + value->length;
	l7_loop(L7_TEXT / 8, l7_value_word, &digest);
	tail = l7_load64(l7_text_at(record, decision->work[L7_VALUE_AT]));
	decision->work[L7_VALUE_DIGEST] = siphash_end(digest.v, http_low_bytes(tail, value->length & 7), value->length);
	return 1;
}

/* Of a value that came more than once, or was cut, nothing is known: as if it were not there. */
L7_INLINE int l7_bucket_of_field(struct l7_bucket_key *key, struct l7_record *record, struct l7_decision *decision,
				 __u32 field)
{
	__u32 bit = 1u << (field & (L7_FIELDS - 1));

	if (!(record->present & bit) || (record->truncated | record->repeated) & bit)
		return 1;
	key->key[1] = 1;		   /* it has a value */
	if (field == HTTP_AUTHORIZATION) { /* which is a digest by itself */
		key->key[0] = record->fields[HTTP_AUTHORIZATION].number;
		return 1;
	}
	if (!l7_value_digest(record, decision, field))
		return 0;
	key->length = record->fields[L7_INDEX(field, L7_FIELDS)].length;
	key->key[0] = decision->work[L7_VALUE_DIGEST];
	return 1;
}

L7_INLINE __u64 l7_address_half(const __u32 *address)
{
	return address[0] | (__u64)address[1] << 32;
}

/* The word of a key; NULL with *made set: it was made, and has been taken from; NULL without: there is no room. */
L7_INLINE __u64 *l7_bucket(const struct l7_bucket_key *key, const struct l7_limit *limit, __u64 now, int *made)
{
	__u64 *word = bpf_map_lookup_elem(&l7_buckets, key), due = now + limit->interval;

	*made = 0;
	if (word)
		return word;
	*made = !bpf_map_update_elem(&l7_buckets, key, &due, BPF_NOEXIST);
	return *made ? NULL : bpf_map_lookup_elem(&l7_buckets, key);
}

/* Takes one request of the limit with an index: 1 if it is admitted; 0 if not, retry_after is then set; -1 if there is no such
 * limit. */
L7_GLOBAL int l7_limit_take(struct l7_record *record, struct l7_decision *decision, __u32 index)
{
	const struct l7_limit *limit = l7_element(&l7_limits, index);
	struct l7_limit_counters *counters;
	struct l7_bucket_key key = {};
	int taken, made;
	__u64 *word;

	if (!record || !decision || !limit || !limit->interval)
		return -1;
	counters = l7_element(&l7_limit_stats, limit->number);
	if (!counters)
		return -1;
	key.limit = limit->number;
	if (limit->key == L7_PER_ADDRESS) {
		key.key[0] = l7_address_half(decision->address);
		key.key[1] = l7_address_half(decision->address + 2);
	} else if (limit->key == L7_PER_IDENTITY) {
		key.key[0] = decision->workload;
	} else if (limit->key == L7_PER_FIELD && !l7_bucket_of_field(&key, record, decision, limit->field)) {
		return -1;
	}
	word = l7_bucket(&key, limit, decision->now, &made);
	if (!word && !made) {
		__sync_fetch_and_add(&counters->overflowed, 1);
		word = l7_element(&l7_limit_full, limit->number);
	}
	taken = L7_GCRA_ADMITTED;
	if (!made) {
		if (!word)
			return -1;
		taken = l7_gcra_take(word, limit, decision->now, &decision->retry_after);
	}
	if (taken == L7_GCRA_ADMITTED) {
		__sync_fetch_and_add(&counters->admitted, 1);
		return 1;
	}
	__sync_fetch_and_add(&counters->refused, 1);
	if (taken == L7_GCRA_CONTENDED)
		__sync_fetch_and_add(&counters->contended, 1);
	return 0;
}

#endif
