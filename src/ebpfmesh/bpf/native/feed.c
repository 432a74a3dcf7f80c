/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Drives a core over the bytes of a connection in user space, by the lines of drive.h that a kernel program drives it by, and
 * writes what it tells as a stream of struct l7_event. */
#include "feed.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PADDED(size) (((size) + 7ul) & ~7ul)

struct l7_half {
	struct l7_connection *connection;
	unsigned int direction;
};

struct l7_connection {
	const struct l7_core *core;
	void *tables;
	struct l7_window *window;
	struct l7_record *records[2];
	__u8 *events;
	unsigned long used; /* bytes of events */
	unsigned long left; /* bytes of the last feed that were not parsed */
	int busy;
	struct l7_flow flows[2];
	struct l7_state state;
	struct l7_config config;
	struct l7_half halves[2];
};

const struct l7_core l7_sizes = {
	.size = sizeof(struct l7_core),
	.window_size = sizeof(struct l7_window),
	.state_size = sizeof(struct l7_state),
	.config_size = sizeof(struct l7_config),
	.record_size = sizeof(struct l7_record),
};

/* --- memory --------------------------------------------------------------------------------------------------------- */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

#define EVENTS (L7_EVENTS_ENOUGH + L7_EVENT_ROOM)

#ifdef SANITIZED

/* Each part of a connection for itself, so that the sanitizer sees what goes beyond it. */
static struct l7_connection *make(void)
{
	struct l7_connection *connection = calloc(1, sizeof *connection);

	connection->window = calloc(1, sizeof(struct l7_window));
	connection->records[0] = calloc(1, sizeof(struct l7_record));
	connection->records[1] = calloc(1, sizeof(struct l7_record));
	connection->events = calloc(1, EVENTS);
	return connection;
}

static void destroy(struct l7_connection *connection)
{
	free(connection->window);
	free(connection->records[0]);
	free(connection->records[1]);
	free(connection->events);
	free(connection);
}

static void *make_tables(unsigned long size)
{
	return calloc(1, size);
}

static void destroy_tables(void *tables, unsigned long size)
{
	(void)size;
	free(tables);
}

/* A core may load what lies behind the bytes of a window, and must not depend on it: it is something else each time. */
static void spoil(struct l7_window *window)
{
	static __u8 filling;

	memset(window->data + window->end, filling += 37, sizeof window->data - window->end);
}

#else

/* The room for text and events is 270 KB, of which nearly all connections need a few. These pages are the kernel's zeroes
 * until they are written, so a connection costs what its messages need; what every message touches comes first. */
struct whole {
	struct l7_connection connection;
	struct l7_window window;
	struct l7_record requests;
	__u8 events[EVENTS];
	struct l7_record responses;
};

static void *zeroes(unsigned long size)
{
	void *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return made == MAP_FAILED ? NULL : made;
}

static struct l7_connection *make(void)
{
	struct whole *whole = zeroes(sizeof *whole);

	if (!whole)
		return NULL;
	whole->connection.window = &whole->window;
	whole->connection.records[0] = &whole->requests;
	whole->connection.records[1] = &whole->responses;
	whole->connection.events = whole->events;
	return &whole->connection;
}

static void destroy(struct l7_connection *connection)
{
	munmap(connection, sizeof(struct whole));
}

static void *make_tables(unsigned long size)
{
	return zeroes(size);
}

static void destroy_tables(void *tables, unsigned long size)
{
	munmap(tables, size);
}

static void spoil(struct l7_window *window)
{
	(void)window;
}

#endif

struct l7_connection *l7_open(const struct l7_core *core, const struct l7_config *config)
{
	struct l7_connection *connection = make();

	if (!connection)
		return NULL;
	if (core->tables_size && !(connection->tables = make_tables(core->tables_size))) {
		destroy(connection);
		return NULL;
	}
	connection->core = core;
	connection->halves[0] = (struct l7_half){ connection, L7_REQUEST };
	connection->halves[1] = (struct l7_half){ connection, L7_RESPONSE };
	connection->config = *config;
	return connection;
}

void l7_reopen(struct l7_connection *connection, const struct l7_config *config)
{
	memset(connection->flows, 0, sizeof connection->flows);
	memset(&connection->state, 0, sizeof connection->state);
	memset(connection->records[0], 0, offsetof(struct l7_record, text));
	memset(connection->records[1], 0, offsetof(struct l7_record, text));
	if (connection->tables)
		memset(connection->tables, 0, connection->core->tables_size);
	connection->config = *config;
	connection->busy = 0;
}

void l7_close(struct l7_connection *connection)
{
	if (connection->tables)
		destroy_tables(connection->tables, connection->core->tables_size);
	destroy(connection);
}

/* --- events --------------------------------------------------------------------------------------------------------- */

