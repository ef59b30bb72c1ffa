/* Rot of every kind, in every file of a log: cut at any length, zeroed or stale sectors and pages (a write that never
 * reached the disk), sectors that stand where others belong. What is acknowledged is read exactly, or whoever reads is told
 * file and offset, and fsck says the same; never a wrong record, a missing one that nobody names, or an offset given twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/testing.h"
#include "log/log.h"
#include "sys/sim.h"

enum { FILES_MAX = 96, FILE_BYTES_MAX = 64 * 1024, RECORDS_MAX = 640, SECTOR = SIM_SECTOR_BYTES, PAGE = 4096 };

static const char *const topics[] = {"plain", "compacted"};
enum { PLAIN, COMPACTED, TOPICS };

struct file {
    char path[96];
    uint32_t size;
    uint8_t *bytes;
};

/* A folder's files at one moment. */
struct image {
    struct file files[FILES_MAX];
    uint32_t count;
};

struct place {
    struct sim *sim;
    struct log_options options;
    struct log *log;
    struct log_partition *partitions[TOPICS];
    struct record_batch_builder builder;
    int64_t acked[TOPICS];          /* end of what was acknowledged */
    bool kept[TOPICS][RECORDS_MAX]; /* which offsets are there when nothing is damaged */
    int64_t
        recorded[TOPICS]; /* durable end as a crash finds it: rot that reaches from behind it to the end looks torn */
    struct image early, before, closed, crashed; /* `before`: the last write of a durable end that `crashed` has */
};

static size_t value_of(int topic, int64_t offset, char ret_value[static 64]) {
    return (size_t)snprintf(ret_value, 64, "record %lld of %s, and somewhat more of it", (long long)offset,
                            topics[topic]);
}

/* --- images --- */

struct listing {
    struct place *place;
    struct image *image;
    const char *folder;
};

static enum err keep_file(void *context, const struct sys_entry *entry) {
    const struct listing *listing = context;
    const struct sys *sys = sim_sys(listing->place->sim);
    char path[96];
    snprintf(path, sizeof path, "%s/%s", listing->folder, entry->name);
    if (entry->folder) {
        struct listing inner = {listing->place, listing->image, path};
        return sys->disk_ops->list(sys->disk, path, keep_file, &inner);
    }
    assert_true(listing->image->count < FILES_MAX);
    struct file *file = &listing->image->files[listing->image->count++];
    size_t size;
    snprintf(file->path, sizeof file->path, "%s", path);
    assert_int_equal(sys_read_file(sys, path, FILE_BYTES_MAX, NULL, &file->bytes, &size), ERR_OK);
    file->size = (uint32_t)size;
    return ERR_OK;
}

static void take_image(struct place *place, struct image *image) {
    struct listing listing = {place, image, "log"};
    const struct sys *sys = sim_sys(place->sim);
    assert_int_equal(sys->disk_ops->list(sys->disk, "log", keep_file, &listing), ERR_OK);
}

static void drop_image(struct image *image) {
    for (uint32_t i = 0; i < image->count; i++) free(image->files[i].bytes);
    image->count = 0;
}

static const struct file *find_file(const struct image *image, const char *path) {
    for (uint32_t i = 0; i < image->count; i++)
        if (strcmp(image->files[i].path, path) == 0) return &image->files[i];
    return NULL;
}

static void write_file(const struct sys *sys, const char *path, struct slice bytes) {
    struct sys_file *file = NULL;
    assert_int_equal(sys->disk_ops->open(sys->disk, path, SYS_WRITE | SYS_CREATE, NULL, &file), ERR_OK);
    assert_int_equal(sys->disk_ops->write(file, 0, &bytes, 1), ERR_OK);
    sys->disk_ops->close(sys->disk, &file);
}

/* A new disk with these files, one of them as given. */
static struct sim *disk_of(const struct image *image, uint32_t damaged, struct slice bytes) {
    struct sim *sim = sim_make(1);
    const struct sys *sys = sim_sys(sim);
    assert_int_equal(sys_make_folders(sys, "log", NULL), ERR_OK);
    for (uint32_t i = 0; i < image->count; i++) {
        const struct file *file = &image->files[i];
        char folder[96];
        snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(file->path, '/') - file->path), file->path);
        assert_int_equal(sys->disk_ops->make_folder(sys->disk, folder), ERR_OK);
        write_file(sys, file->path, i == damaged ? bytes : slice_of(file->bytes, file->size));
    }
    return sim;
}

