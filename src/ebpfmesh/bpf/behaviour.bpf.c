/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What this kernel does with sockets that are enrolled as the L7 tier enrols them: for the behaviour probes and the
 * conformance suite of real sockets. It holds no policy: user space says what becomes of the next messages. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define SOCKETS 4096
#define REPLY_BYTES 64 /* a multiple of 8 */
#define REPLY_WORD 0x0a21796c7065526cULL

enum verdict {
	PASSES = 0,	  /* SK_PASS: the kernel remembers it when the push fails */
	FORWARDS = 1,	  /* to the own socket, out: forgotten before the push */
	REPLIES = 2,	  /* turned into a reply, to the own socket, in */
	SWALLOWS = 3,	  /* all bytes taken out */
	REFUSES = 4,	  /* SK_DROP */
	DOES_AS_TOLD = 5, /* by the first byte: 'F', 'R', 'S', 'X'; another is FORWARDS */
};

/* Each a word of its own: user space stores whole words. */
volatile __u64 verdict;
volatile __u64 refrains; /* from enrolling: the sockets are ordinary ones */
volatile __u64 applies;	 /* bytes of bpf_msg_apply_bytes(); 0: none */
volatile __u64 pulls;	 /* bytes that are pulled before the verdict, at most; 0: none */

volatile __u64 enrolled;
volatile __u64 not_enrolled;
volatile __u64 runs_sent;
volatile __u64 runs_received;
volatile __u64 bytes_sent;
volatile __u64 bytes_received;
volatile __u64 failures; /* of helpers */

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, SOCKETS);
	__type(key, __u64);
	__type(value, __u64);
} sockets SEC(".maps");

/* sk_msg has no cookie of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} cookies SEC(".maps");

static __always_inline void count(volatile __u64 *counter, __u64 more)
{
	__sync_fetch_and_add((__u64 *)counter, more);
}

SEC("sockops") int enrol(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	__u64 cookie, *kept;

	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || !sk || refrains)
		return 1;
	cookie = bpf_get_socket_cookie(ops);
	kept = bpf_sk_storage_get(&cookies, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!kept)
		goto failed;
	*kept = cookie;
	if (bpf_sock_hash_update(ops, &sockets, &cookie, BPF_ANY))
		goto failed;
	count(&enrolled, 1);
	return 1;
failed:
	count(&not_enrolled, 1);
	return 1;
}

static __always_inline int failed(void)
{
	count(&failures, 1);
	return SK_DROP;
}

static __always_inline int forward(struct sk_msg_md *msg, __u64 *cookie)
{
	__u32 bytes = applies;

	if (bytes && bpf_msg_apply_bytes(msg, bytes))
		return failed();
	return bpf_msg_redirect_hash(msg, &sockets, cookie, 0);
}

/* The message becomes REPLY_BYTES of a pattern, and goes to its own sender. */
static __always_inline int reply(struct sk_msg_md *msg, __u64 *cookie)
{
	__u32 size = msg->size;
	volatile __u64 *words;

	if (size > REPLY_BYTES && bpf_msg_pop_data(msg, REPLY_BYTES, size - REPLY_BYTES, 0))
		return failed();
	if (size < REPLY_BYTES && bpf_msg_push_data(msg, size, REPLY_BYTES - size, 0))
		return failed();
	if (bpf_msg_pull_data(msg, 0, REPLY_BYTES, 0))
		return failed();
	words = msg->data;
	if ((void *)words + REPLY_BYTES > msg->data_end)
		return failed();
	for (int i = 0; i < REPLY_BYTES / 8; i++)
		words[i] = REPLY_WORD;
	return bpf_msg_redirect_hash(msg, &sockets, cookie, BPF_F_INGRESS);
}

static __always_inline int swallow(struct sk_msg_md *msg)
{
	return bpf_msg_pop_data(msg, 0, msg->size, 0) ? failed() : SK_PASS;
}

static __always_inline enum verdict told(struct sk_msg_md *msg)
{
	__u8 *data;

	if (msg->data == msg->data_end && bpf_msg_pull_data(msg, 0, 1, 0))
		return FORWARDS;
	data = msg->data;
	if ((void *)(data + 1) > msg->data_end)
		return FORWARDS;
	switch (*data) {
	case 'R':
		return REPLIES;
	case 'S':
		return SWALLOWS;
	case 'X':
		return REFUSES;
	default:
		return FORWARDS;
	}
}

SEC("sk_msg") int sent(struct sk_msg_md *msg)
{
	enum verdict wanted = verdict;
	__u32 pulled = pulls;
	__u64 *cookie;

	count(&runs_sent, 1);
	count(&bytes_sent, msg->size);
	if (!msg->sk)
		return failed();
	cookie = bpf_sk_storage_get(&cookies, msg->sk, 0, 0);
	if (!cookie)
		return failed();
	if (pulled > msg->size)
		pulled = msg->size;
	if (pulled && bpf_msg_pull_data(msg, 0, pulled, 0))
		count(&failures, 1);
	if (wanted == DOES_AS_TOLD)
		wanted = told(msg);
	switch (wanted) {
	case FORWARDS:
		return forward(msg, cookie);
	case REPLIES:
		return reply(msg, cookie);
	case SWALLOWS:
		return swallow(msg);
	case REFUSES:
		return SK_DROP;
	default:
		if (applies && bpf_msg_apply_bytes(msg, applies))
			return failed();
		return SK_PASS;
	}
}

SEC("sk_skb/stream_verdict") int received(struct __sk_buff *skb)
{
	count(&runs_received, 1);
	count(&bytes_received, skb->len);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
