/* What the fuzz targets share: a core is driven over the input twice, by the lines of drive.h that the native library and the
 * programs use, and both runs must tell the same. A target includes the core's header, defines FUZZ_CORE, fuzz_text_fields()
 * and fuzz_tables(), and then includes this.
 *
 * The input: 8 bytes that choose the configuration and the splits, then pieces. A piece is two bytes (little-endian) and the
 * bytes they announce: bits 0-12 are its length, bit 13 the direction, bit 14 says that so many bytes were lost and none follow,
 * bit 15 that the direction ends behind it. What is announced beyond the input's end is not there.
 *
 * Held at every call: nothing is read or written outside of the five structures (ASan: each has an allocation of its own), no
 * undefined behaviour (UBSan), the configuration is not touched, what is told lies inside the record, every call but a few moves
 * on. Held between the runs: where the stream was split, what lies in the window around the bytes that are shown, and what was
 * in the record's text before, make no difference. */
#ifndef EBPFMESH_FUZZ_TARGET_H
#define EBPFMESH_FUZZ_TARGET_H

#include <ebpfmesh/drive.h>

#include "holds.h"

#ifndef FUZZ_TEXT_FLOOR
#define FUZZ_TEXT_FLOOR 0 /* a lower text_limit is raised to this by the core */
#endif

#ifndef FUZZ_DATAGRAMS
#define FUZZ_DATAGRAMS 0 /* 1: a piece is a datagram, which is never split */
#endif

#define FUZZ_JOIN(a, b) a##b
#define FUZZ_NAME(name) FUZZ_JOIN(l7_core_, name)
#define FUZZ_IDLE 64 /* calls in a row that tell something and consume nothing: more of them is a loop */

/* What was told, in a form that does not depend on how the stream was split. */
struct fuzz_told {
	uint8_t *bytes;
	size_t used;
	size_t room;
	size_t payload; /* where the last item, if it is payload, begins; else ~0: adjacent payload is one piece */
};

struct fuzz_item {
	uint32_t what; /* 'H' a record, 'P' payload, 'T' payload to the end, 'E' end of a message, 'F' final */
	uint32_t direction;
	uint64_t from;
	uint64_t to;
	uint64_t stream;
	uint32_t op, kind, flags, code, present, repeated, truncated, used;
};

struct fuzz_run {
	struct l7_config *config;
	struct l7_window *window;
	struct l7_state *state;
	void *tables;
	struct l7_record *record[2];
	struct l7_flow flow[2];
	struct fuzz_told told;
	uint64_t random; /* 0: the whole run, with windows as large as they can be */
	uint32_t mode;
	uint32_t idle;
};

static void *fuzz_allocate(size_t size)
{
	void *made = calloc(1, size ? size : 1);

	HOLDS(made);
	return made;
}

static void fuzz_append(struct fuzz_told *told, const void *bytes, size_t size)
{
	if (told->used + size > told->room) {
		told->room = (told->used + size) * 2;
		told->bytes = realloc(told->bytes, told->room);
		HOLDS(told->bytes);
	}
	memcpy(told->bytes + told->used, bytes, size);
	told->used += size;
}

static uint32_t fuzz_random(struct fuzz_run *run)
{
	run->random ^= run->random << 13;
	run->random ^= run->random >> 7;
	run->random ^= run->random << 17;
	return (uint32_t)(run->random >> 16);
}

static void fuzz_payload(struct fuzz_run *run, uint32_t direction, uint64_t from, uint64_t to, uint64_t stream)
{
	struct fuzz_told *told = &run->told;
	struct fuzz_item item = { .what = 'P', .direction = direction, .from = from, .to = to, .stream = stream };
	struct fuzz_item last;

	if (from == to)
		return;
	if (told->payload != SIZE_MAX) {
		memcpy(&last, told->bytes + told->payload, sizeof last);
		if (last.direction == direction && last.to == from && last.stream == stream) {
			last.to = to;
			memcpy(told->bytes + told->payload, &last, sizeof last);
			return;
		}
	}
	told->payload = told->used;
	fuzz_append(told, &item, sizeof item);
}

static void fuzz_item(struct fuzz_run *run, const struct fuzz_item *item)
{
	run->told.payload = SIZE_MAX;
	fuzz_append(&run->told, item, sizeof *item);
}

