/* What an import refuses and what comes late, into imports.invalid and imports.late. */
#include <stdio.h>

#include "engine/import_work.h"

void import_output_name(const struct import *import, const char *purpose, char name[static IMPORT_OUTPUT_MAX]) {
    struct input_progress progress;
    input_progress(import->input, &progress);
    snprintf(name, IMPORT_OUTPUT_MAX, "%s/%s/%llu/%llu", purpose, import->result.row.path,
             (unsigned long long)progress.total_bytes, (unsigned long long)import->request->version);
}

/* Read another way, other lines are refused. */
static void refusals_name(const struct import *import, const char *purpose, char name[static IMPORT_OUTPUT_MAX]) {
    import_output_name(import, purpose, name);
    size_t size = strlen(name);
    snprintf(name + size, IMPORT_OUTPUT_MAX - size, "/%llx/%d", (unsigned long long)import_reading(import->reader),
             import->request->options.time_unit);
}

enum err import_open_refusals(struct import *import) {
    static const char *const topics[] = {"imports", "imports.invalid", "imports.late"};
    struct log_partition *partitions[3];
    for (int i = 0; i < 3; i++) {
        const struct log_topic_options options = {.partition_count = 1};
        enum err err = log_topic_create(import->parts->log, topics[i], &options, import->diag);
        if (err != ERR_OK && err != ERR_EXISTS) return err;
        if ((err = log_partition_find(import->parts->log, topics[i], 0, &partitions[i])) != ERR_OK) return err;
    }
    char name[IMPORT_OUTPUT_MAX];
    refusals_name(import, "invalid", name);
    enum err err = output_open(import->parts->log, partitions[1], name, &import->invalid);
    refusals_name(import, "late", name);
    if (err == ERR_OK) err = output_open(import->parts->log, partitions[2], name, &import->late);
    return err;
}

void import_close_refusals(struct import *import) {
    if (import->invalid != NULL) (void)!output_flush(import->invalid, false);
    if (import->late != NULL) (void)!output_flush(import->late, false);
    output_close(&import->invalid);
    output_close(&import->late);
}

enum err import_refuse(struct import *import, struct output *output, const struct import_item *item,
                       const char *reason) {
    char line[24];
    snprintf(line, sizeof line, "%llu", (unsigned long long)item->line);
    struct record_header headers[5] = {
        {SLICE("reason"), slice_text(reason)},
        {SLICE("detail"), slice_text(item->reason)},
        {SLICE("file"), slice_text(import->result.row.path)},
        {SLICE("line"), slice_text(line)},
    };
    char size[24];
    struct record record = {
        .timestamp_ms = sys_wall_ms(import->parts->sys),
        .value = item->source,
        .headers = headers,
        .header_count = 4,
    };
    record_cut(&record, headers, size);
    return output_add(output, &record);
}

enum err import_refuse_event(struct import *import, uint32_t index) {
    if (import_format_of(import->reader) ==
        IMPORT_HUOBI_FRAMES) /* is kept once, however many of its trades are refused */
        for (uint32_t i = 0; i < index; i++)
            if (import->fates[i] == import->fates[index]) return ERR_OK;
    struct import_item item = {0};
    const char *reason = "late", *why = "";
    struct output *output = import->late;
    if (import->fates[index] == FATE_INVALID) {
        bool future = import->events[index].time_ms == IMPORT_TIME_FUTURE;
        reason = err_name(future ? ERR_FUTURE : ERR_RANGE);
        why =
            future ? "event time is more than 5 minutes ahead" : "no candle can hold the numbers, the ids or the time";
        output = import->invalid;
    }
    snprintf(item.reason, sizeof item.reason, "%s", why);
    enum err err = import_source(import->reader, index, &item.line, &item.source);
    return err != ERR_OK ? err : import_refuse(import, output, &item, reason);
}

enum err import_refuse_item(struct import *import, const struct import_item *item, const char *reason) {
    import->counts.read++;
    import->counts.fate[FATE_INVALID]++;
    return import_refuse(import, import->invalid, item, reason);
}

enum err import_take_item(struct import *import, const struct import_item *item) {
    switch (item->kind) {
        case IMPORT_REJECT: return import_refuse_item(import, item, err_name(item->err));
        default: import->result.skipped++; return ERR_OK;
    }
}
