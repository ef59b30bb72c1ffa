/* What the parts of an import share: import.c opens and closes, import_read.c and import_klines.c fold, import_copy.c copies,
 * import_refused.c keeps what is not used, import_commit.c shows the result. Only they include this. */
#ifndef ENGINE_IMPORT_WORK_H
#define ENGINE_IMPORT_WORK_H

#include "engine/import.h"
#include "engine/import_turns.h"
#include "flow/output.h"

enum {
    IMPORT_EVENTS_MAX = 2048,
    IMPORT_KLINES_MAX = 1440,
    IMPORT_KLINES_STEP = 64, /* into the book: what is looked at again is still in the nearest cache */
    IMPORT_TASK_MAX = LOG_TOPIC_NAME_MAX + 32,
    IMPORT_OUTPUT_MAX = IMPORT_PATH_MAX + 96,
    IMPORT_SORT_MAX = 3 * 1024 * 1024, /* klines: a month of seconds, almost six years of minutes */
};

/* What a task's fold states were, by series number: 0 where there is none. */
struct states {
    uint64_t *hashes;
    uint32_t count;
};

/* Klines that are held until all of them can be put in order. */
struct kline_sort {
    struct candle *rows;
    uint32_t count, capacity;
    bool wanted; /* a day came back after it was sealed */
    bool active; /* everything was opened anew, and the rows are gathered here */
};

struct import {
    const struct engine_parts *parts;
    struct engine *engine;
    const struct import_request *request;
    struct input *input;
    struct buf array; /* the lines made of a JSON array, and what reads them */
    struct input *array_input;
    struct import_reader *reader;
    struct book *book;
    struct shelf *shelf; /* of its own: the tasks' one seals meanwhile */
    struct latest_table *latest;
    struct output *invalid, *late;
    int64_t now_ms;    /* klines that end after it are no candles yet */
    int64_t future_ms; /* events after it are refused, as everywhere */
    struct event *events;
    enum event_fate *fates;
    struct candle *klines;
    struct kline_sort sort;
    bool came_back;       /* events of days that were sealed: the file is to be read again, and its days held */
    bool hold;            /* so it is */
    struct event *newest; /* of each series, to be its latest price; time_ms 0: none */
    uint32_t newest_count;
    struct book_counts counts;
    struct import_result result;
    uint64_t since_progress;
    struct states before; /* of the owner's series, when the store was first read */
    bool held;            /* nothing is folded beside us */
    bool conflict;        /* a task changed what we did */
    struct import_turn turn;
    uint32_t series; /* that the whole file is of; or SERIES_NONE */
    struct diag *diag;
};

/* --- import_refused.c --- */

enum err import_open_refusals(struct import *import) MUST_USE;
void import_close_refusals(struct import *import);
/* The same file appends the same records again after a kill, which the log drops. Another one of its name must not. */
void import_output_name(const struct import *import, const char *purpose, char name[static IMPORT_OUTPUT_MAX]);
/* A record of one of the two topics, with the item's line, raw message and reason. */
enum err import_refuse(struct import *import, struct output *output, const struct import_item *item,
                       const char *reason) MUST_USE;
/* The line of an event that was read, into the topic of its fate. */
enum err import_refuse_event(struct import *import, uint32_t index) MUST_USE;
/* Counted as read and invalid, and kept. */
enum err import_refuse_item(struct import *import, const struct import_item *item, const char *reason) MUST_USE;
/* What the reader gave that is no event: refused, or passed over and counted. */
enum err import_take_item(struct import *import, const struct import_item *item) MUST_USE;

/* --- import_read.c --- */

/* No candle takes an event of before 1970: stands for the time of one from the future. */
static const int64_t IMPORT_TIME_FUTURE = -1;

/* The whole file: each read's events, which may be none, are the step's. */
typedef enum err (*import_step)(struct import *import, void *context, uint32_t count);
enum err import_read_all(struct import *import, import_step step, void *context) MUST_USE;
/* Stops with `came_back`, if not `hold`: to be called once more with everything opened anew and `hold`. */
enum err import_fold_all(struct import *import) MUST_USE;
/* Not so of a pipe. */
bool import_can_read_again(const struct import *import);
void import_touch_range(struct import *import, int64_t time_ms);
/* Every so often, with what was read since. ERR_CLOSED: nobody wants more. */
enum err import_report_progress(struct import *import, uint32_t count) MUST_USE;
enum err import_tell_progress(struct import *import) MUST_USE;
/* Damage in what is imported is bad input; damaged data is what lies in our folder. What ends early because nobody wants more
 * is cancelled. */
enum err import_input_err(struct import *import, enum err err) MUST_USE;

/* --- import_klines.c --- */

/* As the rows come. Where a day comes back after it was sealed, it stops with `sort.wanted`: to be called once more with
 * everything opened anew and `sort.active`. */
enum err import_fold_klines(struct import *import) MUST_USE;

/* --- import_copy.c --- */

enum err import_copy(struct import *import) MUST_USE;

/* --- import_commit.c --- */

struct ledger_row import_ledger_row(const struct book_counts *counts);
/* The store's task of the file's series: the live one of its topic, which goes on from what an import leaves. */
void import_owner(const struct import *import, char task[static IMPORT_TASK_MAX]);
/* The fold states of the tasks that own the file's series: a task that has changed a series has changed its state. */
enum err import_read_states(struct import *import, struct states *states) MUST_USE;
enum err import_finish(struct import *import) MUST_USE;
/* The context is the import. */
bool import_is_cancelled(void *context);

#endif
