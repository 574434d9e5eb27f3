/* Counts the A64 instructions that a thread runs between two marks, by class. QEMU TCG plugin.
 *
 *     qemu-aarch64 -plugin edgecount.so,fd=N ...
 *
 * close(-7700) begins a region of the calling thread and close(-7701) ends it: calls that do
 * nothing to any file. At its end, one line of JSON goes to the file descriptor N, which the
 * process inherited:
 *
 *     {"load_store": 2, "simd": 0, ..., "elsewhere": 0}
 *
 * `elsewhere` is what other threads ran in the meantime. The call that ends a region is part of it,
 * the one that begins it is not.
 *
 * How it counts: a translated block runs from its first instruction to its last, so it is enough
 * to know how often each was entered. Blocks of the same composition share a counter, and an entry
 * costs one addition. At a mark the counters are multiplied out. A block that is left early, by a
 * signal or an instruction that QEMU must run on its own, is counted whole.
 *
 * Classes follow the tables of the Arm Architecture Reference Manual, section C4.1 "A64 instruction
 * set encoding"; bits 28..25 are its op0.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

enum { SYSCALL_CLOSE = 57, BEGIN = -7700, END = -7701 };

enum class { LOAD_STORE, SIMD, DOT, MMLA, SVE, BRANCH, INTEGER, OTHER, CLASSES };
static const char *const class_names[CLASSES] = {
    "load_store", "simd", "dot", "mmla", "sve", "branch", "integer", "other",
};

/* Blocks of one composition: how many instructions of each class. QEMU's blocks hold at most 512
 * instructions. */
struct composition {
    uint16_t count[CLASSES];
};

/* Programs that load two runtimes have about six thousand; see the message where they run out. */
enum { MAX_COMPOSITIONS = 32768 };

static struct composition compositions[MAX_COMPOSITIONS];
static unsigned used;         /* of `compositions` */
static GHashTable *known;     /* struct composition -> its index + 1 */
static GMutex lock;           /* of the three above */

/* Per thread: entries of blocks by composition, and the sums at the last BEGIN. */
static struct qemu_plugin_scoreboard *entries;
static struct qemu_plugin_scoreboard *begun;
struct beginning {
    uint64_t own[CLASSES];
    uint64_t all;
};

static int output = -1;

static bool is(uint32_t word, uint32_t mask, uint32_t value)
{
    return (word & mask) == value;
}

/* C4.1 "SVE encodings". */
static enum class sve_class(uint32_t word)
{
    if (word >> 31)
        return LOAD_STORE; /* all "SVE Memory" groups, and no other, have bit 31 */
    if (is(word, 0xff20f800, 0x44000000)     /* SDOT, UDOT (4-way, vectors) */
        || is(word, 0xffa0f800, 0x44a00000)  /* SDOT, UDOT (4-way, indexed) */
        || is(word, 0xffe0fc00, 0x44807800)  /* USDOT (vectors) */
        || is(word, 0xffe0f800, 0x44a01800)  /* USDOT, SUDOT (indexed) */
        || is(word, 0xffe0fc00, 0x64608000)  /* BFDOT (vectors) */
        || is(word, 0xffe0fc00, 0x64604000)) /* BFDOT (indexed) */
        return DOT;
    if (is(word, 0xff20fc00, 0x45009800)     /* SMMLA, USMMLA, UMMLA */
        || is(word, 0xff20fc00, 0x6420e400)) /* BFMMLA, FMMLA */
        return MMLA;
    return SVE;
}

/* C4.1 "Data Processing -- Scalar Floating-Point and Advanced SIMD": "Advanced SIMD three-register
 * extension" and "Advanced SIMD vector x indexed element". */
static enum class simd_class(uint32_t word)
{
    if (is(word, 0x9fe0fc00, 0x0e809400)     /* SDOT, UDOT (vector) */
        || is(word, 0x9fc0f400, 0x0f80e000)  /* SDOT, UDOT (by element) */
        || is(word, 0xbfe0fc00, 0x0e809c00)  /* USDOT (vector) */
        || is(word, 0xbfc0f400, 0x0f80f000)  /* USDOT (by element) */
        || is(word, 0xbfc0f400, 0x0f00f000)  /* SUDOT (by element) */
        || is(word, 0xbfe0fc00, 0x2e40fc00)  /* BFDOT (vector) */
        || is(word, 0xbfc0f400, 0x0f40f000)) /* BFDOT (by element) */
        return DOT;
    if (is(word, 0xdfe0fc00, 0x4e80a400)     /* SMMLA, UMMLA */
        || is(word, 0xffe0fc00, 0x4e80ac00)  /* USMMLA */
        || is(word, 0xffe0fc00, 0x6e40ec00)) /* BFMMLA */
        return MMLA;
    return SIMD;
}

/* C4.1 "Branches, Exception Generating and System instructions". */
static enum class branch_class(uint32_t word)
{
    uint32_t top = word >> 24;
    return top == 0xd4 || top == 0xd5 ? OTHER : BRANCH; /* exceptions; system, hints, barriers */
}