/* Writes what one call told. position is that of the byte at start, where the window began when it was called. */
static void tell(struct l7_connection *connection, unsigned int direction, int op, __u64 position, __u32 start)
{
	const struct l7_record *record = connection->records[direction];
	__u32 present = l7_told_fields(op, record);
	__u8 *at = connection->events + connection->used;
	struct l7_event event = {
		.size = sizeof event,
		.kind = record->kind,
		.flags = record->flags,
		.op = op,
		.direction = direction,
		.fields = __builtin_popcount(present),
		.code = record->code,
		.position = position,
		.count = record->count,
		.head = record->head,
		.stream = record->stream,
		.present = present,
	};

	if (op >= L7_ESCALATE && record->at > start)
		event.position += (record->at < connection->window->end ? record->at : connection->window->end) - start;
	if (record->kind || op == L7_REPLY) {
		event.repeated = record->repeated;
		event.truncated = record->truncated;
		event.used = record->used < L7_TEXT ? record->used : L7_TEXT;
		event.size += 8 * event.fields + PADDED(event.used);
	}
	memcpy(at, &event, sizeof event);
	connection->used += event.size;
	for (at += sizeof event; present; present &= present - 1, at += 8)
		memcpy(at, &record->fields[__builtin_ctz(present)], 8);
	memcpy(at, record->text, event.used);
	memset(at + event.used, 0, PADDED(event.used) - event.used);
}

/* --- feeding -------------------------------------------------------------------------------------------------------- */

/* Shows the core one window, and what it leaves of it again, until all is answered for or there are enough events. Returns
 * how many of the bytes it answered for; what it said of those behind the window is in the flow. */
static __u32 show(struct l7_connection *connection, unsigned int direction, const __u8 *data, __u32 length, __u8 flags)
{
	struct l7_flow *flow = &connection->flows[direction];
	struct l7_window *window = connection->window;
	struct l7_record *record = connection->records[direction];

	window->size = sizeof *window;
	window->start = 0;
	window->end = length;
	window->direction = direction;
	window->flags = flags;
	window->gap = flow->gap;
	flow->gap = 0;
	record->size = sizeof *record;
	if (length)
		memcpy(window->data, data, length);
	spoil(window);
	do {
		__u64 position = flow->position;
		__u32 start = window->start;
		int op = connection->core->parse(&connection->config, window, &connection->state, connection->tables,
						 record);

		op = l7_advance(flow, window, op, record);
		if (l7_is_told(op, record))
			tell(connection, direction, op, position, start);
	} while (window->start < length && !l7_is_final(flow) && connection->used < L7_EVENTS_ENOUGH);
	return window->start;
}

static void feed(struct l7_connection *connection, unsigned int direction, const __u8 *at, const __u8 *behind, int end)
{
	struct l7_flow *flow = &connection->flows[direction];
	int ends;

	while (at < behind && connection->used < L7_EVENTS_ENOUGH) {
		__u64 left;

		at += l7_unseen(flow, behind - at);
		left = behind - at;
		if (left)
			at += show(connection, direction, at, left < L7_WINDOW ? left : L7_WINDOW, 0);
	}
	connection->left = behind - at;
	if (!end || connection->used >= L7_EVENTS_ENOUGH)
		return;
	ends = l7_end(flow, connection->records[direction]);
	if (ends < 0)
		tell(connection, direction, L7_ERROR, flow->position, 0);
	else if (ends)
		show(connection, direction, NULL, 0, L7_END_OF_STREAM);
}

long l7_feed(struct l7_half *half, const void *data, unsigned long length)
{
	struct l7_connection *connection = half->connection;
	unsigned int direction = half->direction;
	int end = (length & L7_AND_END) != 0;
	long used;

	length &= ~L7_AND_END;
	if (__atomic_exchange_n(&connection->busy, 1, __ATOMIC_ACQUIRE))
		return L7_BUSY;
	connection->used = 0;
	if (length && connection->flows[direction].ended) {
		used = L7_ENDED;
	} else {
		feed(connection, direction, data, (const __u8 *)data + length, end);
		used = connection->used;
	}
	__atomic_store_n(&connection->busy, 0, __ATOMIC_RELEASE);
	return used;
}

struct l7_half *l7_half_of(struct l7_connection *connection, unsigned int direction)
{
	return &connection->halves[direction & 1];
}

unsigned long l7_left(const struct l7_connection *connection)
{
	return connection->left;
}

const void *l7_events(const struct l7_connection *connection)
{
	return connection->events;
}

void l7_miss(struct l7_connection *connection, unsigned int direction, unsigned long length)
{
	l7_lost(&connection->flows[direction & 1], length);
}

const struct l7_flow *l7_flow_of(const struct l7_connection *connection, unsigned int direction)
{
	return &connection->flows[direction & 1];
}

int l7_detect(const struct l7_core *core, unsigned int direction, const void *data, unsigned long length)
{
	struct l7_window window = { .size = sizeof window, .direction = direction & 1 };

	if (!core->detect)
		return L7_NO_DETECTOR;
	window.end = length < L7_WINDOW ? length : L7_WINDOW;
	if (window.end)
		memcpy(window.data, data, window.end);
	return core->detect(&window);
}