/* The record of a call, and its place in the stream. */
static void fuzz_tell(struct fuzz_run *run, uint32_t direction, int op, uint64_t position, uint32_t start)
{
	const struct l7_record *record = run->record[direction];
	uint32_t fields = l7_told_fields(op, record);
	struct fuzz_item item = {
		.what = 'H',
		.direction = direction,
		.from = position + record->head,
		.stream = record->stream,
		.op = (uint32_t)op,
		.kind = record->kind,
		.flags = record->flags & ~(uint32_t)(L7_MESSAGE_ENDS | L7_TO_END),
		.code = record->code,
		.present = fields,
	};

	if (op >= L7_ESCALATE) {
		item.what = 'F';
		item.from = position + (record->at - start);
		fuzz_item(run, &item);
		return;
	}
	if (record->kind || op != L7_PASS) {
		if (fields) {
			item.repeated = record->repeated;
			item.truncated = record->truncated;
			item.used = record->used;
		}
		fuzz_item(run, &item);
		for (uint32_t field = 0; field < L7_FIELDS; field++)
			if (fields >> field & 1)
				fuzz_append(&run->told, &record->fields[field].number, 8);
		fuzz_append(&run->told, record->text, item.used);
	}
	if (record->flags & L7_TO_END) {
		item = (struct fuzz_item){ .what = 'T', .direction = direction, .from = position + record->head };
		fuzz_item(run, &item);
		return;
	}
	fuzz_payload(run, direction, position + record->head, position + record->count, record->stream);
	if (record->flags & L7_MESSAGE_ENDS) {
		item = (struct fuzz_item){ .what = 'E', .direction = direction, .stream = record->stream };
		item.from = position + record->count;
		fuzz_item(run, &item);
	}
}

/* What the contract says of an answer. */
static void fuzz_check(struct fuzz_run *run, uint32_t direction, int op, uint32_t start, uint32_t end)
{
	const struct l7_record *record = run->record[direction];
	uint32_t chosen = run->config->text_limit ? run->config->text_limit : 4096;
	uint32_t limit = chosen < FUZZ_TEXT_FLOOR ? FUZZ_TEXT_FLOOR : chosen;
	uint32_t texts;

	HOLDS(op >= L7_MORE && op <= L7_ERROR);
	HOLDS(record->code != L7_BAD_CALL);
	HOLDS((op >= L7_ESCALATE) == (record->code != 0) || op < L7_ESCALATE);
	if (op >= L7_ESCALATE) {
		HOLDS(record->code);
		HOLDS(record->at >= start && record->at <= end);
	}
	if (op >= L7_PASS && op <= L7_REPLY) {
		HOLDS(record->head <= record->count || record->flags & L7_TO_END);
		HOLDS(record->count < 1ull << 63);
	}
	if (!l7_told_fields(op, record))
		return;
	HOLDS(record->used <= limit && record->used <= L7_TEXT);
	HOLDS(!(record->repeated & ~(record->present | record->truncated))); /* one that had no room may come again */
	texts = fuzz_text_fields(record->kind) & record->present;
	for (uint32_t field = 0; field < L7_FIELDS; field++)
		if (texts >> field & 1)
			HOLDS((uint64_t)record->fields[field].offset + record->fields[field].length <= record->used);
}

static int fuzz_call(struct fuzz_run *run, uint32_t direction)
{
	struct l7_flow *flow = &run->flow[direction];
	struct l7_record *record = run->record[direction];
	uint32_t start = run->window->start, end = run->window->end;
	uint64_t position = flow->position;
	int op = FUZZ_NAME(FUZZ_CORE).parse(run->config, run->window, run->state, run->tables, record);

	HOLDS(run->window->start == start && run->window->end == end);
	fuzz_check(run, direction, op, start, end);
	op = l7_advance(flow, run->window, op, record);
	HOLDS(record->code != L7_BAD_CALL);
	fuzz_tables(run->tables, run->config);
	if (l7_is_told(op, record))
		fuzz_tell(run, direction, op, position, start);
	run->idle = run->window->start > start || start == end ? 0 : run->idle + 1;
	HOLDS(run->idle < FUZZ_IDLE);
	return op;
}

