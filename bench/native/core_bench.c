/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What a core of the native library takes for pieces of a connection, driven as the harness drives it in the kernel when it
 * measures: windows are filled, the core called by the lines of drive.h, and nothing is written down.
 * bench/scenarios/parser_cores.py writes the input.
 *
 *	core_bench LIBRARY CORE FLAGS PIECES PASSES BATCHES
 *
 * FLAGS are enum l7_config_flag. The first pieces bring the connection to where the others begin; those are passed PASSES
 * times, each time from the same state, which is brought back while the clock stands. Prints one line of JSON: the
 * nanoseconds of one pass, that of the fastest batch, and how often it called the core. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <ebpfmesh/drive.h>

struct piece { /* of the input; its bytes are filled up to 8 */
	uint32_t direction;
	uint32_t measured;
	uint64_t length;
	uint8_t bytes[];
};

struct connection {
	struct l7_state state;
	struct l7_flow flows[2];
	uint8_t tables[];
};

static const struct l7_core *core;
static struct l7_config config = { .size = sizeof config };
static struct l7_window window;
static struct l7_record records[2];
static struct connection *connection, *saved;
static struct piece *first, *end;
static unsigned long calls;

static void fail(const char *what, long code)
{
	fprintf(stderr, "core_bench: %s: %ld\n", what, code);
	exit(1);
}

static struct piece *next(struct piece *piece)
{
	return (struct piece *)(piece->bytes + ((piece->length + 7) & ~7ul));
}

static void show(struct l7_flow *flow, struct piece *piece, const uint8_t *bytes, uint32_t length)
{
	struct l7_record *record = &records[piece->direction];

	record->size = sizeof *record;
	window.size = sizeof window;
	window.start = 0;
	window.end = length;
	window.direction = piece->direction;
	window.flags = 0;
	window.gap = 0;
	memcpy(window.data, bytes, length);
	while (window.start < window.end) {
		int op = core->parse(&config, &window, &connection->state, connection->tables, record);

		calls++;
		if (l7_advance(flow, &window, op, record) >= L7_ESCALATE)
			fail("the core does not follow", record->code);
	}
}

static void feed(struct piece *piece)
{
	struct l7_flow *flow = &connection->flows[piece->direction];
	const uint8_t *at = piece->bytes, *behind = at + piece->length;

	while ((at += l7_unseen(flow, behind - at)) < behind) {
		uint32_t length = behind - at < L7_WINDOW ? behind - at : L7_WINDOW;

		show(flow, piece, at, length);
		at += length;
	}
}

static double pass(struct piece *from, size_t size)
{
	struct timespec begin, done;

	memcpy(connection, saved, size);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (struct piece *piece = from; piece < end; piece = next(piece))
		feed(piece);
	clock_gettime(CLOCK_MONOTONIC, &done);
	return (done.tv_sec - begin.tv_sec) * 1e9 + (done.tv_nsec - begin.tv_nsec);
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
	if (!first || fread(first, 1, size, file) != (size_t)size)
		fail(path, size);
	end = (struct piece *)((uint8_t *)first + size);
	fclose(file);
}

static void find(const char *library, const char *name)
{
	void *handle = dlopen(library, RTLD_NOW);
	char symbol[80];

	if (!handle)
		fail(dlerror(), 0);
	snprintf(symbol, sizeof symbol, "l7_core_%s", name);
	core = dlsym(handle, symbol);
	if (!core)
		fail(symbol, 0);
	if (core->window_size != sizeof window || core->record_size != sizeof *records)
		fail("built with other headers", core->record_size);
}

int main(int count, char **arguments)
{
	struct piece *from;
	double best = 1e18;
	long passes, size;

	if (count != 7)
		fail("usage: core_bench LIBRARY CORE FLAGS PIECES PASSES BATCHES", count);
	find(arguments[1], arguments[2]);
	config.flags = atoi(arguments[3]);
	load(arguments[4]);
	passes = atol(arguments[5]);
	size = sizeof *connection + (core->tables_size ? core->tables_size : 8);
	connection = calloc(1, size);
	saved = calloc(1, size);
	if (!connection || !saved || passes < 1)
		fail("no memory, or no passes", size);
	for (from = first; from < end && !from->measured; from = next(from))
		feed(from);
	memcpy(saved, connection, size);
	for (long batch = atol(arguments[6]); batch > 0; batch--) {
		double took = 0;

		calls = 0;
		for (long each = 0; each < passes; each++)
			took += pass(from, size);
		best = took < best ? took : best;
	}
	printf("{\"nanoseconds\": %.1f, \"calls\": %lu}\n", best / passes, calls / passes);
	return 0;
}
