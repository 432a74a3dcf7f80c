/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The ways to pick a slot, all O(1). A balancer is a table builder in Python plus one of these. */
#ifndef EBPFMESH_PICK_H
#define EBPFMESH_PICK_H

#include "service.h"

/* The finaliser of splitmix64: fixed for good, so that a key finds its backend again after a restart. */
static __always_inline __u64 mix(__u64 value)
{
	value ^= value >> 30;
	value *= 0xbf58476d1ce4e5b9ULL;
	value ^= value >> 27;
	value *= 0x94d049bb133111ebULL;
	return value ^ value >> 31;
}

static __always_inline __u64 hash_endpoint(const __u32 address[4], __u64 port)
{
	__u64 high = (__u64)address[0] << 32 | address[1];
	__u64 low = (__u64)address[2] << 32 | address[3];

	return mix(mix(high + 0x9e3779b97f4a7c15ULL) ^ low) + port;
}

static __always_inline __u64 hash_workload(struct bpf_sock_addr *ctx)
{
	return mix(bpf_get_netns_cookie(ctx)) ^ bpf_get_current_cgroup_id();
}

static __always_inline __u32 hash_of(struct bpf_sock_addr *ctx, __u8 hash_key, const struct endpoint *destination)
{
	__u32 source[4] = {};
	__u64 value;

	switch (hash_key) {
	case HASH_SOURCE_ADDRESS:
		if (ctx->sk)
			read_source(ctx->sk, source);
		/* Unset unless the socket is bound: the workload then stands in, or all would share one backend. */
		value = is_unspecified(source) ? hash_workload(ctx) : hash_endpoint(source, 0);
		break;
	case HASH_DESTINATION:
		value = hash_endpoint(destination->address, destination->port);
		break;
	case HASH_MARK:
		value = ctx->sk ? ctx->sk->mark : 0;
		break;
	default:
		value = hash_workload(ctx);
	}
	return mix(value) >> 32;
}

/* A number below `count` for each 32-bit `value`, evenly, without a division. */
static __always_inline __u32 scale(__u32 value, __u32 count)
{
	return (__u64)value * count >> 32;
}

static __always_inline __u32 slot_at(__u32 start, __u32 slot)
{
	__u32 element = start + slot / 4;
	__u64 *packed = bpf_map_lookup_elem(&slots, &element);

	return packed ? (*packed >> (slot % 4 * 16)) & 0xffff : 0;
}

static __always_inline __u32 alias_at(__u32 start, __u32 count)
{
	__u64 position = (__u64)bpf_get_prandom_u32() * count;
	__u32 element = start + (position >> 32);
	__u64 *column = bpf_map_lookup_elem(&slots, &element);
	__u32 fraction = (__u32)position >> 16;

	if (!column)
		return 0;
	/* {id, alias, threshold, 0}: the id with probability threshold / 65536, else the alias (the id again if certain) */
	return fraction < (*column >> 32 & 0xffff) ? *column & 0xffff : *column >> 16 & 0xffff;
}

/* The backend id in the picked slot; 0 if the table is missing, which the caller counts. `step` is 0, and one more each time
 * the caller cannot use what was picked. */
static __always_inline __u32 pick_slot(struct bpf_sock_addr *ctx, const struct dispatch *dispatch,
				       const struct slot_table *table, const struct endpoint *destination, __u32 step)
{
	__u32 service = dispatch->service;
	__u32 count = table->count;
	__u32 slot;
	__u64 *turn;

	switch (dispatch->pick) {
	case PICK_HASH:
		slot = scale(hash_of(ctx, dispatch->hash_key, destination), count) + step;
		return slot_at(table->start, slot < count ? slot : slot % count);
	case PICK_RANDOM:
		return slot_at(table->start, scale(bpf_get_prandom_u32(), count));
	case PICK_TURN:
		turn = bpf_map_lookup_elem(&turns, &service);
		if (!turn || !count)
			return 0;
		return slot_at(table->start, __sync_fetch_and_add(turn, 1) % count);
	case PICK_ALIAS:
		return alias_at(table->start, count);
	}
	return 0;
}

#endif
