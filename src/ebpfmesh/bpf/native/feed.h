/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What the native library offers to its callers: a connection that is fed bytes and gives events. ebpfmesh/l7/native.h
 * declares the same for Python. A connection is for one thread at a time. */
#ifndef EBPFMESH_NATIVE_FEED_H
#define EBPFMESH_NATIVE_FEED_H

#include <ebpfmesh/drive.h>

struct l7_connection;
struct l7_half; /* one direction of a connection: that a call from Python has few arguments, which cost it the most */

#define L7_API __attribute__((visibility("default")))

#define L7_EVENT_ROOM (sizeof(struct l7_event) + 8 * L7_FIELDS + L7_TEXT) /* of the largest event */
#define L7_EVENTS_ENOUGH 65536 /* from so many bytes of events on, they are to be taken before the rest is parsed */

enum l7_feed_failure {
	L7_BUSY = -1,  /* another thread is using this connection */
	L7_ENDED = -2, /* bytes after the end of their direction */
};

/* The sizes that this library was built with: it drives only a core that has the same. */
extern L7_API const struct l7_core l7_sizes;

/* A connection of core, or NULL without memory. config is copied. */
L7_API struct l7_connection *l7_open(const struct l7_core *core, const struct l7_config *config);

/* Makes connection as it was when it was opened, and keeps its memory. */
L7_API void l7_reopen(struct l7_connection *connection, const struct l7_config *config);

L7_API void l7_close(struct l7_connection *connection);

/* A direction of connection; it lives as long. */
L7_API struct l7_half *l7_half_of(struct l7_connection *connection, unsigned int direction);

#define L7_AND_END (1ul << 62) /* added to the length of l7_feed(): nothing comes after these bytes */

/* What the core answers to length bytes of a direction, and to its end. Returns how many bytes of events there are at
 * l7_events(), which the next call overwrites, or an enum l7_feed_failure. With L7_EVENTS_ENOUGH of them or more, some of the
 * bytes may be left: l7_left() says how many, at the end of data, and those are to be fed again, and the end with them. */
L7_API long l7_feed(struct l7_half *half, const void *data, unsigned long length);

L7_API unsigned long l7_left(const struct l7_connection *connection);

/* Events, one behind the other: struct l7_event, its values, its text. The address is the connection's for its life, and has
 * room for L7_EVENTS_ENOUGH and L7_EVENT_ROOM bytes. */
L7_API const void *l7_events(const struct l7_connection *connection);

/* Bytes of a direction that the capture missed. */
L7_API void l7_miss(struct l7_connection *connection, unsigned int direction, unsigned long length);

/* How a direction stands: the stream position of its next byte, and the last operation. */
L7_API const struct l7_flow *l7_flow_of(const struct l7_connection *connection, unsigned int direction);

#define L7_NO_DETECTOR -2

/* What a core says of the first bytes of a direction: L7_UNDECIDED, L7_NO_DETECTOR, or a confidence from 0 to 100. */
L7_API int l7_detect(const struct l7_core *core, unsigned int direction, const void *data, unsigned long length);

#endif
