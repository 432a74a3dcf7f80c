/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Services as the kernel sees them: address -> frontend -> slots -> backend.
 *
 * Only the agent writes these maps. A frontend holds two versions and a word that says which generation brought the newer
 * one: a program reads the generation once, on entry, and so sees an apply entirely or not at all. The agent writes the
 * version nobody reads, then the word, for every frontend of the apply, then the generation; and it waits an RCU grace period
 * before it reuses what the flip retired. */
#ifndef EBPFMESH_SERVICE_H
#define EBPFMESH_SERVICE_H

#include "address.h"

struct address_key {
	__u32 address[4];
	__u64 scope; /* cookie of the one network namespace it is valid in; 0 is any */
	__u16 port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 padding[5];
};

enum pick {
	PICK_NONE = 0,
	PICK_HASH = 1,	 /* the slot that the key's hash names: Maglev and every other consistent hash */
	PICK_RANDOM = 2, /* any slot */
	PICK_TURN = 3,	 /* one slot after the other */
	PICK_ALIAS = 4,	 /* any column of Walker's alias table, then its backend or its alias */
};

enum hash_key {
	HASH_WORKLOAD = 0, /* network namespace and cgroup of the caller */
	HASH_SOURCE_ADDRESS = 1,
	HASH_DESTINATION = 2,
	HASH_MARK = 3,
};

#define DISPATCH_PRESENT 1 /* otherwise the address is nobody's: the connection is left alone */
#define DISPATCH_FAIL_OPEN 2
#define DISPATCH_DUAL_STACK 0 /* index into table[]: a socket that reaches IPv4 too */
#define DISPATCH_ONE_FAMILY 1 /* … or the family of its address alone */

struct slot_table {
	__u32 start; /* element of `slots` */
	__u32 count; /* slots, or columns with PICK_ALIAS */
};

struct dispatch {
	__u32 service;
	__u8 pick;
	__u8 hash_key;
	__u8 flags;
	__u8 refusal; /* errno of connect() when no backend is left */
	struct slot_table table[2];
};

struct frontend {
	__u64 word; /* generation that brought the newer version << 1 | index of that version */
	struct dispatch version[2];
};

struct backend_key {
	__u32 service;
	__u32 id; /* stable within the service, 1 … 65535: what slots hold */
};

struct backend {
	__u32 address[4];
	__u16 port;
	__u8 padding[2];
	__u32 counter; /* element of `backend_stats` */
};

struct settings {
	__u64 generation;
	__u64 scoped; /* how many addresses have a scope: with none, one look-up is saved */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address_key);
	__type(value, __u32); /* element of `frontends`; never changed in place */
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct frontend);
} frontends SEC(".maps");

/* Four 16-bit slots, or one alias column, to an element: an array rounds its elements up to 8 bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_key);
	__type(value, struct backend); /* never changed in place: another address is another id */
} backends SEC(".maps");

/* Weights, for `status` and the agent that takes over: no program reads them, the slots already hold them. They are apart
 * because a hash element that is replaced may be handed out again at once, under the eyes of a program that reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32); /* as of `backend_stats` */
	__type(value, __u64);
} weights SEC(".maps");

/* Whose turn it is; the only state that picking leaves behind. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} turns SEC(".maps");

/* The names behind the numbers, for the agent that takes over and for `status`; no program reads it. */
struct service_record {
	__u64 digest; /* of the service's model; 0 while an apply is under way */
	__u32 service;
	__u8 protocol;
	__u8 key;
	__u8 refusal;
	__u8 flags;
	__u32 table_size;
	char balancer[36];
	__u64 scope;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, char[64]);
	__type(value, struct service_record);
} services SEC(".maps");

static __always_inline const struct dispatch *current_dispatch(const struct frontend *frontend, __u64 generation)
{
	__u64 word = *(volatile const __u64 *)&frontend->word;
	__u32 index = word & 1;

	if (word >> 1 > generation)
		index ^= 1;
	return index ? &frontend->version[1] : &frontend->version[0];
}

#endif