/* --- a log of two topics --- */

static void open_log(struct place *place) {
    struct diag diag = {0};
    if (log_open(&place->options, &diag, &place->log) != ERR_OK) fail_msg("%s: %s", diag.where, diag.what);
    for (int t = 0; t < TOPICS; t++) {
        const struct log_topic_options options = {.compacted = t == COMPACTED};
        enum err err = log_topic_create(place->log, topics[t], &options, &diag);
        assert_true(err == ERR_OK || err == ERR_EXISTS);
        assert_int_equal(log_partition_find(place->log, topics[t], 0, &place->partitions[t]), ERR_OK);
    }
}

static enum err append(struct place *place, struct log *log, int topic, struct log_partition *partition, int count,
                       int64_t *ret_offset) {
    static const enum record_codec codecs[] = {RECORD_CODEC_NONE, RECORD_CODEC_LZ4, RECORD_CODEC_ZSTD};
    int64_t first = place->acked[topic];
    record_batch_begin(&place->builder, codecs[first % 3]);
    for (int i = 0; i < count; i++) {
        char value[64], key[8];
        snprintf(key, sizeof key, "%lld", (long long)(first * 7 + i) % 40);
        const struct record record = {.timestamp_ms = 1700000000000 + first,
                                      .key = slice_text(key),
                                      .value = slice_of(value, value_of(topic, first + i, value))};
        assert_int_equal(record_batch_add(&place->builder, &record), ERR_OK);
    }
    assert_int_equal(record_batch_end(&place->builder), ERR_OK);
    struct log_append append = {.partition = partition,
                                .batch = place->builder.bytes.data,
                                .batch_bytes = (uint32_t)place->builder.bytes.size,
                                .record_count = (uint32_t)count};
    enum err err = log_append_wait(log, &append);
    *ret_offset = append.base_offset;
    return err;
}

static void fill(struct place *place, int batches) {
    for (int i = 0; i < batches; i++)
        for (int t = 0; t < TOPICS; t++) {
            int64_t offset;
            int count = 1 + i % 3;
            assert_int_equal(append(place, place->log, t, place->partitions[t], count, &offset), ERR_OK);
            assert_int_equal(offset, place->acked[t]);
            place->acked[t] += count;
        }
}

struct reading {
    struct place *place;
    int topic;
    int64_t next;
    bool got[RECORDS_MAX];
};

static enum err take_record(void *context, const struct record *record) {
    struct reading *reading = context;
    char value[64];
    if (record->offset < reading->next || record->offset >= reading->place->acked[reading->topic])
        fail_msg("offset %lld where %lld follows", (long long)record->offset, (long long)reading->next);
    size_t size = value_of(reading->topic, record->offset, value);
    if (!slice_equal(record->value, slice_of(value, size))) fail_msg("offset %lld is wrong", (long long)record->offset);
    reading->got[record->offset] = true;
    reading->next = record->offset + 1;
    return ERR_OK;
}

static void check_told(const struct diag *diag) {
    assert_true(strlen(diag->what) > 0);
    if (strchr(diag->where, '/') == NULL && strncmp(diag->where, "log", 3) != 0)
        fail_msg("no place is told: %s", diag->where);
}

/* Reads all there is; true if damage was reported. */
static bool read_topic(struct place *place, int topic, struct log_partition *partition, struct reading *reading) {
    struct log_cursor *cursor = NULL;
    struct diag diag = {0};
    struct arena arena;
    bool told = false;
    *reading = (struct reading){.place = place, .topic = topic};
    arena_init(&arena, 1 << 20);
    assert_int_equal(log_cursor_open(partition, log_start_offset(partition), &diag, &cursor), ERR_OK);
    for (int errors = 0; errors < 1000;) {
        struct record_batch batch;
        enum err err = log_cursor_next(cursor, &diag, &batch);
        if (err == ERR_END) break;
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_CORRUPT);
            check_told(&diag);
            told = true;
            errors++;
            continue;
        }
        assert_int_equal(record_batch_visit(&batch, &arena, take_record, reading), ERR_OK);
        arena_clear(&arena);
    }
    log_cursor_close(&cursor);
    arena_deinit(&arena);
    return told;
}

