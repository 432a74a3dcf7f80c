/* The native library's driver under libFuzzer: what l7_feed() writes is what the lines of drive.h tell. The core is that of
 * Redis, which tells much of few bytes: so that a call stops for its events to be taken. */
#include <ebpfmesh/l7/redis.h>

#define FUZZ_CORE redis
#define FUZZ_ALSO feed_tells_the_same

L7_INLINE __u32 fuzz_text_fields(__u16 kind)
{
	(void)kind;
	return 1u << REDIS_NAME | 1u << REDIS_SUBCOMMAND | 1u << REDIS_KEY | 1u << REDIS_CHANNEL | 1u << REDIS_TEXT |
	       1u << REDIS_PUSHED;
}

L7_INLINE void fuzz_tables(void *tables, struct l7_config *config)
{
	(void)tables;
	(void)config;
}

#include "target.h"

#include "../../src/ebpfmesh/bpf/native/feed.c"

/* The events at the address, put back into a record and told once more. */
static void read_events(struct fuzz_run *run, const uint8_t *at, size_t size)
{
	while (size) {
		struct l7_event event;
		struct l7_record *record;
		const uint8_t *values = at + sizeof event;

		HOLDS(size >= sizeof event);
		memcpy(&event, at, sizeof event);
		HOLDS(event.size >= sizeof event && event.size <= size && !(event.size & 7) && event.direction < 2);
		HOLDS(event.size >= sizeof event + 8 * event.fields + event.used);
		HOLDS(event.fields == (uint32_t)__builtin_popcount(event.present));
		record = run->record[event.direction];
		record->kind = event.kind;
		record->flags = event.flags;
		record->code = event.code;
		record->at = 0;
		record->count = event.count;
		record->head = event.head;
		record->stream = event.stream;
		record->present = event.present;
		record->repeated = event.repeated;
		record->truncated = event.truncated;
		record->used = event.used;
		for (uint32_t field = 0, next = 0; field < L7_FIELDS; field++)
			if (event.present >> field & 1)
				memcpy(&record->fields[field], values + 8 * next++, 8);
		memcpy(record->text, values + 8 * event.fields, event.used);
		fuzz_tell(run, event.direction, event.op, event.position, 0);
		at += event.size;
		size -= event.size;
	}
}

/* A piece, and the rest of it as long as the library leaves one. */
static void feed_piece(struct fuzz_run *run, struct l7_connection *connection, uint32_t direction, const uint8_t *data,
		       unsigned long length, unsigned long end)
{
	for (;;) {
		long used = l7_feed(l7_half_of(connection, direction), data, length | end);
		unsigned long left = l7_left(connection);

		if (used == L7_ENDED)
			return;
		HOLDS(used >= 0 && left <= length);
		read_events(run, l7_events(connection), (size_t)used);
		if (used < L7_EVENTS_ENOUGH) {
			HOLDS(!left);
			return;
		}
		HOLDS(left < length || !length);
		data += length - left;
		length = left;
	}
}

static void feed_tells_the_same(const struct fuzz_run *whole, const uint8_t *data, size_t size)
{
	static struct fuzz_run fed;
	struct l7_connection *connection = l7_open(&l7_core_redis, whole->config);
	uint8_t head[8] = { 0 };

	HOLDS(connection);
	fuzz_open(&fed, head, 0);
	while (size >= 2) {
		uint32_t word = (uint32_t)(data[0] | data[1] << 8), direction = word >> 13 & 1, length = word & 0x1fff;

		data += 2;
		size -= 2;
		if (!(word & 1 << 14) && length > size)
			length = (uint32_t)size;
		if (l7_flow_of(connection, direction)->ended)
			;
		else if (word & 1 << 14)
			l7_miss(connection, direction, length);
		if (!l7_flow_of(connection, direction)->ended || length)
			feed_piece(&fed, connection, direction, data, word & 1 << 14 ? 0 : length,
				   word & 1 << 15 ? L7_AND_END : 0);
		data += word & 1 << 14 ? 0 : length;
		size -= word & 1 << 14 ? 0 : length;
	}
	HOLDS(fuzz_same(&whole->told, &fed.told));
	l7_close(connection);
}
