/* The candle desk: the candle tasks of one data folder, and which of them owns a series.
 *
 * A candle task is a processor (flow/task.h) around a book: it decodes the records of one partition, folds them, keeps the
 * latest prices, and tells watchers what changed. The desk only grows: any thread may look while another adds. */
#ifndef CANDLE_DESK_H
#define CANDLE_DESK_H

#include "candle/latest.h"
#include "candle/read.h"
#include "flow/task.h"

/* A record with this header is no event: it says that a live source is there, and its append time moves the clock. */
#define STATUS_HEADER "wick-status"

/* How records become events; implemented by the engine over venue/ (which lies above this folder). One decoder a task. */
struct event_decoder;
struct event_decoder_ops {
    /* 0..max events; ERR_END: none of a market event; INPUT class: the record is invalid, `diag` says why. */
    enum err (*decode)(struct event_decoder *decoder, const struct record *record, struct diag *diag,
                       struct event *events, uint32_t max, uint32_t *ret_count);
    void (*close)(struct event_decoder **decoder);
};
struct event_decoder {
    const struct event_decoder_ops *ops;
};

struct candle_task_options {
    const char *name; /* "candles/prices/0" */
    struct log *log;
    struct log_partition *input;
    struct store *store;
    struct shelf *shelf; /* shared by the tasks of a process */
    struct series_table *series;
    struct latest_table *latest;                 /* one for the process */
    struct event_decoder *decoder;               /* owned by the processor from here on */
    uint32_t base_ms, price_grace_ms, seal_rest; /* as of book_options */
    struct log_partition *late;                  /* `<topic>.late` and `<topic>.invalid`; NULL: not written */
    struct log_partition *invalid;
    bool refold;    /* as of book_options */
    bool read_only; /* nothing is appended, no checkpoint will come */
    bool stepped;   /* the log has no committer thread: step it while waiting */
};
enum err candle_processor_open(const struct candle_task_options *options, struct diag *diag,
                               struct processor **ret_processor) MUST_USE;
/* The store changed under a task that holds nothing uncommitted (task_group_hold): its book is read anew. On failure the
 * old one stays. */
enum err candle_processor_reload(struct processor *processor, struct diag *diag) MUST_USE;
/* For calls, on the task's thread. */
struct candle_source candle_processor_source(struct processor *processor);

/* Told of base candles that changed, on the task's thread, after each turn; must not block. At most 4 watchers. */
struct candle_watcher {
    void (*changed)(struct candle_watcher *watcher, const struct book_changed *changed);
    void (*turn_ended)(struct candle_watcher *watcher);
};
enum err candle_processor_watch(struct processor *processor, struct candle_watcher *watcher) MUST_USE;

struct candle_desk;
enum err candle_desk_open(struct candle_desk **ret_desk) MUST_USE;
void candle_desk_close(struct candle_desk **desk);
/* Series of `kind` whose venue is `venue` ("": of which no topic is) go to this topic's tasks; call once per partition, in
 * order. */
enum err candle_desk_add(struct candle_desk *desk, enum series_kind kind, const char *venue, struct task *task,
                         struct processor *processor) MUST_USE;
/* The task that owns a series; NULL if none does. */
struct task *candle_desk_task(const struct candle_desk *desk, const struct series *series);
uint32_t candle_desk_count(const struct candle_desk *desk);
struct task *candle_desk_task_at(const struct candle_desk *desk, uint32_t index, struct processor **ret_processor);

#endif
