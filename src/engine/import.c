#include "engine/import.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/import_work.h"

enum { ARRAY_LINES_MAX = 128 * 1024 * 1024, FUTURE_MS = 5 * 60 * 1000 };

/* Trades share the ids seen with the live task of their venue; prices and klines need no state of others. */
static enum err open_book(struct import *import, const uint32_t *series) {
    enum import_format format = import_format_of(import->reader);
    char task[IMPORT_TASK_MAX] = "imports";
    if (format != IMPORT_PRICE_EVENTS && format != IMPORT_BINANCE_KLINES) import_owner(import, task);
    const struct book_options options = {
        .series = import->parts->series,
        .shelf = import->shelf,
        .store = import->parts->store,
        .task = task,
        .base_ms = import->parts->base_ms,
        .price_grace_ms = (uint32_t)import->parts->config->candles_grace_ms,
        .bounded = true,
        .hold = import->hold,
        .only = *series == SERIES_NONE ? NULL : series,
    };
    return book_open(&options, import->diag, &import->book);
}

/* The venue's tasks answer for its candles from now on. */
static enum err add_venue(struct import *import) {
    if (import_format_of(import->reader) == IMPORT_PRICE_EVENTS) return ERR_OK;
    return engine_add_venue(import->engine, import_venue(import->reader), import_is_cancelled, import, import->diag);
}

/* What is copied must be read again from its topic. Told before anything is made. */
static enum err check_copy(const struct import *import) {
    const char *venue = import_venue(import->reader);
    enum import_format format = import_format_of(import->reader);
    if (format == IMPORT_PRICE_EVENTS) return ERR_OK;
    if (format != IMPORT_BINANCE_CAPTURE && format != IMPORT_BINANCE_STREAM && format != IMPORT_HUOBI_FRAMES) {
        diag_set(import->diag, ERR_USAGE, "--copy: the rows of %s are no messages of a venue",
                 import_format_name[format]);
        diag_hint(import->diag, "import the file without --copy");
        return ERR_USAGE;
    }
    if (venue_is_known(venue)) return ERR_OK;
    diag_set(import->diag, ERR_UNKNOWN, "--copy: no decoder reads messages of venue \"%s\"", venue);
    diag_hint(import->diag, "import the file without --copy; venues with a decoder: " VENUES_KNOWN);
    return ERR_UNKNOWN;
}

/* The file as lines; one that is a JSON array is made into some. */
static enum err open_reader(struct import *import) {
    const struct import_request *request = import->request;
    struct import_options options = request->options;
    struct input *lines = NULL;
    buf_init(&import->array, ARRAY_LINES_MAX);
    enum err err = input_open(import->parts->sys, request->path, import->diag, &import->input);
    if (err == ERR_OK && import_takes_array(options.format) && import_is_array(input_peek(import->input))) {
        err = import_array_lines(import->input, &options.format, import->diag, &import->array);
        if (err == ERR_OK) err = input_open_memory(buf_slice(&import->array), import->diag, &import->array_input);
        lines = import->array_input;
    }
    if (err != ERR_OK) return err;
    return import_open(lines != NULL ? lines : import->input, import->result.row.path, &options, import->parts->series,
                       import->diag, &import->reader);
}

/* Blocks of an origin that is not committed are nobody's. */
static enum err open_fold(struct import *import) {
    const struct sys *sys = import->parts->sys;
    uint64_t *origin = &import->result.row.origin;
    do sys->random(sys->context, origin, sizeof *origin);
    while (*origin == 0);
    enum err err = engine_open_shelf(import->engine, import->diag, &import->shelf);
    if (err == ERR_OK) shelf_set_origin(import->shelf, *origin);
    if (err == ERR_OK && import->request->turns != NULL) shelf_pack_here(import->shelf);
    return err == ERR_OK ? open_book(import, &import->series) : err;
}

static void close_fold(struct import *import) {
    import_close_refusals(import);
    if (import->book != NULL) book_close(&import->book);
    if (import->shelf != NULL) shelf_close(&import->shelf);
    if (import->reader != NULL) import_close(&import->reader);
    if (import->array_input != NULL) input_close(&import->array_input);
    buf_deinit(&import->array);
    if (import->input != NULL) input_close(&import->input);
}

/* What was refused so far is refused again, by the same numbers, and the log drops it. */
static enum err open_again(struct import *import) {
    import_turn_commit(import->request->turns, &import->turn);
    close_fold(import);
    import->counts = (struct book_counts){0};
    import->result.skipped = import->since_progress = 0;
    import->result.row.from_ms = import->result.row.to_ms = -1;
    enum err err = open_reader(import);
    if (err != ERR_OK) return import_input_err(import, err);
    if (err == ERR_OK) err = import_open_refusals(import);
    return err == ERR_OK ? open_fold(import) : err;
}

