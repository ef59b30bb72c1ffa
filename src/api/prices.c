/* POST /v1/prices. A request becomes at most a few batches: one a partition (split at 1 MiB), and one in `prices.invalid` for
 * what is no event. They go to the log together, and the last of them to be on disk answers. */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "api/api_internal.h"
#include "flow/output.h"

enum {
    PART_BYTES = 1024 * 1024,
    KEY_MAX = 128,
    ANSWER_INVALID_MAX = 32 * 1024 * 1024,
    SUBMISSIONS_KEPT = 1024,
    KEPT_BYTES = 64 * 1024,
    PART_MAGIC = 0x70617274,
};

struct part {
    struct log_append append;
    uint32_t magic;
    struct submission *submission;
    struct record_batch_builder builder;
    uint32_t events; /* 0 for invalid elements and keys */
    uint64_t content;
};

struct submission {
    struct submission *next;
    struct api *api;
    struct http_exchange *exchange;
    struct part **parts; /* part_count of them are in use, part_made are there */
    uint32_t part_count, part_made, part_capacity;
    uint32_t *current; /* partition -> its part being filled; UINT32_MAX: none; the last is of prices.invalid */
    _Atomic uint32_t left;
    int64_t now_ms;
    uint32_t duplicate, invalid;
    struct buf invalid_list;
    char key[KEY_MAX];
    uint32_t key_size;
    bool key_written;
    uint64_t *hashes; /* of what is new under the key: events and invalid elements */
    uint32_t hash_count, hash_capacity;
    enum err err;
};

/* --- submissions are reused, with their batch buffers --- */

static void part_free(struct part *part) {
    record_batch_builder_deinit(&part->builder);
    free(part);
}

static void submission_free(struct submission *submission) {
    for (uint32_t i = 0; i < submission->part_made; i++) part_free(submission->parts[i]);
    free(submission->parts);
    free(submission->current);
    free(submission->hashes);
    buf_deinit(&submission->invalid_list);
    free(submission);
}

void submissions_free(struct api *api) {
    for (struct submission *at = api->submissions, *next; at != NULL; at = next) {
        next = at->next;
        submission_free(at);
    }
    api->submissions = NULL;
}

static struct submission *submission_make(struct api *api) {
    struct submission *submission = calloc(1, sizeof *submission);
    if (submission == NULL) return NULL;
    submission->api = api;
    buf_init(&submission->invalid_list, ANSWER_INVALID_MAX);
    submission->current = malloc((api->options.prices_count + 1) * sizeof *submission->current);
    if (submission->current == NULL) {
        submission_free(submission);
        return NULL;
    }
    return submission;
}

static struct submission *submission_take(struct api *api, struct http_exchange *exchange) {
    pthread_mutex_lock(&api->lock);
    struct submission *submission = api->submissions;
    if (submission != NULL) {
        api->submissions = submission->next;
        api->submission_count--;
    }
    pthread_mutex_unlock(&api->lock);
    if (submission == NULL) submission = submission_make(api);
    if (submission == NULL) return NULL;
    submission->exchange = exchange;
    submission->part_count = 0;
    submission->duplicate = submission->invalid = 0;
    submission->key_size = 0;
    submission->key_written = false;
    submission->hash_count = 0;
    submission->err = ERR_OK;
    submission->now_ms = api_now_ms(api);
    buf_clear(&submission->invalid_list);
    memset(submission->current, 0xff, (api->options.prices_count + 1) * sizeof *submission->current);
    atomic_store_explicit(&submission->left, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&api->owners, 1, memory_order_relaxed);
    return submission;
}

static bool is_small(const struct submission *submission) {
    size_t bytes = submission->invalid_list.capacity + submission->hash_capacity * sizeof *submission->hashes;
    for (uint32_t i = 0; i < submission->part_made; i++) bytes += submission->parts[i]->builder.bytes.capacity;
    return bytes <= KEPT_BYTES;
}

static void submission_give(struct submission *submission) {
    struct api *api = submission->api;
    bool keep = is_small(submission);
    pthread_mutex_lock(&api->lock);
    /* A few large ones stay too: a feed that sends thousands of events a request has few requests at once. */
    keep = api->submission_count < (keep ? SUBMISSIONS_KEPT : 8);
    if (keep) {
        submission->next = api->submissions;
        api->submissions = submission;
        api->submission_count++;
    }
    pthread_mutex_unlock(&api->lock);
    if (!keep) submission_free(submission);
    api_drop(api);
}