/* Up to size bytes into the window, at a place of its own choice in the split run, with other bytes around them. */
static uint32_t fuzz_fill(struct fuzz_run *run, uint32_t direction, const uint8_t *data, uint32_t size)
{
	static const uint8_t around[16] = "\r\n0 :\xff,chunked\r\n";
	struct l7_window *window = run->window;
	uint32_t start = 0;

	if (run->random && FUZZ_DATAGRAMS) {
		size = size < L7_WINDOW ? size : L7_WINDOW;
		start = fuzz_random(run) % (L7_WINDOW - size + 1);
	} else if (run->random) {
		uint32_t most = run->mode == 0 ? 1 : run->mode == 1 ? 16 : run->mode == 2 ? 300 : L7_WINDOW;
		uint32_t shown = fuzz_random(run) % most + 1;

		size = shown < size ? shown : size;
		start = fuzz_random(run) % (L7_WINDOW - size + 1);
	} else {
		size = size < L7_WINDOW ? size : L7_WINDOW;
	}
	for (uint32_t i = start < 16 ? 0 : start - 16; i < start + size + L7_SLACK; i++)
		window->data[i] = run->random ? around[(i + run->mode) % sizeof around] : 0;
	memcpy(window->data + start, data, size);
	window->start = start;
	window->end = start + size;
	window->direction = (uint8_t)direction;
	window->flags = 0;
	window->gap = run->flow[direction].gap;
	run->flow[direction].gap = 0;
	return size;
}

static void fuzz_feed(struct fuzz_run *run, uint32_t direction, const uint8_t *data, uint32_t size)
{
	struct l7_flow *flow = &run->flow[direction];

	for (;;) {
		uint32_t unseen = (uint32_t)l7_unseen(flow, size);

		data += unseen;
		size -= unseen;
		if (!size)
			return;
		unseen = fuzz_fill(run, direction, data, size);
		data += unseen;
		size -= unseen;
		while (run->window->start < run->window->end && !l7_is_final(flow))
			fuzz_call(run, direction);
		if (l7_is_final(flow)) /* the rest of the window is not shown */
			flow->position += run->window->end - run->window->start;
	}
}

static void fuzz_end(struct fuzz_run *run, uint32_t direction)
{
	struct l7_flow *flow = &run->flow[direction];
	int asked = l7_end(flow, run->record[direction]);

	if (asked < 0)
		fuzz_tell(run, direction, L7_ERROR, flow->position, 0);
	if (asked <= 0)
		return;
	fuzz_fill(run, direction, (const uint8_t *)"", 0);
	run->window->flags = L7_END_OF_STREAM;
	fuzz_call(run, direction);
}

/* The first bytes of the input choose among what matters; limits are small as often as large. */
static void fuzz_configure(struct l7_config *config, const uint8_t *bytes)
{
	static const uint32_t limits[8] = { 0, 0, 0, 0, 64, 256, 4096, 65536 };
	static const char names[3][8] = { "x", "x-id", "cookie" };

	config->size = sizeof *config;
	config->flags = bytes[0] & 7;
	config->leniencies = bytes[1] & 1 ? (uint32_t)(bytes[2] | bytes[3] << 8) : 0;
	config->head_limit = limits[bytes[4] & 7];
	config->text_limit = limits[bytes[4] >> 3 & 7];
	config->table_limit = limits[bytes[5] & 7];
	config->block_limit = limits[bytes[5] >> 3 & 7];
	config->stream_limit = bytes[5] >> 6 & 1 ? 3 : 0;
	config->key[0] = 0x0706050403020100;
	config->key[1] = 0x0f0e0d0c0b0a0908;
	if (!(bytes[1] & 2))
		return;
	for (uint32_t i = 0; i < 3; i++) {
		config->names[i].length = (uint32_t)strlen(names[i]);
		memcpy(config->names[i].text, names[i], config->names[i].length);
		config->lengths |= 1ull << config->names[i].length;
	}
}

/* Both runs keep their memory from input to input: to give it back and take it anew would take most of the time. */
static void fuzz_open(struct fuzz_run *run, const uint8_t *head, int split)
{
	size_t tables = FUZZ_NAME(FUZZ_CORE).tables_size;

	if (!run->config) {
		run->config = fuzz_allocate(sizeof *run->config);
		run->window = fuzz_allocate(sizeof *run->window);
		run->state = fuzz_allocate(sizeof *run->state);
		run->tables = fuzz_allocate(tables);
		run->record[0] = fuzz_allocate(sizeof **run->record);
		run->record[1] = fuzz_allocate(sizeof **run->record);
	}
	memset(run->config, 0, sizeof *run->config);
	memset(run->state, 0, sizeof *run->state);
	memset(run->tables, 0, tables);
	memset(run->flow, 0, sizeof run->flow);
	run->told.used = 0;
	run->told.payload = SIZE_MAX;
	run->idle = 0;
	run->window->size = sizeof *run->window;
	fuzz_configure(run->config, head);
	run->random = split ? 0x9e3779b97f4a7c15 ^ head[6] : 0;
	run->mode = head[7] & 3;
	for (int direction = 0; direction < 2; direction++) {
		struct l7_record *record = run->record[direction];

		memset(record, 0, offsetof(struct l7_record, text));
		record->size = sizeof *record;
		if (split)
			memset(record->fields, 0xa5, sizeof record->fields);
		memset(record->text, split ? 0xa5 : 0, 4096 + L7_SLACK);
	}
}