static enum err fold_sorted(struct import *import) {
    if (!import_can_read_again(import)) {
        diag_set(import->diag, ERR_SYNTAX,
                 "the rows are not in the order of their time, and a pipe cannot be read again");
        diag_hint(import->diag, "import them as a file");
        return ERR_SYNTAX;
    }
    import->sort.active = true;
    enum err err = open_again(import);
    return err == ERR_OK ? import_fold_klines(import) : err;
}

/* Days in order take the memory of a day; others are held until the end, as far as there is memory. */
static enum err fold_events(struct import *import) {
    enum err err = import_fold_all(import);
    if (err != ERR_OK || !import->came_back) return err;
    import->came_back = false;
    import->hold = true;
    err = open_again(import);
    return err == ERR_OK ? import_fold_all(import) : err;
}

static enum err fold_klines(struct import *import) {
    import_turn_read(import->request->turns, &import->turn);
    enum err err = import_fold_klines(import);
    return err == ERR_OK && import->sort.wanted ? fold_sorted(import) : err;
}

static enum err run(struct import *import) {
    const struct import_request *request = import->request;
    enum err err = open_reader(import);
    if (err != ERR_OK) return import_input_err(import, err);
    import->result.format = import_format_name[import_format_of(import->reader)];
    import->result.row.format = (uint8_t)import_format_of(import->reader);
    snprintf(import->result.row.venue, sizeof import->result.row.venue, "%s", import_venue(import->reader));
    if (request->copy && (err = check_copy(import)) != ERR_OK) return err;
    if ((err = import_open_refusals(import)) != ERR_OK || (err = add_venue(import)) != ERR_OK) return err;
    if (request->copy) return import_copy(import);
    bool klines = import_format_of(import->reader) == IMPORT_BINANCE_KLINES;
    if (engine_is_live(import->engine) && !klines) err = import_read_states(import, &import->before);
    if (err == ERR_OK) err = latest_table_open(&import->latest);
    import->series = import_series(import->reader);
    import_turn_alone(request->turns, &import->turn, import->series);
    if (err == ERR_OK) err = open_fold(import);
    if (err == ERR_OK) err = klines ? fold_klines(import) : fold_events(import);
    return err == ERR_OK ? import_finish(import) : err;
}

static void close_import(struct import *import) {
    close_fold(import);
    if (import->latest != NULL) latest_table_close(&import->latest);
    free(import->sort.rows);
    free(import->events);
    free(import->fates);
    free(import->klines);
    free(import->newest);
    free(import->before.hashes);
}

static enum err attempt(struct engine *engine, const struct import_request *request, bool held, struct diag *diag,
                        struct import_result *ret_result, bool *ret_conflict) {
    const int64_t now_ms = sys_wall_ms(engine_parts(engine)->sys);
    struct import import = {
        .parts = engine_parts(engine),
        .engine = engine,
        .request = request,
        .diag = diag,
        .now_ms = now_ms,
        .future_ms = now_ms + FUTURE_MS,
        .events = aligned_alloc(64, IMPORT_EVENTS_MAX * sizeof(struct event)),
        .fates = calloc(IMPORT_EVENTS_MAX, sizeof(enum event_fate)),
        .klines = calloc(IMPORT_KLINES_MAX, sizeof(struct candle)),
        .result.row = {.from_ms = -1, .to_ms = -1},
        .held = held,
        .turn.number = request->turn,
    };
    enum err err = ERR_OK;
    if (import.events == NULL || import.fates == NULL || import.klines == NULL)
        err = diag_set(diag, ERR_NO_MEMORY, "no memory for the import");
    snprintf(import.result.row.path, sizeof import.result.row.path, "%s",
             request->name != NULL ? request->name : request->path);
    import_turn_begin(request->turns, &import.turn);
    if (err == ERR_OK) err = run(&import);
    import_turn_end(request->turns, &import.turn);
    *ret_conflict = import.conflict;
    close_import(&import);
    if (err == ERR_OK && !*ret_conflict) *ret_result = import.result;
    return err;
}

enum err import_run(struct engine *engine, const struct import_request *request, struct diag *diag,
                    struct import_result *ret_result) {
    struct task_group *tasks = engine_parts(engine)->tasks;
    bool conflict = false;
    assert(strlen(request->path) < IMPORT_PATH_MAX);
    assert(request->name == NULL || strlen(request->name) < IMPORT_PATH_MAX);
    assert(request->turns == NULL || !engine_is_live(engine));
    enum err err = attempt(engine, request, false, diag, ret_result, &conflict);
    if (err != ERR_OK || !conflict) return err;
    struct import waiting = {.request = request};
    if ((err = task_group_hold(tasks, TASK_HOLD, import_is_cancelled, &waiting, diag)) != ERR_OK) return err;
    err = attempt(engine, request, true, diag, ret_result, &conflict);
    task_group_release(tasks);
    return err;
}