/* --- filling batches --- */

static enum err part_add(struct submission *submission, struct part **ret_part) {
    if (submission->part_count == submission->part_capacity) {
        const uint32_t capacity = submission->part_capacity == 0 ? 4 : submission->part_capacity * 2;
        struct part **parts = realloc(submission->parts, capacity * sizeof *parts);
        if (parts == NULL) return ERR_NO_MEMORY;
        submission->parts = parts;
        submission->part_capacity = capacity;
    }
    if (submission->part_count == submission->part_made) {
        struct part *part = calloc(1, sizeof *part);
        if (part == NULL) return ERR_NO_MEMORY;
        part->magic = PART_MAGIC;
        part->submission = submission;
        record_batch_builder_init(&part->builder);
        submission->parts[submission->part_made++] = part;
    }
    struct part *part = submission->parts[submission->part_count++];
    part->events = 0;
    part->content = 0;
    record_batch_begin(&part->builder, submission->api->options.codec);
    *ret_part = part;
    return ERR_OK;
}

static enum err put_record(struct submission *submission, uint32_t slot, struct log_partition *partition,
                           const struct record *record, struct part **ret_part) {
    const uint32_t at = submission->current[slot];
    const size_t size = record->key.size + record->value.size;
    struct part *part = at != UINT32_MAX ? submission->parts[at] : NULL;
    if (part == NULL || (part->builder.record_count > 0 && part->builder.bytes.size + size > PART_BYTES)) {
        enum err err = part_add(submission, &part);
        if (err != ERR_OK) return err;
        submission->current[slot] = submission->part_count - 1;
        part->append.partition = partition;
    }
    *ret_part = part;
    return record_batch_add(&part->builder, record);
}

static enum err keep_hash(struct submission *submission, uint64_t hash) {
    if (submission->hash_count == submission->hash_capacity) {
        const uint32_t capacity = submission->hash_capacity == 0 ? 64 : submission->hash_capacity * 2;
        uint64_t *hashes = realloc(submission->hashes, capacity * sizeof *hashes);
        if (hashes == NULL) return ERR_NO_MEMORY;
        submission->hashes = hashes;
        submission->hash_capacity = capacity;
    }
    submission->hashes[submission->hash_count++] = hash;
    return ERR_OK;
}

static enum err note_content(struct submission *submission, struct part *part, uint64_t hash) {
    part->content = (part->content ^ hash) * 0x9e3779b97f4a7c15u;
    return submission->key_size > 0 ? keep_hash(submission, hash) : ERR_OK;
}

static enum err put_event(struct submission *submission, const struct price_item *item, struct slice name,
                          uint64_t hash) {
    const struct api_options *options = &submission->api->options;
    const uint32_t slot = options->prices_count > 1 ? log_partition_for_key(name, options->prices_count) : 0;
    const struct record record = {.timestamp_ms = submission->now_ms, .key = name, .value = item->source};
    struct part *part = NULL;
    enum err err = put_record(submission, slot, options->prices[slot], &record, &part);
    if (err != ERR_OK) return err;
    part->events++;
    return note_content(submission, part, hash);
}

/* --- equal events of one request, or of one key, count once --- */

static bool seen_grow(struct kit *kit) {
    const uint32_t capacity = kit->seen_capacity == 0 ? 1024 : kit->seen_capacity * 2;
    uint64_t *seen = calloc(capacity, sizeof *seen);
    if (seen == NULL) return false;
    for (uint32_t i = 0; i < kit->seen_capacity; i++) {
        if (kit->seen[i] == 0) continue;
        uint32_t at = (uint32_t)kit->seen[i] & (capacity - 1);
        while (seen[at] != 0) at = (at + 1) & (capacity - 1);
        seen[at] = kit->seen[i];
    }
    free(kit->seen);
    kit->seen = seen;
    kit->seen_capacity = capacity;
    return true;
}

