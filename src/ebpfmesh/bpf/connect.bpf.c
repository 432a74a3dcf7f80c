// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* Tier 0: a connect() or sendmsg() to a service becomes one to a backend, before a packet exists.
 *
 * Programs: connect4/6 and sendmsg4/6 pick a backend; recvmsg4/6 and getpeername4/6 show the service's address again; sockops and
 * sock_release follow the connection to its end; the iterator lists the sockets that hold a record. Minimum kernel 5.18
 * (bpf_set_retval, commit b44123b4a3dc). */
#include "ebpfmesh/connection.h"
#include "ebpfmesh/datagram.h"
#include "ebpfmesh/listing.h"
#include "ebpfmesh/pick.h"
#include "ebpfmesh/service.h"

#define PASS 1
#define REFUSE 0

#define SOCK_STREAM 1
#define ENOMEM 12

/* What a look-up at a service address found. */
struct choice {
	struct dispatch dispatch;
	struct endpoint backend;
	__u32 id;
	__u32 counter;
};

enum outcome { NOT_OURS, CHOSEN, NO_BACKEND, BROKEN };

static __always_inline int refuse(int error)
{
	bpf_set_retval(-error);
	return REFUSE;
}

static __always_inline __u8 protocol_of(const struct bpf_sock_addr *ctx)
{
	/* MPTCP falls back to TCP on the wire, and is a service's TCP to whoever calls connect() */
	return ctx->protocol == IPPROTO_MPTCP ? IPPROTO_TCP : ctx->protocol;
}

/* What is current at an address; NULL if it is nobody's. A tombstone, or an address whose apply is not current yet, is nobody's. */
static __always_inline const struct dispatch *dispatch_at(const struct address_key *key, __u64 generation)
{
	__u32 *index = bpf_map_lookup_elem(&addresses, key);
	const struct dispatch *current;
	struct frontend *frontend;

	if (!index)
		return NULL;
	frontend = bpf_map_lookup_elem(&frontends, index);
	if (!frontend)
		return NULL;
	current = current_dispatch(frontend, generation);
	return current->flags & DISPATCH_PRESENT ? current : NULL;
}

static __always_inline const struct dispatch *find_dispatch(struct bpf_sock_addr *ctx,
							    const struct endpoint *destination,
							    const struct settings *at, __u64 generation)
{
	struct address_key key = { .port = destination->port, .protocol = protocol_of(ctx) };
	const struct dispatch *found = NULL;

	key.address[0] = destination->address[0];
	key.address[1] = destination->address[1];
	key.address[2] = destination->address[2];
	key.address[3] = destination->address[3];
	if (at->scoped) {
		key.scope = bpf_get_netns_cookie(ctx);
		found = dispatch_at(&key, generation);
		key.scope = 0;
	}
	return found ? found : dispatch_at(&key, generation);
}

/* Can this socket, asked for an IPv6 address, send to an IPv4 one? TCP can, by a v4-mapped address, unless it is bound to
 * an IPv6 address or IPV6_V6ONLY is set; UDP's sendmsg() cannot, and connect() follows it. */
static __always_inline int reaches_v4(struct bpf_sock_addr *ctx)
{
	struct tcp6_sock *tcp;
	__u32 source[4];

	if (ctx->type != SOCK_STREAM || !ctx->sk || ctx->protocol == IPPROTO_MPTCP)
		return 0;
	read_source(ctx->sk, source);
	if (!is_unspecified(source) && !is_v4(source))
		return 0;
	tcp = bpf_skc_to_tcp6_sock(ctx->sk);
	if (!tcp)
		return 0;
	return !BPF_CORE_READ_BITFIELD(&((struct sock *)tcp)->__sk_common, skc_ipv6only);
}

enum reach { ONE_FAMILY, BOTH_FAMILIES, IPV4_OF_BOTH };

#define WALK 32 /* slots that such a socket looks at before it is refused */

/* What a connect() to an IPv6 address can be turned to. A TCP socket that was turned to IPv4 once stays there: the kernel
 * keeps its IPv4 operations (icsk_af_ops), and a later connect() to an IPv6 backend would never be answered. */
static __always_inline enum reach reach_of(struct bpf_sock_addr *ctx)
{
	struct connection *before;

	if (!reaches_v4(ctx) || !ctx->sk)
		return ONE_FAMILY;
	before = bpf_sk_storage_get(&connections, ctx->sk, 0, 0);
	return before && is_v4(before->backend.address) ? IPV4_OF_BOTH : BOTH_FAMILIES;
}

static __always_inline enum outcome choose(struct bpf_sock_addr *ctx, const struct endpoint *destination,
					   enum reach reach, struct choice *choice)
{
	const struct slot_table *table;
	const struct dispatch *current;
	struct settings *at;
	struct backend_key key;
	struct backend *backend;
	__u64 generation;
	__u32 zero = 0, step;

