/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* HPACK decoding, ours against nghttp2's inflater: the same connections, block by block, and of both the name and the value of
 * every field are taken by the same function. scenarios/hpack_decoding.py writes the input.
 *
 *	cc -O2 -I src/ebpfmesh/bpf/include bench/native/hpack_bench.c -lnghttp2 -o hpack_bench
 *	hpack_bench STORIES [ROUNDS]
 *
 * The two take turns, so that a busy machine slows both. Prints one line of JSON: ns of processor time per field of each, the
 * best round. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nghttp2/nghttp2.h>

struct taken {
	uint64_t fields;
	uint64_t bytes;
	uint64_t sum;
};

/* What a program would do with a field at the least: look at it. */
static inline void take(struct taken *taken, const uint8_t *name, size_t name_length, const uint8_t *value,
			size_t value_length)
{
	taken->fields++;
	taken->bytes += name_length + value_length;
	taken->sum += name_length ? name[name_length - 1] : 0;
	taken->sum += value_length ? value[value_length - 1] : 0;
}

#define HPACK_HEAD struct taken
#define HPACK_FIELD(walk, tag, name_at, name_length, value_at, value_length)                                           \
	(take((walk)->head, (walk)->record->text + (name_at), name_length, (walk)->record->text + (value_at),          \
	      value_length),                                                                                           \
	 0)
#include <ebpfmesh/l7/hpack.h>

/* The input: per step a word of kind (0: a connection begins, 1: the limit of its table, 2: a block), a word of length or
 * value, and the bytes of a block, filled up to 8. */
struct step {
	uint32_t kind;
	uint32_t value;
	uint8_t bytes[];
};

static struct step *first, *end;

static struct step *next(struct step *step)
{
	size_t bytes = step->kind == 2 ? (step->value + 7) & ~7u : 0;

	return (struct step *)(step->bytes + bytes);
}

static void fail(const char *what, long code)
{
	fprintf(stderr, "hpack_bench: %s: %ld\n", what, code);
	exit(1);
}

static void decode_ours(struct taken *taken)
{
	static struct l7_config config = { .size = sizeof(config) };
	static struct l7_record record;
	static struct hpack_block block;
	struct hpack_table *table = NULL;

	for (struct step *step = first; step < end; step = next(step)) {
		if (step->kind == 0) {
			free(table);
			table = calloc(1, sizeof(*table));
		} else if (step->kind == 1) {
			hpack_set_limit(table, step->value);
		} else {
			int code;

			memcpy(block.bytes, step->bytes, step->value);
			block.length = step->value;
			record.used = 0;
			code = hpack_decode(&config, table, &block, taken, &record);
			if (code)
				fail("ours", code);
		}
	}
	free(table);
}

static void inflate(nghttp2_hd_inflater *inflater, struct step *step, struct taken *taken)
{
	const uint8_t *at = step->bytes;
	size_t left = step->value;

	for (;;) {
		nghttp2_nv nv;
		int flags = 0;
		ssize_t used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, at, left, 1);

		if (used < 0)
			fail("nghttp2", used);
		at += used;
		left -= used;
		if (flags & NGHTTP2_HD_INFLATE_EMIT)
			take(taken, nv.name, nv.namelen, nv.value, nv.valuelen);
		if (flags & NGHTTP2_HD_INFLATE_FINAL)
			break;
	}
	nghttp2_hd_inflate_end_headers(inflater);
}

static void decode_theirs(struct taken *taken)
{
	nghttp2_hd_inflater *inflater = NULL;

	for (struct step *step = first; step < end; step = next(step)) {
		if (step->kind == 0) {
			if (inflater)
				nghttp2_hd_inflate_del(inflater);
			if (nghttp2_hd_inflate_new(&inflater))
				fail("nghttp2_hd_inflate_new", 0);
		} else if (step->kind == 1) {
			nghttp2_hd_inflate_change_table_size(inflater, step->value);
		} else {
			inflate(inflater, step, taken);
		}
	}
	if (inflater)
		nghttp2_hd_inflate_del(inflater);
}

static double timed(void (*decode)(struct taken *), struct taken *taken)
{
	struct timespec from, to;

	memset(taken, 0, sizeof(*taken));
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	decode(taken);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	return (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
}

static void load(const char *path)
{
	FILE *file = fopen(path, "rb");
	long size;

	if (!file || fseek(file, 0, SEEK_END))
		fail(path, 0);
	size = ftell(file);
	rewind(file);
	first = malloc(size);
	if (fread(first, 1, size, file) != (size_t)size)
		fail(path, size);
	end = (struct step *)((uint8_t *)first + size);
	fclose(file);
}

int main(int count, char **arguments)
{
	double ours = 1e18, theirs = 1e18;
	struct taken a, b;

	if (count < 2)
		fail("usage: hpack_bench STORIES [ROUNDS]", count);
	load(arguments[1]);
	for (int round = count > 2 ? atoi(arguments[2]) : 20; round > 0; round--) {
		double time = timed(decode_ours, &a);

		ours = time < ours ? time : ours;
		time = timed(decode_theirs, &b);
		theirs = time < theirs ? time : theirs;
		if (memcmp(&a, &b, sizeof a))
			fail("the two differ", a.fields - b.fields);
	}
	printf("{\"fields\": %lu, \"bytes\": %lu, \"ours_ns\": %.2f, \"nghttp2_ns\": %.2f, \"ratio\": %.2f, "
	       "\"nghttp2\": \"%s\"}\n",
	       a.fields, a.bytes, ours / a.fields, theirs / a.fields, theirs / ours, nghttp2_version(0)->version_str);
	return 0;
}
