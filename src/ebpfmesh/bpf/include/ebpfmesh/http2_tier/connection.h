/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What is followed of an HTTP/2 connection: the core's state and tables, which bytes of the client wait for a decision, and what
 * is in flight. Some 54 KiB, so that they are a map of their own, preallocated, with a capacity; by the socket's cookie, made when
 * the connection's first byte is seen, in whichever direction. A connection that finds no room cannot be followed.
 *
 * Both programs run with the socket locked: nothing here needs an atomic operation, and what a run works with can be here too. */
#ifndef EBPFMESH_HTTP2_TIER_CONNECTION_H
#define EBPFMESH_HTTP2_TIER_CONNECTION_H

#include "../enrol/connection.h"
#include "../l7/http2.h"

/* What becomes of bytes of the client. */
enum h2_kind {
	H2_NONE = 0,
	H2_KEEP = 1,	  /* they go to the server */
	H2_TAKE = 2,	  /* they are taken out */
	H2_ANSWER = 3,	  /* … and what is due is said to the client instead */
	H2_INSERT = 4,	  /* a request's head that goes to the server with headers of ours */
	H2_END = 5,	  /* from here on nothing can be followed */
	H2_UNDECIDED = 6, /* a part of a frame or of a header block */
	H2_REQUEST = 7,	  /* a request's head, about which nothing is decided yet */
	H2_REWRITE = 8,	  /* a header block that the server is given in other words */
};

enum h2_ending { H2_SWALLOWS = 1, H2_SHUT = 2 /* send() fails */ };

#define H2_BLOCK 4608 /* room for a frame that is rewritten */
#define H2_HELD 8192  /* … for bytes that were taken out undecided, and for a copy of what was judged last */
#define H2_OUT 2048   /* … for frames of ours */
#define H2_HELD_AT H2_BLOCK
#define H2_OUT_AT (H2_BLOCK + H2_HELD)
#define H2_ROOM (H2_BLOCK + H2_HELD + H2_OUT)
#define H2_REFUSED 0x80 /* flag of a stream in the core's table: it was answered here, the server does not know of it */
#define H2_LEFT_OPEN                                                                                                   \
	64 /* streams of a connection that are live, beyond which refused ones are not followed to their end */
#define H2_CREDIT 8192 /* bytes of swallowed DATA after which the client's window is opened again at once */
#define H2_UNFED                                                                                                       \
	2 /* PINGs that servers of gRPC bear between two frames with HEADERS or DATA, but for one of the client */
#define H2_QUIET 100000 /* nanoseconds without such a frame, after which the server is taken to say nothing */
#define H2_SPLIT 64	/* segments that end with a frame, after one that did not, until replies are inserted again */

/* A request that is in flight, at the place of its stream in the core's table. */
struct h2_request {
	__u32 stream;
	__u32 route;
	__u32 status;
	__u32 reserved;
	__u64 since; /* CLOCK_MONOTONIC, nanoseconds */
	__u64 sent;
	__u64 received;
};

/* A reply that is due. */
struct h2_answer {
	__u32 stream; /* 0: none */
	__u32 reply;  /* element of l7_replies, its variant included */
	__u32 spare;
	__u32 status;
	__u32 grpc; /* as in h2_question */
	__u32 reserved;
	__u64 retry_after;
};

#define H2_HEADS 32 /* of one piece that are given headers */

/* What goes into a request's head. */
struct h2_head {
	__u32 at; /* of the piece, where the frame begins */
	__u32 end;
	__u32 bytes;  /* that are added */
	__u32 insert; /* element of l7_inserts, 0: none */
	__u32 traced; /* line is the trace that it is given */
	__u32 cut;    /* bytes that are left out of it: the trace that came */
	__u32 cut_at; /* … of the frame */
	__u32 reserved;
	__u8 line[72]; /* as l7_new_trace() makes it */
};

/* A PING of ours to the server. */
struct h2_question {
	__u32 status; /* 0: it is to wake the client */
	__u32 stream;
	__u32 grpc; /* grpc-status: how many digits, and from bit 8 on the digits; 0: the refusal is not gRPC's */
};

#define H2_QUESTIONS 128