	at = bpf_map_lookup_elem(&settings, &zero);
	if (!at)
		return NOT_OURS; /* cannot be: an array has its element 0 */
	generation = *(volatile __u64 *)&at->generation;
	current = find_dispatch(ctx, destination, at, generation);
	if (!current)
		return NOT_OURS;
	choice->dispatch = *current;
	table = reach == ONE_FAMILY ? &choice->dispatch.table[DISPATCH_ONE_FAMILY] :
				      &choice->dispatch.table[DISPATCH_DUAL_STACK];
	if (!table->count)
		return NO_BACKEND;
	key.service = choice->dispatch.service;
	for (step = 0; step < WALK; step++) {
		key.id = pick_slot(ctx, &choice->dispatch, table, destination, step);
		backend = bpf_map_lookup_elem(&backends, &key);
		if (!backend)
			return BROKEN;
		if (reach != IPV4_OF_BOTH || is_v4(backend->address))
			break;
	}
	if (step == WALK)
		return NO_BACKEND;
	choice->backend.address[0] = backend->address[0];
	choice->backend.address[1] = backend->address[1];
	choice->backend.address[2] = backend->address[2];
	choice->backend.address[3] = backend->address[3];
	choice->backend.port = backend->port;
	choice->id = key.id;
	choice->counter = backend->counter;
	return CHOSEN;
}

/* The verdict where there is no backend to go to: PASS only where the service's policy is to fail open. */
static __always_inline int without_backend(const struct choice *choice, enum outcome outcome)
{
	if (outcome == NO_BACKEND) {
		count_service(choice->dispatch.service, refused);
		return refuse(choice->dispatch.refusal);
	}
	count_service(choice->dispatch.service, errors);
	return choice->dispatch.flags & DISPATCH_FAIL_OPEN ? PASS : refuse(choice->dispatch.refusal);
}

/* A socket that connects anew is through with what it was connected to (UDP may connect at any time). */
static __always_inline void forget(struct bpf_sock_addr *ctx)
{
	struct connection *connection;

	if (!ctx->sk)
		return;
	connection = bpf_sk_storage_get(&connections, ctx->sk, 0, 0);
	if (connection)
		connection_end(connection, 0, 0);
}

static __always_inline int record(struct bpf_sock_addr *ctx, const struct endpoint *destination,
				  const struct choice *choice)
{
	struct connection *connection;

	if (!ctx->sk)
		return -1;
	connection = bpf_sk_storage_get(&connections, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!connection)
		return -1;
	connection->service = choice->dispatch.service;
	connection->id = choice->id;
	connection->counter = choice->counter;
	connection->frontend = *destination;
	connection->backend = choice->backend;
	count(connection->service, connection->counter, active, 1);
	connection->state = CONNECTION_PICKED;
	if (ctx->protocol !=
	    IPPROTO_TCP) /* UDP is open at once; so is MPTCP where the hook sees it and not its subflow */
		connection_open(connection);
	return 0;
}

static __always_inline int on_connect(struct bpf_sock_addr *ctx, const struct endpoint *destination, enum reach reach,
				      struct choice *choice)
{
	enum outcome outcome;

	outcome = choose(ctx, destination, reach, choice);
	if (outcome == NO_BACKEND || outcome == BROKEN) {
		int verdict = without_backend(choice, outcome);

		if (verdict == PASS)
			forget(ctx);
		return verdict; /* a refused UDP socket stays connected to what it was */
	}
	forget(ctx);
	if (outcome == NOT_OURS)
		return PASS;
	if (record(ctx, destination, choice)) {
		count_service(choice->dispatch.service, errors);
		if (!(choice->dispatch.flags & DISPATCH_FAIL_OPEN))
			return refuse(ENOMEM);
	}
	return CHOSEN + PASS; /* the caller writes the backend's address and passes */
}

static __always_inline int on_sendmsg(struct bpf_sock_addr *ctx, const struct endpoint *destination,
				      struct choice *choice)
{
	enum outcome outcome;

	/* disconnected by AF_UNSPEC, which no hook sees: now it shows */
	if (ctx->sk && ctx->sk->state != BPF_TCP_ESTABLISHED)
		forget(ctx);
	outcome = choose(ctx, destination, ONE_FAMILY, choice);
	if (outcome == NOT_OURS)
		return PASS;
	if (outcome != CHOSEN)
		return without_backend(choice, outcome);
	if (remember_reply(ctx, destination, &choice->backend, choice->dispatch.service)) {
		count_service(choice->dispatch.service, errors);
		if (!(choice->dispatch.flags & DISPATCH_FAIL_OPEN))
			return refuse(ENOMEM);
	}
	count(choice->dispatch.service, choice->counter, datagrams, 1);
	return CHOSEN + PASS;
}

/* The service address to show in the place of `peer`: 1 if there is one. */
static __always_inline int frontend_of(struct bpf_sock_addr *ctx, const struct endpoint *peer,
				       struct endpoint *frontend)
{
	struct connection *connection;

	if (!ctx->sk)
		return 0;
	connection = bpf_sk_storage_get(&connections, ctx->sk, 0, 0);
	/* one that ended says nothing: the socket may be connected to that backend by its own address now */
	if (!connection || connection->state == CONNECTION_NONE || !same_endpoint(&connection->backend, peer))
		return 0;
	*frontend = connection->frontend;
	return 1;
}