static void fuzz_pieces(struct fuzz_run *run, const uint8_t *data, size_t size)
{
	struct l7_config before = *run->config;

	while (size >= 2) {
		uint32_t word = (uint32_t)(data[0] | data[1] << 8), direction = word >> 13 & 1, length = word & 0x1fff;

		data += 2;
		size -= 2;
		if (!(word & 1 << 14) && length > size)
			length = (uint32_t)size;
		if (run->flow[direction].ended) /* nothing comes behind the end */
			;
		else if (word & 1 << 14)
			l7_lost(&run->flow[direction], length);
		else
			fuzz_feed(run, direction, data, length);
		data += word & 1 << 14 ? 0 : length;
		size -= word & 1 << 14 ? 0 : length;
		if (word & 1 << 15)
			fuzz_end(run, direction);
	}
	HOLDS(!memcmp(&before, run->config, sizeof before));
}

/* What both runs told, where they differ. */
static void fuzz_show(const char *name, const struct fuzz_told *told)
{
	struct fuzz_item item;

	fprintf(stderr, "%s:\n", name);
	for (size_t at = 0; at + sizeof item <= told->used;) {
		memcpy(&item, told->bytes + at, sizeof item);
		at += sizeof item;
		fprintf(stderr, "  %c direction %u from %llu to %llu stream %llu op %u kind %u flags %u code %u",
			item.what, item.direction, (unsigned long long)item.from, (unsigned long long)item.to,
			(unsigned long long)item.stream, item.op, item.kind, item.flags, item.code);
		fprintf(stderr, " present %x repeated %x truncated %x used %u\n", item.present, item.repeated,
			item.truncated, item.used);
		for (uint32_t field = 0; field < L7_FIELDS; field++) {
			uint64_t value;

			if (!(item.present >> field & 1))
				continue;
			memcpy(&value, told->bytes + at, 8);
			at += 8;
			fprintf(stderr, "    field %u: %llx\n", field, (unsigned long long)value);
		}
		if (item.used)
			fprintf(stderr, "    text: ");
		for (uint32_t i = 0; i < item.used; i++)
			fprintf(stderr, told->bytes[at + i] > 32 && told->bytes[at + i] < 127 ? "%c" : "\\x%02x",
				told->bytes[at + i]);
		fprintf(stderr, item.used ? "\n" : "");
		at += item.used;
	}
}

static int fuzz_same(const struct fuzz_told *whole, const struct fuzz_told *split)
{
	if (whole->used == split->used && (!whole->used || !memcmp(whole->bytes, split->bytes, whole->used)))
		return 1;
	fuzz_show("whole", whole);
	fuzz_show("split", split);
	return 0;
}

#ifdef FUZZ_ALSO
static void FUZZ_ALSO(const struct fuzz_run *whole, const uint8_t *data, size_t size);
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz_run whole, split;

	if (size < 10)
		return -1;
	fuzz_open(&whole, data, 0);
	fuzz_open(&split, data, 1);
	fuzz_pieces(&whole, data + 8, size - 8);
	fuzz_pieces(&split, data + 8, size - 8);
	HOLDS(fuzz_same(&whole.told, &split.told));
#ifdef FUZZ_ALSO
	FUZZ_ALSO(&whole, data + 8, size - 8);
#endif
	if (FUZZ_NAME(FUZZ_CORE).detect) {
		fuzz_fill(&split, 0, data + 8, (uint32_t)(size - 8));
		int confidence = FUZZ_NAME(FUZZ_CORE).detect(split.window);

		HOLDS(confidence >= L7_UNDECIDED && confidence <= 100);
	}
	return 0;
}

#endif
