/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Drives a core over the bytes of a connection in user space, by the lines of drive.h that a kernel program drives it by, and
 * writes what it tells as a stream of struct l7_event. */
#include "feed.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define EVENTS 2048	      /* bytes of room at first */
#define EVENTS_KEPT (1 << 16) /* more than this is given back by l7_shrink() */
#define PADDED(size) (((size) + 7ul) & ~7ul)

/* Two records are 128 KiB of text that nearly never fills: the pages of a connection are the kernel's zeroes until they are
 * written, so it costs what its messages need. What every message touches stands in front. */
struct l7_connection {
	const struct l7_core *core;
	__u8 *tables;
	__u8 *events;
	unsigned long room;
	unsigned long used;
	struct l7_flow flows[2];
	struct l7_state state;
	struct l7_config config;
	struct l7_window window;
	struct l7_record records[2];
};

const struct l7_core l7_sizes = {
	.size = sizeof(struct l7_core),
	.window_size = sizeof(struct l7_window),
	.state_size = sizeof(struct l7_state),
	.config_size = sizeof(struct l7_config),
	.record_size = sizeof(struct l7_record),
};

/* --- memory --------------------------------------------------------------------------------------------------------- */

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

/* Zeroes that take no memory until they are written; from the heap where a sanitizer watches over what lies around them. */
static void *zeroes(unsigned long size)
{
#ifdef SANITIZED
	return calloc(1, size);
#else
	void *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return made == MAP_FAILED ? NULL : made;
#endif
}

static void give_back(void *made, unsigned long size)
{
#ifdef SANITIZED
	(void)size;
	free(made);
#else
	munmap(made, size);
#endif
}

struct l7_connection *l7_open(const struct l7_core *core, const struct l7_config *config)
{
	struct l7_connection *connection = zeroes(sizeof *connection);

	if (!connection)
		return NULL;
	if (core->tables_size && !(connection->tables = zeroes(core->tables_size))) {
		give_back(connection, sizeof *connection);
		return NULL;
	}
	connection->core = core;
	connection->config = *config;
	return connection;
}

void l7_reopen(struct l7_connection *connection, const struct l7_config *config)
{
	memset(connection->flows, 0, sizeof connection->flows);
	memset(&connection->state, 0, sizeof connection->state);
	for (int i = 0; i < 2; i++)
		memset(&connection->records[i], 0, offsetof(struct l7_record, text));
	if (connection->tables)
		memset(connection->tables, 0, connection->core->tables_size);
	connection->config = *config;
}

void l7_close(struct l7_connection *connection)
{
	if (!connection)
		return;
	if (connection->tables)
		give_back(connection->tables, connection->core->tables_size);
	free(connection->events);
	give_back(connection, sizeof *connection);
}

void l7_shrink(struct l7_connection *connection)
{
	if (connection->room <= EVENTS_KEPT)
		return;
	free(connection->events);
	connection->events = NULL;
	connection->room = connection->used = 0;
}

/* --- events --------------------------------------------------------------------------------------------------------- */

/* Room for one more event of size bytes, at the end of those there are; NULL without memory. */
static __u8 *place(struct l7_connection *connection, unsigned long size)
{
	unsigned long needed = connection->used + size, room = connection->room ? connection->room : EVENTS;
	__u8 *events;

	if (needed > connection->room) {
		while (room < needed)
			room *= 2;
		events = realloc(connection->events, room);
		if (!events)
			return NULL;
		connection->events = events;
		connection->room = room;
	}
	events = connection->events + connection->used;
	connection->used = needed;
	return events;
}