struct h2_connection {
	struct l7_flow flows[2];
	struct l7_state state;
	struct h2_answer answer;      /* of the piece */
	struct h2_answer next_answer; /* of what was found last */
	struct h2_head next_head;
	struct h2_head heads[H2_HEADS]; /* of the piece */
	/* the run at hand: taken bytes, the piece behind them, and bytes about which nothing is known yet */
	__u32 taken;
	__u32 kind;
	__u32 piece;
	__u32 undecided;
	__u32 stopped;
	__u32 parsed;	/* bytes of the message that were shown: what is behind them in the piece is payload */
	__u32 inserted; /* heads of the piece that are given headers */
	__u32 growth;	/* … and by how many bytes it grows */
	__u32 entered;	/* phase of the client's half before a call */
	__u32 appended; /* where in the piece what was appended last begins */
	/* between runs */
	__u32 front_kind; /* decided and not dealt with: at the front of what comes next */
	__u32 front;
	__u32 rest_kind;   /* of flows[L7_REQUEST].remaining */
	__u32 held;	   /* bytes that were taken out undecided, in front of what comes next */
	__u32 judged;	   /* bytes of the copy of what was let through last */
	__u32 judged_held; /* … of which so many were held before */
	__u32 exact;	   /* the copy holds all that was parsed, as it was sent */
	__u64 judged_at;   /* l7_mark.passed before it */
	/* the connection */
	__u32 refused; /* highest stream that was answered here */
	__u32 allowed; /* highest stream that was let through */
	__u32 goaway;  /* 1 + last stream of our GOAWAY */
	__u32 goaway_code;
	__u32 goaway_due;
	__u32 owed;	    /* of the client's connection window, bytes that were taken out */
	__u32 poisoned;	    /* the server's table lacks entries that the client's has */
	__u32 update_due;   /* the server waits for a size update that was taken out */
	__u32 ends;	    /* enum h2_ending: what becomes of everything that still comes */
	__u32 grpc;	    /* a request of gRPC was refused */
	__u32 forgotten;    /* a stream was refused, and the client may send on it for ever */
	__u32 split;	    /* of H2_SPLIT, how many are left */
	__u32 pings;	    /* of ours that the server has not answered */
	__u32 unfed;	    /* PINGs, ours and the client's, since the server's last HEADERS or DATA */
	__u64 fed_at;	    /* when those came */
	__u32 wakes;	    /* one of them is to wake the client, which has not answered it */
	__u32 client_pings; /* PINGs of the client that the server has not answered */
	__u32 asked;	    /* of the PINGs of ours, the first that is not answered: element of questions */
	__u32 answer_left;  /* of an answer that is being changed, bytes that come with the next segment */
	__u32 tail_due;	    /* … at the front of the segment at hand */
	__u32 settings;	    /* SETTINGS that the client was shown, ours included */
	__u32 acknowledged;
	__u32 own_settings;  /* the number of ours among them; 0: none */
	__u32 server_table;  /* SETTINGS_HEADER_TABLE_SIZE that the server announced, the least; 4096 without */
	__u32 stateless;     /* the client was, or need not be, told HEADER_TABLE_SIZE = 0 */
	__u32 seen_settings; /* the server's first SETTINGS came */
	__u32 settings_due; /* … and had no entry that could be made HEADER_TABLE_SIZE = 0: ours are to be put behind them */
	__u32 untold; /* SETTINGS of ours that the core was not told of */
	__u32 lost;   /* responses cannot be followed */
	__u32 out;    /* bytes of frames of ours in room */
	/* of a copy between a message and room: here, since of a cursor in memory the verifier knows nothing, and walks once */
	__u32 copy_place; /* behind msg->data */
	__u32 copy_at;	  /* in room */
	__u32 copy_left;
	__u32 copy_failed;
	__u32 block;	  /* bytes of the frame that is rewritten */
	__u64 generation; /* of the policy when something was parsed last */
	struct h2_request requests[HTTP2_STREAMS];
	struct h2_question questions[H2_QUESTIONS];
	struct http2_tables tables;
	struct l7_config config; /* the service's, so that all headers are listed */
	__u8 answer_frame[64];
	__u8 room[H2_ROOM + 64];
};

L7_CLASSIC_MAP(l7_http2, BPF_MAP_TYPE_HASH, 256, __u64, struct h2_connection, 0);
L7_TABLE(l7_http2_blank, 1, struct h2_connection); /* what an element begins as; nobody writes it */

/* Another policy is in force, and with it perhaps other names that are registered. */
L7_INLINE void h2_note_generation(struct h2_connection *c, __u64 generation)
{
	if (c->generation == generation)
		return;
	c->generation = generation;
	http2_forget_memos(&c->tables);
}

/* Makes the connection's element; 0 if there is no room. */
L7_GLOBAL int h2_make(__u64 cookie)
{
	struct h2_connection *blank = l7_element(&l7_http2_blank, 0);

	return blank && !bpf_map_update_elem(&l7_http2, &cookie, blank, BPF_NOEXIST);
}

L7_INLINE struct h2_connection *h2_find(__u64 cookie)
{
	return bpf_map_lookup_elem(&l7_http2, &cookie);
}

L7_INLINE struct http2_half *h2_half(struct h2_connection *c, __u32 direction)
{
	return &((struct http2_state *)c->state.words)->half[L7_INDEX(direction, 2)];
}

/* The core's entry of a stream, or NULL: nobody opened it, or it is forgotten. */
L7_INLINE struct http2_stream *h2_stream(struct h2_connection *c, __u32 id)
{
	int place = http2_find(&c->tables, id);

	return place < 0 ? 0 : &c->tables.streams[L7_INDEX((__u32)place, HTTP2_STREAMS)];
}

/* Where a direction is between two frames, and not inside a header block: another frame may stand here. */
L7_INLINE int h2_is_between(struct h2_connection *c, __u32 direction)
{
	struct http2_half *half = h2_half(c, direction);

	return half->phase <= HTTP2_HEADER && !half->got && !half->block && !c->flows[L7_INDEX(direction, 2)].remaining;
}

/* Whether nothing is in the midst of being taken out, held or put in other words: the connection can be let go of, and the server
 * will understand what follows. Of a cookie without an element, 1. */
L7_GLOBAL int h2_can_go(__u64 cookie)
{
	struct h2_connection *c = h2_find(cookie);

	if (!c)
		return 1;
	if (c->held || c->front_kind || c->ends || c->forgotten || c->pings || c->wakes ||
	    c->acknowledged < c->own_settings || (c->poisoned && c->tables.dynamic[L7_REQUEST].maximum) ||
	    !h2_is_between(c, L7_REQUEST))
		return 0;
	for (__u32 i = 0; i < HTTP2_STREAMS; i++) {
		const struct http2_stream *stream = &c->tables.streams[i];

		if (stream->flags & H2_REFUSED && stream->side[L7_REQUEST].state == HTTP2_OPEN)
			return 0;
	}
	return 1;
}

#endif
