#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/topic.h"
#include "codec/json.h"

enum { TAIL_MS = 100, TAIL_RECORDS = 10 };

struct reading {
    struct cli *cli;
    uint64_t left;
    int64_t from;
    bool damaged;
    struct buf out;
};

static void put_text(struct buf *out, const char *name, struct slice text) {
    buf_printf(out, ",\"%s\":", name);
    if (text.data == NULL)
        buf_put_text(out, "null");
    else
        json_put_string(out, text);
}

static void put_json(struct buf *out, const struct record *record) {
    buf_printf(out, "{\"offset\":%lld,\"timestamp\":%lld", (long long)record->offset, (long long)record->timestamp_ms);
    put_text(out, "key", record->key);
    put_text(out, "value", record->value);
    if (record->header_count > 0) buf_put_text(out, ",\"headers\":{");
    for (uint32_t i = 0; i < record->header_count; i++) {
        if (i > 0) buf_put_u8(out, ',');
        json_put_string(out, record->headers[i].key);
        buf_put_u8(out, ':');
        if (record->headers[i].value.data == NULL)
            buf_put_text(out, "null");
        else
            json_put_string(out, record->headers[i].value);
    }
    buf_put_text(out, record->header_count > 0 ? "}}\n" : "}\n");
}

static void put_field(struct buf *out, struct slice text) {
    buf_put_text(out, ",\"");
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"') buf_put_u8(out, '"');
        buf_put_u8(out, text.data[i]);
    }
    buf_put_u8(out, '"');
}

static enum err print_record(void *context, const struct record *record) {
    struct reading *r = context;
    if (record->offset < r->from) return ERR_OK;
    if (r->left == 0) return ERR_END;
    r->left--;
    buf_clear(&r->out);
    if (cli_flag(r->cli, "values")) {
        buf_put(&r->out, record->value);
        buf_put_u8(&r->out, '\n');
    } else if (r->cli->format == FORMAT_CSV) {
        buf_printf(&r->out, "%lld,%lld", (long long)record->offset, (long long)record->timestamp_ms);
        put_field(&r->out, record->key);
        put_field(&r->out, record->value);
        buf_put_u8(&r->out, '\n');
    } else {
        put_json(&r->out, record);
    }
    cli_put(r->out.data, r->out.size);
    return buf_err(&r->out);
}

static enum err read_on(struct reading *r, struct log_cursor *cursor, struct diag *diag) {
    struct arena arena;
    arena_init(&arena, 256 * 1024 * 1024);
    enum err err = ERR_OK;
    while (r->left > 0) {
        struct record_batch batch;
        err = log_cursor_next(cursor, diag, &batch);
        if (err == ERR_CORRUPT) {
            cli_fail(err, diag); /* say it, and go on behind it */
            r->damaged = true;
            continue;
        }
        if (err == ERR_RANGE) continue; /* what is gone is gone */
        if (err != ERR_OK) break;
        arena_clear(&arena);
        err = record_batch_visit(&batch, &arena, print_record, r);
        if (err != ERR_OK) break;
    }
    arena_deinit(&arena);
    return err == ERR_END ? ERR_OK : err;
}

static enum err open_cursor(struct topics *topics, const char *topic, uint32_t partition, bool tail, struct reading *r,
                            struct diag *diag, struct log_cursor **ret_cursor) {
    struct log_partition *p = NULL;
    uint32_t count = topics_partitions(topics, topic, diag);
    if (count == 0) return ERR_NOT_FOUND;
    if (partition >= count)
        return diag_set(diag, ERR_RANGE, "topic %s has %u partition%s, counted from 0", topic, count,
                        count == 1 ? "" : "s");
    enum err err = log_partition_find(topics->log, topic, partition, &p);
    if (err != ERR_OK) return diag_set(diag, err, "topic %s cannot be opened", topic);
    int64_t start = log_start_offset(p), end = log_end_offset(p);
    if (r->from < 0) r->from = !tail ? start : end - start > TAIL_RECORDS ? end - TAIL_RECORDS : start;
    if (r->from < start) r->from = start; /* what is gone is gone */
    if (r->from > end)
        return diag_set(diag, ERR_RANGE, "--from %lld is behind the end of %s/%u, which is %lld", (long long)r->from,
                        topic, partition, (long long)end);
    return log_cursor_open(p, r->from, diag, ret_cursor);
}

int topic_read(struct cli *cli, const char *topic, bool tail) {
    int64_t partition, from, limit;
    if (!cli_number(cli, "partition", 0, LOG_PARTITIONS_MAX, 0, &partition) ||
        !cli_number(cli, "from", 0, INT64_MAX, -1, &from) || !cli_number(cli, "limit", 1, INT64_MAX, INT64_MAX, &limit))
        return EXIT_USAGE;
    struct topics topics;
    struct log_cursor *cursor = NULL;
    struct diag diag = {0};
    struct reading r = {.cli = cli, .left = (uint64_t)limit, .from = from};
    buf_init(&r.out, 64 * 1024 * 1024);
    enum err err = topics_open(&topics, cli, TOPICS_READ, &diag);
    if (err == ERR_OK) err = open_cursor(&topics, topic, (uint32_t)partition, tail, &r, &diag, &cursor);
    if (err == ERR_OK && cli->format == FORMAT_CSV && !cli_flag(cli, "values"))
        cli_print("offset,timestamp,key,value\n");
    while (err == ERR_OK) {
        err = read_on(&r, cursor, &diag);
        if (!tail || r.left == 0 || err != ERR_OK) break;
        usleep(TAIL_MS * 1000);
        err = log_refresh(topics.log, &diag);
    }
    buf_deinit(&r.out);
    log_cursor_close(&cursor);
    topics_close(&topics);
    if (err != ERR_OK) return cli_fail(err, &diag);
    return r.damaged ? EXIT_DAMAGED : EXIT_DONE;
}
