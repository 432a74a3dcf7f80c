/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Policy as the kernel holds it. Only the agent writes these maps.
 *
 *	service ── current version ── source (workload, address class) ── policy
 *	policy ── exact path, else walk of its segments ── list of at most 32 rules
 *	rule ── methods, conditions on fields, action
 *
 * A rule set is written whole under numbers that nobody uses, then the services' versions are pointed at it, then one
 * generation is flipped; what it replaced is reused after an RCU grace period. A request reads the generation once. */
#ifndef EBPFMESH_AUTHORISE_POLICY_H
#define EBPFMESH_AUTHORISE_POLICY_H

#include "../kernel.h"
#include "../parser.h"

#define L7_CLASSIC_MAP(name, map_type, elements, key_type, value_type, map_flags_)                                     \
	struct {                                                                                                       \
		__uint(type, map_type);                                                                                \
		__uint(max_entries, elements);                                                                         \
		__uint(map_flags, map_flags_);                                                                         \
		__type(key, key_type);                                                                                 \
		__type(value, value_type);                                                                             \
	} name SEC(".maps")
#define L7_TABLE(name, elements, value_type)                                                                           \
	L7_CLASSIC_MAP(name, BPF_MAP_TYPE_ARRAY, elements, __u32, value_type, BPF_F_MMAPABLE)

/* One word for the whole tier. */
struct l7_settings {
	__u64 generation;
	__u64 key[2];	    /* of every SipHash of the tier: paths, segments, limit keys; random, made once */
	__u64 log_interval; /* nanoseconds between log records that are no denials: GCRA, 0 is no bound */
	__u64 log_burst;
	__u32 sample; /* one of so many allowed requests is logged; 0: none */
	__u32 flags;  /* enum l7_setting_flag */
};

/* What is not safe on this kernel, by the behaviour probes. */
enum l7_setting_flag {
	L7_NO_REPLIES = 1,    /* a refusal is EACCES, whatever reply the policy has */
	L7_NO_SWALLOWING = 2, /* what would be taken out of a connection is EACCES, for good */
};

enum l7_protocol { L7_OPAQUE = 0, L7_HTTP1 = 1, L7_HTTP2 = 2 };

/* What becomes of traffic that cannot be followed. */
enum l7_undecodable { L7_REFUSE = 0, L7_PASS_OPAQUE = 1, L7_TO_PROXY = 2 };

enum l7_service_flag {
	L7_SERVICE_PRESENT = 1,
	L7_UNJUDGED_PASSES = 2,	   /* what no program judged goes on: enrolment failed, data before it (fail open) */
	L7_PARTIAL_DROPS = 4,	   /* denial of a head of which a part was forwarded: EACCES instead of a reply */
	L7_OUTSTANDING_DROPS = 8,  /* denial while responses are outstanding: EACCES instead of a later reply */
	L7_ERRORS_PASS = 16,	   /* a look-up that failed (a map is missing an entry): allowed */
	L7_TRACES = 32,		   /* traceparent is continued, or injected */
	L7_HAS_PATHS = 64,	   /* a rule asks for a path: what cannot be normalised is refused */
	L7_KEEPS_PARAMETERS = 128, /* ";…" in a segment is part of it; otherwise it is refused */
	L7_DRAINS = 256,	   /* the service is gone: its connections pass */
	L7_HAS_ALLOW = 512,	   /* some rule allows: what no rule allows is denied, whatever the source */
	L7_ASKS_ADDRESS = 1024,	   /* a rule asks for the client's address; without, its class is 0 and not looked up */
	L7_ASKS_PORT = 2048,	   /* a rule asks for the port; without, it is 0 in the key of l7_sources */
	L7_ASKS_WORKLOAD = 4096,   /* a rule asks for the workload; without, it is 0 in that key */
	L7_IS_GRPC = 8192,	   /* refusals are gRPC's */
};