/* The newer slot's (format.h). */
static int64_t recorded_end(const struct image *image, int topic) {
    char path[96];
    snprintf(path, sizeof path, "log/%s-0/durable-end", topics[topic]);
    const struct file *file = find_file(image, path);
    uint64_t sequence[2], newer;
    int64_t end;
    for (int i = 0; i < 2; i++) memcpy(&sequence[i], file->bytes + i * 8192 + 32, 8);
    newer = sequence[1] > sequence[0];
    memcpy(&end, file->bytes + newer * 8192 + 40, 8);
    return end;
}

/* Keeps the image from before the append if that records a durable end. */
static void fill_one(struct place *place) {
    struct image image = {0}, after = {0};
    take_image(place, &image);
    fill(place, 1);
    take_image(place, &after);
    const struct file *was = find_file(&image, "log/plain-0/durable-end"), *is = find_file(&after, was->path);
    bool recorded = was->size != is->size || memcmp(was->bytes, is->bytes, is->size) != 0;
    if (recorded) drop_image(&place->before);
    if (recorded) place->before = image;
    if (!recorded) drop_image(&image);
    drop_image(&after);
}

static int setup(void **state) {
    struct place *place = calloc(1, sizeof *place);
    place->sim = sim_make(1);
    place->options = (struct log_options){.sys = sim_sys(place->sim),
                                          .folder = "log",
                                          .segment_bytes = 3072,
                                          .group_bytes = 2048,
                                          .reserve_bytes = 4096,
                                          .allocate_bytes = 1024,
                                          .record_bytes = 1024};
    record_batch_builder_init(&place->builder);
    open_log(place);
    fill(place, 60);
    take_image(place, &place->early);
    fill(place, 60);
    struct diag diag = {0};
    assert_int_equal(log_compact(place->log, topics[COMPACTED], NULL, &diag), ERR_OK);
    for (int i = 0; i < 20; i++) fill_one(place);
    take_image(place, &place->crashed);
    for (int t = 0; t < TOPICS; t++) place->recorded[t] = recorded_end(&place->crashed, t);
    struct reading reading;
    for (int t = 0; t < TOPICS; t++) {
        assert_false(read_topic(place, t, place->partitions[t], &reading));
        memcpy(place->kept[t], reading.got, sizeof reading.got);
    }
    log_close(&place->log);
    take_image(place, &place->closed);
    *state = place;
    return 0;
}

static int teardown(void **state) {
    struct place *place = *state;
    drop_image(&place->early);
    drop_image(&place->before);
    drop_image(&place->closed);
    drop_image(&place->crashed);
    record_batch_builder_deinit(&place->builder);
    sim_drop(&place->sim);
    free(place);
    return 0;
}

/* --- one damage --- */

struct damage {
    struct place *place;
    const struct image *image;
    uint32_t file;
    const char *how;
    uint64_t at;
    uint8_t bytes[FILE_BYTES_MAX];
    uint32_t size;
    uint32_t tried;
};

static enum err count_damage(void *context, const struct log_finding *finding) {
    if (finding->kind == LOG_FINDING_ROT || finding->kind == LOG_FINDING_FOREIGN) {
        if (finding->file[0] == '\0' || finding->text[0] == '\0') fail_msg("a finding without a place");
        ++*(int *)context;
    }
    return ERR_OK;
}

static void tell_damage(const struct damage *d) {
    print_message("%s of %s: %s at %llu\n", d->image->files[d->file].path,
                  d->image == &d->place->closed ? "a closed log" : "a log after a crash", d->how,
                  (unsigned long long)d->at);
}

