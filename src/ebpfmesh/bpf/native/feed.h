/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What the native library offers to its callers: a connection that is fed bytes and gives events. ebpfmesh/l7/native.h
 * declares the same functions for Python, and the fuzzers call them as they are. */
#ifndef EBPFMESH_NATIVE_FEED_H
#define EBPFMESH_NATIVE_FEED_H

#include <ebpfmesh/drive.h>

struct l7_connection;

#define L7_API __attribute__((visibility("default")))

enum l7_feed_failure {
	L7_NO_MEMORY = -1,
	L7_ENDED = -2, /* bytes after the end of their direction */
};

/* The sizes that this library was built with: a core is driven only if it has the same. */
extern L7_API const struct l7_core l7_sizes;

/* A connection of core, or NULL without memory. config is copied. */
L7_API struct l7_connection *l7_open(const struct l7_core *core, const struct l7_config *config);

/* As if connection were new; the memory that it has is kept. */
L7_API void l7_reopen(struct l7_connection *connection, const struct l7_config *config);

L7_API void l7_close(struct l7_connection *connection);

/* All that the core answers to length bytes of a direction, and with end to the end of that direction. Returns how many bytes
 * of events there are now at l7_events(), valid until the next call, or an enum l7_feed_failure. */
L7_API long l7_feed(struct l7_connection *connection, unsigned int direction, const void *data, unsigned long length,
		    int end);

/* Bytes of a direction that the capture missed. */
L7_API void l7_miss(struct l7_connection *connection, unsigned int direction, unsigned long length);

/* Where the events of the last feed are: struct l7_event, its values, its text, the next event. It moves as the events of one
 * feed become more than any before. */
L7_API const void *l7_events(const struct l7_connection *connection);

/* The bytes that l7_events() has room for. */
L7_API unsigned long l7_room(const struct l7_connection *connection);

/* Give back what events took beyond the usual. */
L7_API void l7_shrink(struct l7_connection *connection);

/* How a direction stands: the stream position of its next byte, and the last operation. */
L7_API const struct l7_flow *l7_flow_of(const struct l7_connection *connection, unsigned int direction);

/* What a core says of the first bytes of a direction: L7_UNDECIDED, or a confidence from 0 to 100. -2 if it has no detector. */
L7_API int l7_detect(const struct l7_core *core, unsigned int direction, const void *data, unsigned long length);

#endif
