/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What must be known of a Redis command to find its first key, and which replies answer it. Only what differs from the rule is
 * listed: that a command has its first key in argument 1. So a module's command needs no entry. */
#ifndef EBPFMESH_L7_REDIS_COMMANDS_H
#define EBPFMESH_L7_REDIS_COMMANDS_H

#include "../../parser.h"

enum redis_trait {
	REDIS_CONTAINER = 1, /* argument 1 is a subcommand */
	REDIS_COUNTED = 2,   /* the argument before the key says how many keys there are, maybe 0 */
	REDIS_KEYWORD = 4,   /* the key follows the first argument from here on that reads STREAMS */
	REDIS_CHANNELS = 8,  /* a channel stands where the key would */
};

enum redis_effect {
	REDIS_SUBSCRIBES = 1,	/* one message for each channel answers it, and more come later */
	REDIS_UNSUBSCRIBES,	/* one message for each channel; without arguments, for each that was subscribed */
	REDIS_MONITORS,		/* lines follow its reply */
	REDIS_GREETS,		/* its reply tells the version of the protocol */
	REDIS_RESETS,		/* ends the three above */
	REDIS_SWITCHES_REPLIES, /* CLIENT, which may be CLIENT REPLY */
};

struct redis_command {
	char name[16]; /* longer names follow the rule */
	__u8 key;      /* the argument that is the first key; 0: none */
	__u8 traits;
	__u8 effect;
	__u8 reserved[5];
};

/* In the order of their bytes: it is searched by halves. COMMAND of a server is what it is tested against. */
#define REDIS_COMMANDS 128 /* a power of two */
#define REDIS_COMMANDS_KNOWN 84
#define REDIS_RULE 1u
static const struct redis_command redis_commands[REDIS_COMMANDS] __attribute__((aligned(8))) = {
	{ "ACL", 0, REDIS_CONTAINER, 0, {} },
	{ "ASKING", 0, 0, 0, {} },
	{ "AUTH", 0, 0, 0, {} },
	{ "BGREWRITEAOF", 0, 0, 0, {} },
	{ "BGSAVE", 0, 0, 0, {} },
	{ "BITOP", 2, 0, 0, {} },
	{ "BLMPOP", 3, REDIS_COUNTED, 0, {} },
	{ "BZMPOP", 3, REDIS_COUNTED, 0, {} },
	{ "CLIENT", 0, REDIS_CONTAINER, REDIS_SWITCHES_REPLIES, {} },
	{ "CLUSTER", 0, REDIS_CONTAINER, 0, {} },
	{ "COMMAND", 0, REDIS_CONTAINER, 0, {} },
	{ "CONFIG", 0, REDIS_CONTAINER, 0, {} },
	{ "DBSIZE", 0, 0, 0, {} },
	{ "DEBUG", 0, REDIS_CONTAINER, 0, {} },
	{ "DISCARD", 0, 0, 0, {} },
	{ "ECHO", 0, 0, 0, {} },
	{ "EVAL", 3, REDIS_COUNTED, 0, {} },
	{ "EVALSHA", 3, REDIS_COUNTED, 0, {} },
	{ "EVALSHA_RO", 3, REDIS_COUNTED, 0, {} },
	{ "EVAL_RO", 3, REDIS_COUNTED, 0, {} },
	{ "EXEC", 0, 0, 0, {} },
	{ "FAILOVER", 0, 0, 0, {} },
	{ "FCALL", 3, REDIS_COUNTED, 0, {} },
	{ "FCALL_RO", 3, REDIS_COUNTED, 0, {} },
	{ "FLUSHALL", 0, 0, 0, {} },
	{ "FLUSHDB", 0, 0, 0, {} },
	{ "FUNCTION", 0, REDIS_CONTAINER, 0, {} },
	{ "HELLO", 0, 0, REDIS_GREETS, {} },
	{ "INFO", 0, 0, 0, {} },
	{ "KEYS", 0, 0, 0, {} },
	{ "LASTSAVE", 0, 0, 0, {} },
	{ "LATENCY", 0, REDIS_CONTAINER, 0, {} },
	{ "LMPOP", 2, REDIS_COUNTED, 0, {} },
	{ "LOLWUT", 0, 0, 0, {} },
	{ "MEMORY", 2, REDIS_CONTAINER, 0, {} },
	{ "MIGRATE", 3, 0, 0, {} },
	{ "MODULE", 0, REDIS_CONTAINER, 0, {} },
	{ "MONITOR", 0, 0, REDIS_MONITORS, {} },
	{ "MULTI", 0, 0, 0, {} },
	{ "OBJECT", 2, REDIS_CONTAINER, 0, {} },
	{ "PFDEBUG", 2, REDIS_CONTAINER, 0, {} },
	{ "PFSELFTEST", 0, 0, 0, {} },
	{ "PING", 0, 0, 0, {} },
	{ "PSUBSCRIBE", 1, REDIS_CHANNELS, REDIS_SUBSCRIBES, {} },
	{ "PSYNC", 0, 0, 0, {} },
	{ "PUBLISH", 1, REDIS_CHANNELS, 0, {} },
	{ "PUBSUB", 0, REDIS_CONTAINER, 0, {} },
	{ "PUNSUBSCRIBE", 1, REDIS_CHANNELS, REDIS_UNSUBSCRIBES, {} },
	{ "QUIT", 0, 0, 0, {} },
	{ "RANDOMKEY", 0, 0, 0, {} },
	{ "READONLY", 0, 0, 0, {} },
	{ "READWRITE", 0, 0, 0, {} },
	{ "REPLCONF", 0, 0, 0, {} },
	{ "REPLICAOF", 0, 0, 0, {} },
	{ "RESET", 0, 0, REDIS_RESETS, {} },
	{ "ROLE", 0, 0, 0, {} },
	{ "SAVE", 0, 0, 0, {} },
	{ "SCAN", 0, 0, 0, {} },
	{ "SCRIPT", 0, REDIS_CONTAINER, 0, {} },
	{ "SELECT", 0, 0, 0, {} },
	{ "SHUTDOWN", 0, 0, 0, {} },
	{ "SINTERCARD", 2, REDIS_COUNTED, 0, {} },
	{ "SLAVEOF", 0, 0, 0, {} },
	{ "SLOWLOG", 0, REDIS_CONTAINER, 0, {} },
	{ "SPUBLISH", 1, REDIS_CHANNELS, 0, {} },
	{ "SSUBSCRIBE", 1, REDIS_CHANNELS, REDIS_SUBSCRIBES, {} },
	{ "SUBSCRIBE", 1, REDIS_CHANNELS, REDIS_SUBSCRIBES, {} },
	{ "SUNSUBSCRIBE", 1, REDIS_CHANNELS, REDIS_UNSUBSCRIBES, {} },
	{ "SWAPDB", 0, 0, 0, {} },
	{ "SYNC", 0, 0, 0, {} },
	{ "TIME", 0, 0, 0, {} },
	{ "UNSUBSCRIBE", 1, REDIS_CHANNELS, REDIS_UNSUBSCRIBES, {} },
	{ "UNWATCH", 0, 0, 0, {} },
	{ "WAIT", 0, 0, 0, {} },
	{ "WAITAOF", 0, 0, 0, {} },
	{ "XGROUP", 2, REDIS_CONTAINER, 0, {} },
	{ "XINFO", 2, REDIS_CONTAINER, 0, {} },
	{ "XREAD", 1, REDIS_KEYWORD, 0, {} },
	{ "XREADGROUP", 4, REDIS_KEYWORD, 0, {} },
	{ "ZDIFF", 2, REDIS_COUNTED, 0, {} },
	{ "ZINTER", 2, REDIS_COUNTED, 0, {} },
	{ "ZINTERCARD", 2, REDIS_COUNTED, 0, {} },
	{ "ZMPOP", 2, REDIS_COUNTED, 0, {} },
	{ "ZUNION", 2, REDIS_COUNTED, 0, {} },
	[REDIS_COMMANDS_KNOWN... REDIS_COMMANDS - 1] = { "\xff", 0, 0, 0, {} }, /* behind every name */
};