static void check_topic(const struct damage *d, struct log *log, int t, int fsck_found) {
    struct place *place = d->place;
    struct log_partition *partition;
    struct reading reading;
    assert_int_equal(log_partition_find(log, topics[t], 0, &partition), ERR_OK);
    bool told = read_topic(place, t, partition, &reading);
    struct log_finding finding;
    log_partition_damage(partition, &finding);
    told |= finding.kind != LOG_FINDING_OK;
    int64_t missing = -1;
    for (int64_t i = place->acked[t] - 1; i >= 0; i--)
        if (place->kept[t][i] && !reading.got[i]) missing = i;
    bool torn = d->image == &place->crashed && missing >= place->recorded[t] && reading.next <= missing;
    if (missing >= 0 && !told && !torn) {
        tell_damage(d);
        fail_msg("%s: offset %lld is missing, and nobody says so", topics[t], (long long)missing);
    }
    if (missing >= 0 && fsck_found == 0 && !torn) {
        tell_damage(d);
        fail_msg("%s: offset %lld is missing, and fsck found nothing", topics[t], (long long)missing);
    }
    int64_t offset;
    enum err err = append(place, log, t, partition, 1, &offset);
    torn = d->image == &place->crashed && offset >= place->recorded[t] && reading.next <= offset;
    if (err == ERR_OK && offset < place->acked[t] && !torn) {
        tell_damage(d);
        fail_msg("%s: offset %lld is given a second time", topics[t], (long long)offset);
    }
    if (err != ERR_OK) assert_int_equal(err, ERR_CORRUPT);
}

static void try(struct damage *d) {
    struct sim *sim = disk_of(d->image, d->file, slice_of(d->bytes, d->size));
    struct log_options options = d->place->options;
    options.sys = sim_sys(sim);
    struct log *log = NULL;
    struct diag diag = {0};
    int found = 0;
    enum err err = log_fsck(&options, count_damage, &found, &diag);
    if (err != ERR_OK) check_told(&diag);
    if (err != ERR_OK) found++;
    diag = (struct diag){0};
    err = log_open(&options, &diag, &log);
    if (err != ERR_OK) {
        check_told(&diag);
    } else {
        for (int t = 0; t < TOPICS; t++) check_topic(d, log, t, found);
        log_close(&log);
    }
    sim_drop(&sim);
    d->tried++;
}

static void begin(struct damage *d, const char *how, uint64_t at) {
    const struct file *file = &d->image->files[d->file];
    assert_true(file->size <= sizeof d->bytes);
    memcpy(d->bytes, file->bytes, file->size);
    d->size = file->size;
    d->how = how;
    d->at = at;
}

static bool is_changed(const struct damage *d) {
    const struct file *file = &d->image->files[d->file];
    return d->size != file->size || memcmp(d->bytes, file->bytes, file->size) != 0;
}

static uint32_t piece_at(const struct damage *d, uint64_t at, uint32_t most) {
    return d->size - at < most ? (uint32_t)(d->size - at) : most;
}

/* --- kinds --- */

/* In the usual run every length of the small files and some of the others; `./check --long` takes all. */
static void every_length(struct damage *d) {
    uint32_t step = (uint32_t)(700 / testing_seeds(100));
    if (step == 0) step = 1;
    const struct file *file = &d->image->files[d->file];
    for (uint32_t size = 0; size < file->size; size += size < 128 ? 1 : step) {
        begin(d, "cut", size);
        d->size = size;
        try(d);
    }
}

static void zeroed(struct damage *d, uint32_t unit, const char *how) {
    for (uint32_t at = 0; at < d->image->files[d->file].size; at += unit) {
        begin(d, how, at);
        memset(d->bytes + at, 0, piece_at(d, at, unit));
        if (is_changed(d)) try(d);
    }
}

static void swapped(struct damage *d) {
    uint32_t size = d->image->files[d->file].size;
    for (uint32_t a = 0; a + SECTOR <= size; a += SECTOR)
        for (uint32_t b = a + SECTOR; b + SECTOR <= size; b += SECTOR) {
            begin(d, "swapped sectors", a);
            const struct file *file = &d->image->files[d->file];
            memcpy(d->bytes + a, file->bytes + b, SECTOR);
            memcpy(d->bytes + b, file->bytes + a, SECTOR);
            if (is_changed(d)) try(d);
        }
}

/* What stood there before: one write, or all of them, never reached the disk. */
static void stale_from(struct damage *d, const struct image *image) {
    const struct file *before = find_file(image, d->image->files[d->file].path);
    if (before == NULL) return;
    for (uint32_t at = 0; at < d->image->files[d->file].size && at < before->size; at += SECTOR) {
        begin(d, "a stale sector", at);
        uint32_t piece = piece_at(d, at, SECTOR);
        memcpy(d->bytes + at, before->bytes + at, before->size - at < piece ? before->size - at : piece);
        if (is_changed(d)) try(d);
    }
    begin(d, "a stale file", 0);
    memcpy(d->bytes, before->bytes, before->size);
    d->size = before->size;
    if (is_changed(d)) try(d);
}

