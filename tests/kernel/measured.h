/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Programs that count and tell what a map says, so that a test can make any entry: measured_tc is run by
 * BPF_PROG_TEST_RUN; the other two are the types in which the tier calls the same functions. */
#ifndef MEASURED_H
#define MEASURED_H

#include <ebpfmesh/limit/limit.h>
#include <ebpfmesh/measure/count.h>
#include <ebpfmesh/measure/log.h>
#include <ebpfmesh/measure/unanswered.h>

enum measured_op { COUNT = 0, TELL = 1, TELL_CONNECTION = 2, BUCKET = 3, CLOSE = 4 };

struct measured_input {
	__u32 op, kind, status, allowed;
	__u32 service, backend, route, bucket;
	__u64 sent, received, nanoseconds;
};

L7_TABLE(input, 1, struct measured_input);
L7_TABLE(records, 1, struct l7_record);
L7_TABLE(decisions, 1, struct l7_decision);
L7_TABLE(links, 1, struct l7_connection);

static int measured(void)
{
	struct measured_input *in = l7_element(&input, 0);
	struct l7_record *record = l7_element(&records, 0);
	struct l7_decision *decision = l7_element(&decisions, 0);
	struct l7_connection *connection = l7_element(&links, 0);

	if (!in || !record || !decision || !connection)
		return 1;
	if (in->op == COUNT)
		l7_count_request(in->service, in->backend, in->route, in->status, in->sent, in->received,
				 in->nanoseconds);
	else if (in->op == TELL)
		l7_log_decision(record, decision, connection, in->kind, in->status);
	else if (in->op == TELL_CONNECTION)
		l7_log_connection(connection, in->kind, in->allowed);
	else if (in->op == BUCKET)
		in->bucket = l7_latency_bucket(in->nanoseconds);
	else if (in->op == CLOSE)
		l7_count_unanswered(connection);
	return 0;
}

SEC("tc") int measured_tc(struct __sk_buff *skb)
{
	(void)skb;
	return measured();
}

SEC("sk_msg") int measured_msg(struct sk_msg_md *msg)
{
	(void)msg;
	measured();
	return SK_PASS;
}

SEC("sk_skb/stream_verdict") int measured_skb(struct __sk_buff *skb)
{
	(void)skb;
	measured();
	return SK_PASS;
}

SEC("sockops") int measured_ops(struct bpf_sock_ops *ops)
{
	(void)ops;
	measured();
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