/* Eight characters of a name as a number in their order. */
L7_INLINE __u64 redis_ordered(const char *name)
{
	return __builtin_bswap64(l7_load64((const __u8 *)name));
}

L7_INLINE const struct redis_command *redis_entry(__u32 index)
{
	return &redis_commands[L7_INDEX(index, REDIS_COMMANDS)];
}

L7_INLINE int redis_up_to(const struct redis_command *entry, __u64 first, __u64 second)
{
	__u64 name = redis_ordered(entry->name);

	return name < first || (name == first && redis_ordered(entry->name + 8) <= second);
}

/* What is known of an upper-case name of at most 16 characters, in two words with zeroes behind it: its key, traits and effect
 * in the lowest three bytes. at is 0, and a global function's argument: or the verifier
 * would follow each way through the search. */
L7_GLOBAL __u32 redis_command_of(__u64 first, __u64 second, __u32 at)
{
	const struct redis_command *entry;

	first = __builtin_bswap64(first);
	second = __builtin_bswap64(second);
	for (__u32 step = REDIS_COMMANDS / 2; step; step /= 2)
		at = L7_INDEX(redis_up_to(redis_entry(at + step), first, second) ? at + step : at, REDIS_COMMANDS);
	entry = redis_entry(at);
	if (redis_ordered(entry->name) != first || redis_ordered(entry->name + 8) != second)
		return REDIS_RULE;
	return entry->key | (__u32)entry->traits << 8 | (__u32)entry->effect << 16;
}

#endif
