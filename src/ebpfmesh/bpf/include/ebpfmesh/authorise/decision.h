/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What is asked about a request, and what was decided: one structure, in the program's scratch, filled step by step. */
#ifndef EBPFMESH_AUTHORISE_DECISION_H
#define EBPFMESH_AUTHORISE_DECISION_H

#include "policy.h"

/* Why, in the order in which the steps are taken. */
enum l7_reason {
	L7_NOT_DECIDED = 0,
	L7_BY_RULE = 1,	       /* rule: a deny or an allow rule */
	L7_BY_DEFAULT = 2,     /* no rule denied, and none allows anything in this service */
	L7_NOT_ALLOWED = 3,    /* the service has allow rules, and none matched */
	L7_BAD_PATH = 4,       /* the path cannot be normalised, and a rule asks for paths */
	L7_LIMITED = 5,	       /* rule: a limit */
	L7_FAULTED = 6,	       /* rule: a fault */
	L7_UNDECODABLE = 7,    /* the traffic cannot be followed */
	L7_LOOK_UP_FAILED = 8, /* an entry that must be there is not */
	L7_UNJUDGED = 9,       /* bytes that no program saw */
	L7_TUNNELS = 10,       /* what the request asks for would carry others past us */
};

#define L7_PATH 2048 /* bytes of a path as it was sent: a longer one cannot be normalised */

struct l7_decision {
	/* asked: set by the caller, who lets the record's fields stand */
	__u64 generation;
	__u64 now; /* nanoseconds, CLOCK_MONOTONIC */
	__u32 service_number;
	__u32 policy; /* of the source */
	__u32 workload;
	__u32 address[4]; /* of the client */
	/* the version that is current, copied by the caller, so that no later look-up differs */
	struct l7_service service;
	/* decided */
	__u8 allowed;
	__u8 reason; /* enum l7_reason */
	__u8 audited;
	__u8 path_ok;	   /* 1: normalised; 0: it could not be; 2: there is none */
	__u32 rule;	   /* number for people of the rule that decided; 0: none */
	__u32 list;	   /* that was looked at */
	__u32 reply;	   /* element of l7_replies, if it is not allowed */
	__u32 route;	   /* number; 0: none */
	__u32 limit;	   /* element of l7_limits that refused */
	__u64 retry_after; /* nanoseconds */
	/* work */
	__u32 method;	   /* bit of enum l7_method */
	__u32 path_offset; /* of what is looked at next of the normalised path */
	__u32 path_length; /* of the normalised path, which is in path below */
	__u32 path_state;
	__u64 path_hash;
	__u64 work[8];		       /* for the steps, whatever they need */
	__u8 path[L7_PATH + L7_SLACK]; /* normalised, if path_ok is 1; a '/' behind it ends its last segment */
};

#endif
