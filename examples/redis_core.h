/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Redis as a core of one's own: the built-in one, and FLUSHALL and FLUSHDB are answered with an error instead of passed on.
 * How a whole protocol is parsed is in <ebpfmesh/l7/redis.h>; this is what a core may add to it. */
#include <ebpfmesh/l7/redis.h>

static const __u8 redis_guard_reply[32] = "-NOPERM it would empty it\r\n";
#define REDIS_GUARD_REPLY 27 /* bytes of it */

L7_INLINE int redis_guard_refuses(struct l7_record *record)
{
	union l7_value name = record->fields[REDIS_NAME];
	__u64 text = l7_load64(record->text + L7_INDEX(name.offset, L7_TEXT));
	__u64 flushall = REDIS_8('F', 'L', 'U', 'S', 'H', 'A', 'L', 'L');
	__u64 flushdb = REDIS_8('F', 'L', 'U', 'S', 'H', 'D', 'B', 0);

	return (name.length == 8 && text == flushall) || (name.length == 7 && text << 8 == flushdb << 8);
}

L7_INLINE int redis_guard_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			       struct l7_record *record)
{
	int op = redis_core(config, window, state, record);
	union l7_value *reply = &record->fields[L7_REPLY_FIELD];

	if (op != L7_PASS || record->kind != REDIS_COMMAND || !redis_guard_refuses(record))
		return op;
	reply->offset = record->used;
	reply->length = REDIS_GUARD_REPLY;
	for (__u32 at = 0; at < 32; at += 8)
		l7_store64(record->text + L7_INDEX(record->used + at, L7_TEXT), l7_load64(redis_guard_reply + at));
	record->used += REDIS_GUARD_REPLY;
	record->present |= 1u << L7_REPLY_FIELD;
	return L7_REPLY; /* of the command, what this call was shown does not go on: its end is missing to the server */
}

L7_INLINE int redis_guard_confidence(struct l7_window *window)
{
	return redis_confidence(window);
}

L7_DETECTOR(redis_guard)
L7_PARSER_WITHOUT_TABLES(redis_guard)