/* Writes what one call told. position is that of the window's start when it was called. */
static int tell(struct l7_connection *connection, unsigned int direction, int op, __u64 position, __u32 start)
{
	const struct l7_record *record = &connection->records[direction];
	const struct l7_window *window = &connection->window;
	__u32 present = l7_told_fields(op, record), used = 0, count = 0;
	struct l7_event event = {
		.kind = record->kind,
		.flags = record->flags,
		.op = op,
		.direction = direction,
		.code = record->code,
		.position = position,
		.count = record->count,
		.head = record->head,
		.stream = record->stream,
		.present = present,
	};
	__u8 *at;

	if (op >= L7_ESCALATE && record->at > start)
		event.position += (record->at < window->end ? record->at : window->end) - start;
	if (record->kind || op == L7_REPLY) {
		used = record->used < L7_TEXT ? record->used : L7_TEXT;
		event.repeated = record->repeated;
		event.truncated = record->truncated;
	}
	count = __builtin_popcount(present);
	event.fields = count;
	event.used = used;
	event.size = sizeof event + 8 * count + PADDED(used);
	at = place(connection, event.size);
	if (!at)
		return 0;
	memcpy(at, &event, sizeof event);
	at += sizeof event;
	for (; present; present &= present - 1, at += 8)
		memcpy(at, &record->fields[__builtin_ctz(present)], 8);
	memcpy(at, record->text, used);
	memset(at + used, 0, PADDED(used) - used);
	return 1;
}

/* --- feeding -------------------------------------------------------------------------------------------------------- */

/* Calls the core until it has answered for the whole window. */
static int drive(struct l7_connection *connection, struct l7_flow *flow, unsigned int direction)
{
	struct l7_window *window = &connection->window;
	struct l7_record *record = &connection->records[direction];

	do {
		__u64 position = flow->position;
		__u32 start = window->start;
		int op = connection->core->parse(&connection->config, window, &connection->state, connection->tables,
						 record);

		op = l7_advance(flow, window, op, record);
		if (l7_is_told(op, record) && !tell(connection, direction, op, position, start))
			return 0;
	} while (window->start < window->end && !l7_is_final(flow));
	return 1;
}

/* Fills the window with the bytes at data, at most one window of them, and drives the core over it. What it answers for bytes
 * behind the window is in flow->remaining. */
static int show(struct l7_connection *connection, struct l7_flow *flow, unsigned int direction, const __u8 *data,
		__u32 length, __u8 flags)
{
	struct l7_window *window = &connection->window;

	window->size = sizeof *window;
	window->start = 0;
	window->end = length;
	window->direction = direction;
	window->flags = flags;
	window->gap = flow->gap;
	flow->gap = 0;
	connection->records[direction].size = sizeof(struct l7_record);
	if (length)
		memcpy(window->data, data, length);
	return drive(connection, flow, direction);
}

long l7_feed(struct l7_connection *connection, unsigned int direction, const void *data, unsigned long length, int end)
{
	struct l7_flow *flow = &connection->flows[direction &= 1];
	const __u8 *at = data, *behind = at + length;

	connection->used = 0;
	if (length && flow->ended)
		return L7_ENDED;
	while (at < behind) {
		__u64 unseen = l7_unseen(flow, behind - at), left = behind - at - unseen;

		at += unseen;
		if (!left)
			break;
		if (left > L7_WINDOW)
			left = L7_WINDOW;
		if (!show(connection, flow, direction, at, left, 0))
			return L7_NO_MEMORY;
		at += connection->window.start;
	}
	if (end) {
		int ends = l7_end(flow, &connection->records[direction]);

		if (ends < 0 && !tell(connection, direction, L7_ERROR, flow->position, 0))
			return L7_NO_MEMORY;
		if (ends > 0 && !show(connection, flow, direction, NULL, 0, L7_END_OF_STREAM))
			return L7_NO_MEMORY;
	}
	return connection->used;
}

void l7_miss(struct l7_connection *connection, unsigned int direction, unsigned long length)
{
	l7_lost(&connection->flows[direction & 1], length);
}

const void *l7_events(const struct l7_connection *connection)
{
	return connection->events;
}

unsigned long l7_room(const struct l7_connection *connection)
{
	return connection->room;
}

const struct l7_flow *l7_flow_of(const struct l7_connection *connection, unsigned int direction)
{
	return &connection->flows[direction & 1];
}

int l7_detect(const struct l7_core *core, unsigned int direction, const void *data, unsigned long length)
{
	struct l7_window window = { .size = sizeof window, .direction = direction & 1 };

	if (!core->detect)
		return -2;
	window.end = length < L7_WINDOW ? length : L7_WINDOW;
	if (window.end)
		memcpy(window.data, data, window.end);
	return core->detect(&window);
}