static enum class class_of(uint32_t word)
{
    switch ((word >> 25) & 15) {
    case 0x2:
        return sve_class(word);
    case 0x4: case 0x6: case 0xc: case 0xe:
        return LOAD_STORE;
    case 0x7: case 0xf:
        return simd_class(word);
    case 0xa: case 0xb:
        return branch_class(word);
    case 0x5: case 0xd: /* register */
    case 0x8: case 0x9: /* immediate */
        return INTEGER;
    default: /* SME, and what is not allocated */
        return OTHER;
    }
}

static uint32_t word_of(const struct qemu_plugin_insn *instruction)
{
    uint32_t word = 0;
#if QEMU_PLUGIN_VERSION < 3
    memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
#else
    qemu_plugin_insn_data(instruction, &word, sizeof word);
#endif
    return GUINT32_FROM_LE(word);
}

static guint hash(gconstpointer key)
{
    const struct composition *composition = key;
    guint value = 0;
    for (int i = 0; i < CLASSES; i++)
        value = value * 31 + composition->count[i];
    return value;
}

static gboolean equal(gconstpointer one, gconstpointer other)
{
    return !memcmp(one, other, sizeof(struct composition));
}

static unsigned index_of(const struct composition *wanted)
{
    g_mutex_lock(&lock);
    unsigned found = GPOINTER_TO_UINT(g_hash_table_lookup(known, wanted));
    if (!found) {
        if (used == MAX_COMPOSITIONS) {
            fprintf(stderr, "edgecount: more than %d kinds of blocks\n", MAX_COMPOSITIONS);
            exit(1);
        }
        compositions[used] = *wanted;
        found = ++used;
        g_hash_table_insert(known, &compositions[found - 1], GUINT_TO_POINTER(found));
    }
    g_mutex_unlock(&lock);
    return found - 1;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    struct composition composition = {{0}};
    size_t length = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < length; i++)
        composition.count[class_of(word_of(qemu_plugin_tb_get_insn(block, i)))]++;
    qemu_plugin_u64 counter = {entries, sizeof(uint64_t) * index_of(&composition)};
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, QEMU_PLUGIN_INLINE_ADD_U64, counter, 1);
}

static void add_thread(uint64_t sums[CLASSES], unsigned thread)
{
    const uint64_t *counts = qemu_plugin_scoreboard_find(entries, thread);
    for (unsigned i = 0; i < used; i++)
        if (counts[i])
            for (int k = 0; k < CLASSES; k++)
                sums[k] += counts[i] * compositions[i].count[k];
}

/* The sums of one thread, and of all threads. */
static struct beginning sums_of(unsigned thread)
{
    struct beginning now = {{0}, 0};
    uint64_t sums[CLASSES] = {0};
    add_thread(now.own, thread);
    for (int other = 0; other < qemu_plugin_num_vcpus(); other++)
        add_thread(sums, other);
    for (int k = 0; k < CLASSES; k++)
        now.all += sums[k];
    return now;
}

static void write_record(const struct beginning *from, const struct beginning *to)
{
    GString *line = g_string_new("{");
    uint64_t elsewhere = to->all - from->all;
    for (int k = 0; k < CLASSES; k++) {
        uint64_t count = to->own[k] - from->own[k];
        elsewhere -= count;
        g_string_append_printf(line, "\"%s\": %" PRIu64 ", ", class_names[k], count);
    }
    g_string_append_printf(line, "\"elsewhere\": %" PRIu64 "}\n", elsewhere);
    if (write(output, line->str, line->len) != (ssize_t)line->len) {
        perror("edgecount");
        exit(1);
    }
    g_string_free(line, TRUE);
}

static void called(qemu_plugin_id_t id, unsigned thread, int64_t number, uint64_t first,
                   uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7,
                   uint64_t a8)
{
    int32_t mark = (int32_t)first;
    if (number != SYSCALL_CLOSE || (mark != BEGIN && mark != END))
        return;
    g_mutex_lock(&lock);
    struct beginning now = sums_of(thread);
    struct beginning *from = qemu_plugin_scoreboard_find(begun, thread);
    if (mark == BEGIN)
        *from = now;
    else
        write_record(from, &now);
    g_mutex_unlock(&lock);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                           char **argv)
{
    if (strcmp(info->target_name, "aarch64") || info->system_emulation) {
        fprintf(stderr, "edgecount: counts programs of aarch64 only\n");
        return -1;
    }
    if (argc != 1 || sscanf(argv[0], "fd=%d", &output) != 1) {
        fprintf(stderr, "edgecount: wants fd=N\n");
        return -1;
    }
    known = g_hash_table_new(hash, equal);
    entries = qemu_plugin_scoreboard_new(sizeof(uint64_t) * MAX_COMPOSITIONS);
    begun = qemu_plugin_scoreboard_new(sizeof(struct beginning));
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