static __always_inline int on_recvmsg(struct bpf_sock_addr *ctx, const struct endpoint *source,
				      struct endpoint *frontend)
{
	struct reply_key key;
	struct sender *sender;
	struct reply *reply;

	if (frontend_of(ctx, source, frontend))
		return 1;
	if (!ctx->sk)
		return 0;
	sender = bpf_sk_storage_get(&senders, ctx->sk, 0, 0);
	if (!sender)
		return 0;
	reply_key(&key, bpf_get_socket_cookie(ctx), source);
	reply = bpf_map_lookup_elem(&replies, &key);
	if (!reply) {
		count_service(sender->service, reply_misses);
		return 0;
	}
	*frontend = reply->frontend;
	return 1;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint destination;
	struct choice choice = {};
	int verdict;

	read_v4(ctx, &destination);
	verdict = on_connect(ctx, &destination, ONE_FAMILY, &choice);
	if (verdict != CHOSEN + PASS)
		return verdict;
	write_v4(ctx, &choice.backend);
	return PASS;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint destination;
	struct choice choice = {};
	int verdict;

	read_v6(ctx, &destination);
	verdict = on_connect(ctx, &destination, reach_of(ctx), &choice);
	if (verdict != CHOSEN + PASS)
		return verdict;
	write_v6(ctx, &choice.backend);
	return PASS;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint destination;
	struct choice choice = {};
	int verdict;

	read_v4(ctx, &destination);
	verdict = on_sendmsg(ctx, &destination, &choice);
	if (verdict != CHOSEN + PASS)
		return verdict;
	write_v4(ctx, &choice.backend);
	return PASS;
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint destination;
	struct choice choice = {};
	int verdict;

	read_v6(ctx, &destination);
	verdict = on_sendmsg(ctx, &destination, &choice);
	if (verdict != CHOSEN + PASS)
		return verdict;
	write_v6(ctx, &choice.backend);
	return PASS;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint source, frontend;

	read_v4(ctx, &source);
	if (on_recvmsg(ctx, &source, &frontend))
		write_v4(ctx, &frontend);
	return PASS;
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint source, frontend;

	read_v6(ctx, &source);
	if (on_recvmsg(ctx, &source, &frontend))
		write_v6(ctx, &frontend);
	return PASS;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer, frontend;

	read_v4(ctx, &peer);
	if (frontend_of(ctx, &peer, &frontend))
		write_v4(ctx, &frontend);
	return PASS;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer, frontend;

	read_v6(ctx, &peer);
	if (frontend_of(ctx, &peer, &frontend))
		write_v6(ctx, &frontend);
	return PASS;
}

/* The kernel counts SYN and FIN as bytes (RFC 9293, section 3.4: each takes a sequence number); the application does not. */
static __always_inline void end_tcp(struct bpf_sock_ops *ctx, struct bpf_sock *socket, struct connection *connection)
{
	__u32 state = ctx->args[0];
	__u64 sent = ctx->bytes_acked, received = ctx->bytes_received;
	__u64 marks = 1 + (state == BPF_TCP_FIN_WAIT2 || state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING ||
			   state == BPF_TCP_TIME_WAIT);
	struct sock *sk = (struct sock *)bpf_skc_to_tcp_sock(socket);

	if (sk && sk->__sk_common.skc_flags >> SOCK_DONE & 1 && received)
		received--;
	connection_end(connection, sent > marks ? sent - marks : 0, received);
}

SEC("sockops")
int lifetime(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *socket = ctx->sk; /* read once: the verifier forgets the check of a second read */
	struct connection *connection;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
	    ctx->op != BPF_SOCK_OPS_STATE_CB)
		return 1;
	if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] != BPF_TCP_CLOSE)
		return 1;
	if (!socket)
		return 1;
	connection = bpf_sk_storage_get(&connections, socket, 0, 0);
	if (!connection)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		connection_open(connection);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		end_tcp(ctx, socket, connection);
		break;
	}
	return 1;
}

SEC("cgroup/sock_release")
int released(struct bpf_sock *ctx)
{
	struct connection *connection = bpf_sk_storage_get(&connections, ctx, 0, 0);
	struct sender *sender = bpf_sk_storage_get(&senders, ctx, 0, 0);
	struct reply_key key;
	__u64 socket;
	int i;

	/* An open TCP connection lives on after close(), until sockops sees it end. */
	if (connection && (ctx->protocol != IPPROTO_TCP || connection->state == CONNECTION_PICKED))
		connection_end(connection, 0, 0);
	if (!sender)
		return PASS;
	socket = bpf_get_socket_cookie(ctx);
#pragma unroll
	for (i = 0; i < RECENT; i++) {
		reply_key(&key, socket, &sender->recent[i]);
		bpf_map_delete_elem(&replies, &key);
	}
	return PASS;
}

SEC("?iter/bpf_sk_storage_map")
int list_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct connection *connection = ctx->value;
	struct sock *sk = ctx->sk;
	struct listed_socket line = {};

	if (!sk || !connection || connection->state == CONNECTION_NONE)
		return 0;
	describe_socket(sk, connection, &line);
	bpf_seq_write(ctx->meta->seq, &line, sizeof(line));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