static void stale(struct damage *d) {
    stale_from(d, &d->place->early);
    stale_from(d, &d->place->before);
}

/* Sectors of other files, at the same place and at others. */
static void misdirected(struct damage *d) {
    for (uint32_t other = 0; other < d->image->count; other++) {
        const struct file *from = &d->image->files[other];
        if (other == d->file || from->size < SECTOR) continue;
        uint32_t size = d->image->files[d->file].size;
        for (uint32_t at = other % 3 * SECTOR; at < size; at += 3 * SECTOR) {
            begin(d, "a sector of another file", at);
            uint32_t source = (at + other * SECTOR) % (from->size / SECTOR * SECTOR);
            memcpy(d->bytes + at, from->bytes + source, piece_at(d, at, SECTOR));
            if (is_changed(d)) try(d);
        }
    }
}

static void each_file(void **state, bool crashed, void (*kind)(struct damage *d), uint32_t at_least) {
    struct place *place = *state;
    struct damage *d = calloc(1, sizeof *d);
    d->place = place;
    d->image = crashed ? &place->crashed : &place->closed;
    for (d->file = 0; d->file < d->image->count; d->file++) kind(d);
    if (d->tried < at_least) fail_msg("%u cases are fewer than %u: this shows little", d->tried, at_least);
    free(d);
}

static void zeroed_sectors(struct damage *d) { zeroed(d, SECTOR, "a zeroed sector"); }
static void zeroed_pages(struct damage *d) { zeroed(d, PAGE, "a zeroed page"); }

static void any_file_may_be_cut_at_any_length(void **state) { each_file(state, false, every_length, 1000); }
static void any_sector_may_be_zeroed(void **state) { each_file(state, false, zeroed_sectors, 80); }
static void any_page_may_be_zeroed(void **state) { each_file(state, false, zeroed_pages, 20); }
static void any_two_sectors_may_be_swapped(void **state) { each_file(state, false, swapped, 200); }
static void any_write_may_be_lost(void **state) { each_file(state, false, stale, 20); }
static void any_sector_may_stand_elsewhere(void **state) { each_file(state, false, misdirected, 400); }

static void a_crash_may_come_with_rot(void **state) {
    each_file(state, true, zeroed_sectors, 80);
    each_file(state, true, zeroed_pages, 20);
    each_file(state, true, swapped, 200);
    each_file(state, true, stale, 20);
    each_file(state, true, misdirected, 400);
}

/* Logs from before batches had tags: read, written to and compacted as they were. */
static void a_log_of_the_first_version_goes_on(void **state) {
    struct place *place = *state;
    struct place old = {.sim = sim_make(3), .options = place->options};
    const struct sys *sys = old.options.sys = sim_sys(old.sim);
    uint8_t identity[64] = "wicklog1\1";
    uint32_t crc = crc32c(0, slice_of(identity, 60));
    memcpy(identity + 60, &crc, 4);
    assert_int_equal(sys_make_folders(sys, "log", NULL), ERR_OK);
    write_file(sys, "log/identity", slice_of(identity, sizeof identity));
    record_batch_builder_init(&old.builder);
    for (int round = 0; round < 3; round++) {
        struct reading reading;
        open_log(&old);
        fill(&old, 60);
        assert_int_equal(log_compact(old.log, topics[COMPACTED], NULL, NULL), ERR_OK);
        for (int t = 0; t < TOPICS; t++) {
            assert_false(read_topic(&old, t, old.partitions[t], &reading));
            assert_int_equal(reading.next, old.acked[t]);
        }
        log_close(&old.log);
    }
    uint8_t *after;
    size_t size;
    assert_int_equal(sys_read_file(sys, "log/identity", 64, NULL, &after, &size), ERR_OK);
    assert_memory_equal(after, identity, sizeof identity);
    free(after);
    record_batch_builder_deinit(&old.builder);
    sim_drop(&old.sim);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(any_file_may_be_cut_at_any_length),
        TEST(any_sector_may_be_zeroed),
        TEST(any_page_may_be_zeroed),
        TEST(any_two_sectors_may_be_swapped),
        TEST(any_write_may_be_lost),
        TEST(any_sector_may_stand_elsewhere),
        TEST(a_crash_may_come_with_rot),
        TEST(a_log_of_the_first_version_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