/* One version of a service. */
struct l7_service {
	__u64 digest; /* of what it was compiled from, for the agent that takes over; no program reads it */
	__u32 flags;  /* enum l7_service_flag */
	__u8 protocol;
	__u8 undecodable;
	__u16 sample;		 /* of traces that begin here: of 65536, how many are sampled; 65535 is all */
	__u32 rules;		 /* number of its rule set: part of the key of l7_sources */
	__u32 policy;		 /* of sources that have no entry there */
	__u32 config;		 /* element of l7_configs: how its parser reads */
	__u32 insert;		 /* element of l7_inserts: static headers; 0 is none */
	__u32 refusal;		 /* element of l7_replies: what no rule allows (403) */
	__u32 bad_path;		 /* … whose path cannot be normalised (400) */
	__u32 undecodable_reply; /* … that cannot be followed (400) */
	__u32 identities; /* number of the workloads' table: part of the key of l7_workloads; 0: nobody asks who it is */
	__u32 spare;
};

/* Element of l7_services: number of the service in the connect tier's maps. As a frontend there: two versions, and a word. */
struct l7_service_entry {
	__u64 word; /* generation that brought the newer version << 1 | its index */
	struct l7_service version[2];
};

/* Where a request comes from: the workload by its cgroup, 0 if it is none that is named; the class of its address, the
 * number of the longest prefix that a rule of this set names, 0 if none. */
struct l7_source_key {
	__u32 rules;
	__u32 workload;
	__u32 address;
	__u32 port; /* that the client connected to, of the service's; 0 without L7_ASKS_PORT */
};

/* Of one rule set: what another service names makes no difference, and a change is in force with the set. */
struct l7_address_key {
	__u32 prefix; /* bits: 32 of the number, then those of the address */
	__u32 rules;
	__u32 address[4];
};

/* A cgroup of a workload. A change of the workloads is a new table under another number, in force with the services' versions. */
struct l7_workload_key {
	__u64 cgroup;
	__u32 identities;
	__u32 spare;
};

/* Element of l7_policies: the rules of one service for one source. */
struct l7_policy {
	__u32 root; /* path state; 0: no rule asks for a path */
	__u32 list; /* rules for any path, and for requests that have none (CONNECT, "*") */
	__u32 flags;
	__u32 spare;
};

enum l7_policy_flag { L7_POLICY_EXACT = 1 }; /* it has exact paths: one look-up is saved without */

/* An exact path: SipHash-2-4 of the normalised path under settings.key, and its length. */
struct l7_path_key {
	__u32 policy;
	__u32 length;
	__u64 hash;
};

/* From a state by a segment, decoded and without slashes: its bytes, if they are less than eight, else their SipHash-2-4; the length
 * tells which. The empty last segment of "/a/" is one. */
struct l7_segment_key {
	__u32 state;
	__u32 length;
	__u64 hash;
};

/* A state of the walk over a path's segments. At its end, here is the list; where nothing leads on, deeper is. */
struct l7_path_state {
	__u32 other; /* state behind a non-empty segment that has no edge; 0: none */
	__u32 here;
	__u32 deeper;
	__u32 leaf; /* 1: nothing leads on from here, neither edge nor other */
};

#define L7_SEGMENTS 16 /* that are looked at; a longer path has matched all that a rule can say of it */
#define L7_RULES 32    /* of one list */

struct l7_list {
	__u32 count;
	__u32 rules[L7_RULES]; /* by action, in the order of enum l7_action; element of l7_rules */
	__u32 spare;
};

/* In the order in which they are looked at. */
enum l7_action {
	L7_NO_ACTION = 0,
	L7_DENY = 1,
	L7_ALLOW = 2,
	L7_AUDIT = 3, /* logged; decides nothing */
	L7_ROUTE = 4, /* names the request in metrics; the first that matches */
	L7_LIMIT = 5, /* every one that matches takes a token */
	L7_FAULT = 6, /* answers a share of the requests */
};

enum l7_rule_flag {
	L7_RULE_OPEN =
		1, /* a condition on what is not known (repeated, cut) decides for the request; else against it */
};

#define L7_CONDITIONS 6
#define L7_OTHER_METHOD 15 /* bit of methods */

