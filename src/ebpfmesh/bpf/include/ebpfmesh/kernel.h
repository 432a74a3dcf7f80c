/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The kernel's own structures, as far as we read them. CO-RE relocates every access to where the field lies in the running
 * kernel (preserve_access_index), so these are names and types, not layouts. */
#ifndef EBPFMESH_KERNEL_H
#define EBPFMESH_KERNEL_H

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define CORE __attribute__((preserve_access_index))

typedef struct {
	struct net *net;
} CORE possible_net_t;

struct netns_ipv4 {
	int sysctl_tcp_wmem[3];
} CORE;

struct net {
	__u64 net_cookie;
	struct netns_ipv4 ipv4;
} CORE;

struct in6_addr {
	union {
		__u32 u6_addr32[4];
	} in6_u;
} CORE;

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_ipv6only : 1;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	unsigned long skc_flags;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} CORE;

#define SOCK_DONE 1 /* bit of skc_flags: the peer's FIN has come */

struct kernfs_node {
	__u64 id; /* of a cgroup: the inode of its directory */
} CORE;

struct cgroup {
	int level; /* 0 is the root */
	struct kernfs_node *kn;
	struct cgroup *ancestors[]; /* by level, itself included */
} CORE;

struct cgroup___before_6_1 {
	int level;
	__u64 ancestor_ids[];
} CORE;

struct sock_cgroup_data {
	struct cgroup *cgroup;
} CORE;

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	struct sock_cgroup_data sk_cgrp_data;
	int sk_sndbuf;
	int sk_wmem_queued;
	void *sk_user_data; /* of a socket in a sockmap: its sk_psock, and flags in the lowest three bits */
} CORE;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct sk_psock {
	refcount_t refcnt;
} CORE;

/* bpf_skc_to_tcp_sock() and bpf_skc_to_tcp6_sock() return these; a struct sock is at their start. */
struct tcp_sock {
	__u32 write_seq;	    /* of the next byte that is queued */
	__u32 snd_nxt;		    /* … that is sent */
	__u32 notsent_lowat;	    /* TCP_NOTSENT_LOWAT; 0: the namespace's */
	unsigned char is_mptcp : 1; /* a subflow of MPTCP */
} CORE;
struct tcp6_sock;

/* What an iterator over a socket-storage map is given (net/core/bpf_sk_storage.c). */
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} CORE;

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct sock *sk;
	void *value;
} CORE;

#endif