static enum err seen_add(struct kit *kit, uint64_t hash, bool *ret_known) {
    if (kit->seen_count * 2 >= kit->seen_capacity && !seen_grow(kit)) return ERR_NO_MEMORY;
    hash |= hash == 0;
    uint32_t at = (uint32_t)hash & (kit->seen_capacity - 1);
    while (kit->seen[at] != 0 && kit->seen[at] != hash) at = (at + 1) & (kit->seen_capacity - 1);
    *ret_known = kit->seen[at] == hash;
    kit->seen_count += !*ret_known;
    kit->seen[at] = hash;
    return ERR_OK;
}

static void seen_clear(struct kit *kit) {
    enum { KEEP = 64 * 1024 };
    if (kit->seen_capacity > KEEP) {
        free(kit->seen);
        kit->seen = NULL;
        kit->seen_capacity = 0;
    }
    if (kit->seen_count > 0) memset(kit->seen, 0, kit->seen_capacity * sizeof *kit->seen);
    kit->seen_count = 0;
}

/* --- decoding --- */

struct decoding {
    struct submission *submission;
    struct kit *kit;
    struct diag *diag;
    uint32_t count;
    enum err err;
};

static void visit_known(void *context, uint64_t hash) {
    struct decoding *decoding = context;
    bool known;
    if (decoding->err == ERR_OK) decoding->err = seen_add(decoding->kit, hash, &known);
}

/* --- invalid elements: the client is told, and each is kept with its reason for `wick invalid` --- */

static enum err keep_invalid(struct submission *submission, const struct price_item *item, enum err reason,
                             const char *detail, uint64_t hash) {
    const struct api_options *options = &submission->api->options;
    struct record_header headers[3] = {{SLICE("reason"), slice_text(err_name(reason))},
                                       {SLICE("detail"), slice_text(detail)}};
    char text[24];
    struct record record = {
        .timestamp_ms = submission->now_ms, .value = item->source, .headers = headers, .header_count = 2};
    record_cut(&record, headers, text);
    struct part *part;
    enum err err = put_record(submission, options->prices_count, options->prices_invalid, &record, &part);
    return err != ERR_OK ? err : note_content(submission, part, hash);
}

/* Equal ones of a request are all kept, so its place is part of what a key knows an element by. */
static enum err put_invalid(struct decoding *decoding, const struct price_item *item, enum err reason,
                            const char *detail) {
    struct submission *submission = decoding->submission;
    struct buf *list = &submission->invalid_list;
    uint64_t hash = 0;
    bool known = false;
    buf_put_text(list, submission->invalid++ > 0 ? ",{\"index\":" : "{\"index\":");
    put_i64(list, item->index);
    put_member(list, "reason");
    json_put_string(list, slice_text(detail));
    buf_put_u8(list, '}');
    enum err err = buf_err(list);
    if (err == ERR_OK && submission->key_size > 0) {
        hash = hash_bytes(item->source, ~(uint64_t)item->index);
        err = seen_add(decoding->kit, hash, &known);
    }
    if (err != ERR_OK || known || submission->api->options.prices_invalid == NULL) return err;
    return keep_invalid(submission, item, reason, detail, hash);
}

/* --- events --- */

static enum err visit_event(struct decoding *decoding, const struct price_item *item) {
    struct submission *submission = decoding->submission;
    const struct event *event = &item->event;
    if (event->time_ms > submission->now_ms + API_FUTURE_MS)
        return put_invalid(decoding, item, ERR_FUTURE,
                           "timestampInMs is more than 5 minutes ahead of the server's clock");
    const struct series *series = series_get(submission->api->options.series, event->series);
    assert(series != NULL);
    const struct slice name = slice_text(series->name);
    const uint64_t hash = hash_bytes(name, event_hash(event));
    bool known = false;
    enum err err = seen_add(decoding->kit, hash, &known);
    if (err != ERR_OK) return err;
    submission->duplicate += known;
    return known ? ERR_OK : put_event(submission, item, name, hash);
}

static enum err visit_item(void *context, const struct price_item *item) {
    struct decoding *decoding = context;
    if (++decoding->count > API_EVENTS_MAX)
        return diag_set(decoding->diag, ERR_TOO_LARGE, "at most %d events a request", API_EVENTS_MAX);
    if (item->err != ERR_OK) return put_invalid(decoding, item, item->err, item->reason);
    return visit_event(decoding, item);
}

