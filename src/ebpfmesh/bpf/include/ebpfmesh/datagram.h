/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Unconnected UDP: every datagram is balanced by itself, and the reply must come from the address it was sent to.
 *
 * A socket may talk to any number of backends, so the way back is a bounded LRU keyed by socket and backend; the socket
 * remembers its last few keys, which are removed when it is released. What was evicted is counted at the reply. */
#ifndef EBPFMESH_DATAGRAM_H
#define EBPFMESH_DATAGRAM_H

#include "address.h"

#define RECENT 8

struct reply_key {
	__u64 socket; /* cookie */
	__u32 address[4];
	__u16 port;
	__u8 padding[6];
};

struct reply {
	struct endpoint frontend;
	__u32 service;
};

struct sender {
	__u32 next;
	__u32 service; /* the last one asked for: it is charged with a miss */
	struct endpoint recent[RECENT];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct reply_key);
	__type(value, struct reply);
} replies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sender);
} senders SEC(".maps");

static __always_inline void reply_key(struct reply_key *key, __u64 socket, const struct endpoint *backend)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->socket = socket;
	key->address[0] = backend->address[0];
	key->address[1] = backend->address[1];
	key->address[2] = backend->address[2];
	key->address[3] = backend->address[3];
	key->port = backend->port;
}

/* Remember the way back from `backend` to `frontend`. 0, or non-zero if it could not be stored. */
static __always_inline int remember_reply(struct bpf_sock_addr *ctx, const struct endpoint *frontend,
					  const struct endpoint *backend, __u32 service)
{
	struct reply value = { .frontend = *frontend, .service = service };
	struct reply_key key;
	struct reply *known;
	struct sender *sender;

	if (!ctx->sk)
		return -1;
	reply_key(&key, bpf_get_socket_cookie(ctx), backend);
	known = bpf_map_lookup_elem(&replies, &key);
	if (known && same_endpoint(&known->frontend, frontend))
		return 0;
	sender = bpf_sk_storage_get(&senders, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!sender)
		return -1;
	if (!known)
		sender->recent[sender->next++ % RECENT] = *backend;
	sender->service = service;
	return bpf_map_update_elem(&replies, &key, &value, BPF_ANY);
}

#endif