struct l7_rule {
	__u8 action;
	__u8 flags;
	__u16 methods;	/* bits of enum l7_method; 0xffff: any */
	__u32 number;	/* of the rule for people: l7_rule_names */
	__u32 reply;	/* DENY, LIMIT, FAULT: element of l7_replies */
	__u32 argument; /* LIMIT: element of l7_limits; ROUTE: number of the route; FAULT: of 2^32, how many */
	__u32 conditions[L7_CONDITIONS]; /* elements of l7_conditions, 0 ends them; all must hold */
	__u32 spare[2];
};

enum l7_method {
	L7_GET = 0,
	L7_HEAD,
	L7_POST,
	L7_PUT,
	L7_DELETE,
	L7_CONNECT,
	L7_OPTIONS,
	L7_TRACE,
	L7_PATCH,
};

enum l7_condition_op {
	L7_IS_PRESENT = 1,
	L7_IS_ABSENT = 2,
	L7_EQUALS = 3,
	L7_BEGINS = 4,
	L7_ENDS = 5, /* behind at least one more byte: "*.example.com" is ENDS ".example.com" */
};

enum l7_condition_flag {
	L7_FOLDS = 1,	     /* upper case is as lower case, in which the text is */
	L7_WITHOUT_PORT = 2, /* of a host: a port, and a dot before it, do not count */
};

#define L7_CONDITION_TEXT 112

struct l7_condition {
	__u8 field; /* enum http_field */
	__u8 op;
	__u8 flags;
	__u8 length;
	__u32 spare[3];
	__u8 text[L7_CONDITION_TEXT]; /* zeroes behind it */
};

/* The names behind the numbers, for people and for the agent that takes over: no program reads them. A name keeps its number
 * as long as it is in force. */
struct l7_name_entry {
	__u32 service; /* number of the service; 0 for a workload */
	__u32 action;  /* enum l7_action; 0 if it is no rule's */
	char text[64]; /* empty: the number is free */
};

L7_TABLE(l7_settings, 1, struct l7_settings);
L7_TABLE(l7_services, 1024, struct l7_service_entry);
L7_TABLE(l7_policies, 1024, struct l7_policy);
L7_TABLE(l7_path_states, 4096, struct l7_path_state);
L7_TABLE(l7_lists, 4096, struct l7_list);
L7_TABLE(l7_rules, 4096, struct l7_rule);
L7_TABLE(l7_conditions, 1024, struct l7_condition);
L7_TABLE(l7_configs, 64, struct l7_config);
L7_TABLE(l7_rule_names, 4096, struct l7_name_entry);   /* by l7_rule.number */
L7_TABLE(l7_limit_names, 1024, struct l7_name_entry);  /* by l7_limit.number */
L7_TABLE(l7_route_names, 1024, struct l7_name_entry);  /* by the argument of a ROUTE */
L7_TABLE(l7_source_names, 1024, struct l7_name_entry); /* by the number of the workload */
L7_CLASSIC_MAP(l7_sources, BPF_MAP_TYPE_HASH, 4096, struct l7_source_key, __u32, 0);
L7_CLASSIC_MAP(l7_workloads, BPF_MAP_TYPE_HASH, 2048, struct l7_workload_key, __u32, 0); /* -> workload */
L7_CLASSIC_MAP(l7_addresses, BPF_MAP_TYPE_LPM_TRIE, 1024, struct l7_address_key, __u32, BPF_F_NO_PREALLOC);
L7_CLASSIC_MAP(l7_paths, BPF_MAP_TYPE_HASH, 4096, struct l7_path_key, __u32, 0);       /* -> list */
L7_CLASSIC_MAP(l7_segments, BPF_MAP_TYPE_HASH, 8192, struct l7_segment_key, __u32, 0); /* -> path state */

L7_INLINE void *l7_element(void *table, __u32 index)
{
	return bpf_map_lookup_elem(table, &index);
}

/* The version of a service that is current at a generation. */
L7_INLINE const struct l7_service *l7_current_service(const struct l7_service_entry *entry, __u64 generation)
{
	__u64 word = *(volatile const __u64 *)&entry->word;
	__u32 index = word & 1;

	if (word >> 1 > generation)
		index ^= 1;
	return index ? &entry->version[1] : &entry->version[0];
}

#endif