static enum err decode(struct submission *submission, struct diag *diag) {
    struct kit *kit;
    enum err err = kit_take(submission->api, &kit);
    if (err != ERR_OK) return err;
    struct decoding decoding = {submission, kit, diag, 0, ERR_OK};
    if (submission->key_size > 0)
        keys_visit(submission->api->keys, slice_of(submission->key, submission->key_size), submission->now_ms,
                   visit_known, &decoding);
    err = decoding.err;
    if (err == ERR_OK) err = price_decode_body(kit->prices, submission->exchange->body, diag, visit_item, &decoding);
    seen_clear(kit);
    kit_give(submission->api, kit);
    return err;
}

/* --- to the log and back --- */

static void arrived(struct submission *submission);

static void part_done(struct log_append *append) {
    struct part *part = append->context;
    assert(part->magic == PART_MAGIC);
    arrived(part->submission);
}

static enum err part_end(struct part *part) {
    enum err err = record_batch_end(&part->builder);
    part->append = (struct log_append){
        .partition = part->append.partition,
        .batch = part->builder.bytes.data,
        .batch_bytes = (uint32_t)part->builder.bytes.size,
        .record_count = part->builder.record_count,
        .done = part_done,
        .context = part,
    };
    return err;
}

/* The same key with the same content in the same partition: the log answers with the original. */
static int64_t producer_of(const struct submission *submission, const struct part *part) {
    return (int64_t)(hash_bytes(slice_of(submission->key, submission->key_size), part->content) >> 1);
}

static enum err end_parts(struct submission *submission) {
    for (uint32_t i = 0; i < submission->part_count; i++) {
        struct part *part = submission->parts[i];
        if (submission->key_size > 0) record_batch_set_producer(&part->builder, producer_of(submission, part), 0, 0);
        enum err err = part_end(part);
        if (err != ERR_OK) return err;
    }
    return ERR_OK;
}

static void refuse(struct submission *submission, enum err err, const struct diag *diag) {
    atomic_fetch_add_explicit(&submission->api->counters.refused, 1, memory_order_relaxed);
    http_reply_error(submission->exchange, err, diag);
    submission_give(submission);
}

static void reply(struct submission *submission) {
    struct api_counters *counters = &submission->api->counters;
    struct http_exchange *exchange = submission->exchange;
    uint32_t accepted = 0, duplicate = submission->duplicate;
    for (uint32_t i = 0; i < submission->part_count; i++) {
        const struct part *part = submission->parts[i];
        if (part->append.duplicate)
            duplicate += part->events;
        else
            accepted += part->events;
    }
    struct buf *out = &exchange->answer;
    buf_put(out, SLICE("{\"accepted\":"));
    put_i64(out, accepted);
    buf_put(out, SLICE(",\"duplicate\":"));
    put_i64(out, duplicate);
    buf_put(out, SLICE(",\"invalid\":["));
    buf_put(out, buf_slice(&submission->invalid_list));
    buf_put(out, SLICE("]}"));
    atomic_fetch_add_explicit(&counters->accepted, accepted, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters->duplicate, duplicate, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters->invalid, submission->invalid, memory_order_relaxed);
    submission_give(submission);
    http_reply(exchange, 200, "application/json");
}

/* The key's record follows its events, never the other way round: it says that they are on disk. */
static enum err submit_key(struct submission *submission) {
    struct part *part = NULL;
    const struct record record = {
        .timestamp_ms = submission->now_ms,
        .key = slice_of(submission->key, submission->key_size),
        .value = slice_of(submission->hashes, submission->hash_count * sizeof *submission->hashes),
    };
    enum err err = part_add(submission, &part);
    if (err != ERR_OK) return err;
    part->append.partition = keys_partition(submission->api->keys);
    err = record_batch_add(&part->builder, &record);
    if (err == ERR_OK) err = part_end(part);
    if (err != ERR_OK) return err;
    submission->key_written = true;
    atomic_store_explicit(&submission->left, 1, memory_order_relaxed);
    log_submit(submission->api->options.log, &part->append);
    return ERR_OK;
}

static enum err first_error(const struct submission *submission) {
    for (uint32_t i = 0; i < submission->part_count; i++)
        if (submission->parts[i]->append.err != ERR_OK) return submission->parts[i]->append.err;
    return ERR_OK;
}

/* A partition that is damaged by rot takes nothing more: the answer names the place, and how a person goes on. */
static void refuse_append(struct submission *submission, enum err err) {
    struct diag diag = {0};
    for (uint32_t i = 0; i < submission->part_count && err == ERR_CORRUPT && diag.err == ERR_OK; i++) {
        const struct log_append *append = &submission->parts[i]->append;
        struct log_finding finding;
        if (append->err != ERR_CORRUPT) continue;
        log_partition_damage(append->partition, &finding);
        if (finding.kind != LOG_FINDING_OK) (void)!log_finding_diag(&finding, &diag);
    }
    refuse(submission, err, &diag);
}

static void arrived(struct submission *submission) {
    if (atomic_fetch_sub_explicit(&submission->left, 1, memory_order_acq_rel) != 1) return;
    struct keys *keys = submission->api->keys;
    enum err err = first_error(submission);
    const bool keyed = submission->key_size > 0 && submission->hash_count > 0;
    if (err == ERR_OK && keyed && !submission->key_written && keys_partition(keys) != NULL) {
        err = submit_key(submission);
        if (err == ERR_OK) return;
    }
    if (err != ERR_OK) {
        refuse_append(submission, err);
        return;
    }
    if (keyed)
        keys_add(keys, slice_of(submission->key, submission->key_size), submission->now_ms, submission->hashes,
                 submission->hash_count);
    reply(submission);
}

/* One more is counted than there are parts, so that the submission stays until all are submitted. */
static void submit(struct submission *submission) {
    const uint32_t count = submission->part_count;
    atomic_store_explicit(&submission->left, count + 1, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) log_submit(submission->api->options.log, &submission->parts[i]->append);
    arrived(submission);
}

/* --- the request --- */

static bool type_is_known(struct slice type) {
    static const char *const known[] = {"application/json",
                                        "application/x-ndjson",
                                        "application/ndjson",
                                        "application/jsonl",
                                        "application/json-lines",
                                        "text/plain",
                                        "application/x-www-form-urlencoded",
                                        "application/octet-stream"};
    const uint8_t *end = type.size > 0 ? memchr(type.data, ';', type.size) : NULL;
    if (end != NULL) type.size = (size_t)(end - type.data);
    while (type.size > 0 && type.data[type.size - 1] == ' ') type.size--;
    if (type.size == 0) return true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (slice_equal_nocase(type, slice_text(known[i]))) return true;
    return false;
}

static enum err read_key(struct submission *submission, struct diag *diag) {
    const struct slice key = submission->exchange->idempotency_key;
    if (key.data == NULL) return ERR_OK;
    bool printable = key.size > 0 && key.size <= KEY_MAX;
    for (size_t i = 0; i < key.size && printable; i++) printable = key.data[i] > 0x20 && key.data[i] < 0x7f;
    if (!printable) {
        (void)diag_set(diag, ERR_SYNTAX, "an Idempotency-Key has 1 to %d printable bytes without spaces", KEY_MAX);
        diag_where(diag, "Idempotency-Key");
        return ERR_SYNTAX;
    }
    memcpy(submission->key, key.data, key.size);
    submission->key_size = (uint32_t)key.size;
    return ERR_OK;
}

void handle_prices(struct api *api, struct http_exchange *exchange) {
    struct diag diag = {0};
    if (api->options.read_only || api->options.prices_count == 0) {
        http_reply_error(exchange, diag_set(&diag, ERR_DENIED, "this folder is open for reading only"), &diag);
        return;
    }
    if (!type_is_known(exchange->content_type)) {
        http_put_error(&exchange->answer, ERR_TYPE, "the body must be JSON or JSON lines", "Content-Type");
        http_reply(exchange, 415, "application/json");
        return;
    }
    struct submission *submission = submission_take(api, exchange);
    if (submission == NULL) {
        http_reply_error(exchange, ERR_NO_MEMORY, NULL);
        return;
    }
    enum err err = read_key(submission, &diag);
    if (err == ERR_OK) err = decode(submission, &diag);
    if (err == ERR_OK) err = end_parts(submission);
    if (err != ERR_OK)
        refuse(submission, err, &diag);
    else
        submit(submission);
}
