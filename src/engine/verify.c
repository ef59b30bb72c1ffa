#include "engine/verify.h"

#include <stdio.h>
#include <stdlib.h>

enum { EVENTS_STEP = 1024 };

const char *const verify_check_name[VERIFY_COUNT] = {
    "full-exact", "delta-exact", "full-straddle", "empty-flat", "uncovered", "unexplained",
};

struct pushed {
    struct import_push push;
    uint64_t line;
    uint32_t series;
    bool
        contracts; /* quantities are contracts, and the venue's quote volume is in the base asset: not to be compared */
    const struct pushed *previous; /* of the same candle, or NULL */
    const struct pushed *ended;    /* the candle before it, closed, or NULL */
};

struct verify {
    struct series_table *series;
    struct event *events; /* sorted by (series, kind, ids) */
    size_t event_count, event_capacity;
    struct pushed *pushes;
    size_t push_count, push_capacity;
    struct event *subset; /* room for all of them */
    struct verify_unreadable *unreadable;
    struct diag *diag;
};

/* --- reading the capture --- */

static enum err grow(void **array, size_t *capacity, size_t need, size_t item_size) {
    if (need <= *capacity) return ERR_OK;
    size_t larger = *capacity == 0 ? 4096 : *capacity * 2;
    while (larger < need) larger *= 2;
    void *moved = aligned_alloc(64, (larger * item_size + 63) & ~(size_t)63);
    if (moved == NULL) return ERR_NO_MEMORY;
    if (*array != NULL) memcpy(moved, *array, *capacity * item_size);
    free(*array);
    *array = moved;
    *capacity = larger;
    return ERR_OK;
}

static void forget_quotes(struct candle *c) { c->quote_volume = c->taker_buy_quote_volume = decimal_of(0); }

static enum err keep_push(struct verify *v, const struct import_item *item) {
    enum err err = grow((void **)&v->pushes, &v->push_capacity, v->push_count + 1, sizeof *v->pushes);
    if (err != ERR_OK) return err;
    struct pushed *p = &v->pushes[v->push_count++];
    *p = (struct pushed){.push = *item->push, .line = item->line, .series = item->series};
    p->contracts = slice_equal(series_get(v->series, p->series)->venue, SLICE("binance-coinm"));
    if (p->contracts) forget_quotes(&p->push.candle);
    return ERR_OK;
}

static enum err read_capture(struct verify *v, struct import_reader *reader) {
    for (;;) {
        enum err err = grow((void **)&v->events, &v->event_capacity, v->event_count + EVENTS_STEP, sizeof *v->events);
        if (err != ERR_OK) return diag_set(v->diag, err, "no memory for the capture's trades");
        struct import_item item;
        bool has_item = false;
        uint32_t count = 0;
        err = import_read(reader, v->events + v->event_count, EVENTS_STEP, v->diag, &count, &item, &has_item);
        bool end = err == ERR_END;
        if (err != ERR_OK && !end) return err;
        v->event_count += count;
        if (has_item && item.kind == IMPORT_PUSH && (err = keep_push(v, &item)) != ERR_OK) return err;
        if (has_item && item.kind == IMPORT_REJECT && v->unreadable->count++ == 0) {
            v->unreadable->line = item.line;
            snprintf(v->unreadable->reason, sizeof v->unreadable->reason, "%s", item.reason);
        }
        if (end) return ERR_OK;
    }
}

static int compare_ids(int64_t a, int64_t b) { return (a > b) - (a < b); }

/* Of those that begin with the same id the longest comes first. */
static int by_series_and_id(const void *a, const void *b) {
    const struct event *x = a, *y = b;
    if (x->series != y->series) return x->series < y->series ? -1 : 1;
    if (x->kind != y->kind) return (int)x->kind - (int)y->kind;
    return x->first_id != y->first_id ? compare_ids(x->first_id, y->first_id) : compare_ids(y->last_id, x->last_id);
}

/* --- which trades of the ids [first, last] are there --- */

enum cover { COVER_FULL, COVER_STRADDLE, COVER_HOLE };

static bool is_before(const struct event *e, uint32_t series, uint8_t kind, int64_t id) {
    if (e->series != series) return e->series < series;
    return e->kind != kind ? e->kind < kind : e->last_id < id;
}

static size_t lower_bound(const struct verify *v, uint32_t series, uint8_t kind, int64_t id) {
    size_t low = 0, high = v->event_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (is_before(&v->events[middle], series, kind, id))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum cover cover_by(struct verify *v, uint32_t series, uint8_t kind, int64_t first, int64_t last,
                           uint32_t *ret_count) {
    bool straddle = false;
    int64_t next = first;
    uint32_t count = 0;
    for (size_t i = lower_bound(v, series, kind, first); i < v->event_count && next <= last; i++) {
        const struct event *e = &v->events[i];
        if (e->series != series || e->kind != kind || e->first_id > last) break;
        if (e->last_id < next) continue; /* the same again */
        if (e->first_id > next) return COVER_HOLE;
        if (e->first_id < next || e->last_id > last) straddle = true;
        next = e->last_id + 1;
        v->subset[count++] = *e;
    }
    if (next <= last) return COVER_HOLE;
    *ret_count = count;
    return straddle ? COVER_STRADDLE : COVER_FULL;
}

/* A capture may hold both streams of a market: they are never added up, and single trades straddle nothing. */
static enum cover cover_of(struct verify *v, uint32_t series, int64_t first, int64_t last, uint32_t *ret_count) {
    if (cover_by(v, series, EVENT_TRADE, first, last, ret_count) == COVER_FULL) return COVER_FULL;
    return cover_by(v, series, EVENT_AGGREGATED_TRADE, first, last, ret_count);
}

/* --- folding and comparing --- */

static enum err take_candle(void *context, const struct candle *candle) {
    *(struct candle *)context = *candle;
    return ERR_OK;
}

/* One candle of the first `count` of the subset, by the same fold and read as everywhere. */
static enum err fold_subset(struct verify *v, const struct pushed *p, uint32_t count, struct candle *ret_candle) {
    struct interval interval;
    enum err err = interval_parse(slice_text(p->push.interval), v->diag, &interval);
    if (err != ERR_OK) return err;
    const struct book_options options = {
        .series = v->series,
        .task = "verify",
        .base_ms = p->push.interval_ms == 1000 ? 1000 : 60000,
        .bounded = true,
    };
    struct book *book = NULL;
    if ((err = book_open(&options, v->diag, &book)) != ERR_OK) return err;
    struct book_counts counts = {0};
    err = book_apply(book, v->subset, NULL, count, NULL, &counts, v->diag);
    const struct candle_source source = {.book = book, .series = v->series, .base_ms = options.base_ms};
    const struct candle_query query = {
        .series = p->series,
        .interval = interval,
        .from_ms = p->push.candle.open_time_ms,
        .to_ms = p->push.candle.open_time_ms + 1,
    };
    if (err == ERR_OK) err = candle_read(&source, &query, take_candle, ret_candle, v->diag);
    if (p->contracts) forget_quotes(ret_candle);
    book_close(&book);
    return err;
}

static struct decimal cut8(struct decimal value) {
    while (value.scale > 8) {
        value.mantissa /= 10;
        value.scale--;
    }
    return decimal_normalize(value);
}

static bool same(struct verify_verdict *verdict, const char *field, struct decimal ours, struct decimal theirs) {
    if (decimal_equal(ours, theirs)) return true;
    char a[DECIMAL_TEXT_MAX], b[DECIMAL_TEXT_MAX];
    decimal_format(decimal_normalize(ours), a);
    decimal_format(decimal_normalize(theirs), b);
    snprintf(verdict->why, sizeof verdict->why, "%s: ours %s, theirs %s", field, a, b);
    return false;
}

/* What the venue itself has said before. */
static bool as_in(struct verify_verdict *verdict, const char *field, struct decimal before, const char *where,
                  struct decimal theirs) {
    if (decimal_equal(before, theirs)) return true;
    char a[DECIMAL_TEXT_MAX], b[DECIMAL_TEXT_MAX];
    decimal_format(decimal_normalize(before), a);
    decimal_format(decimal_normalize(theirs), b);
    snprintf(verdict->why, sizeof verdict->why, "%s: %s in the %s, theirs %s", field, a, where, b);
    return false;
}

/* Spot cuts quote volumes to 8 decimals. */
static bool same_quote(struct verify_verdict *verdict, const char *field, struct decimal ours, struct decimal theirs) {
    if (decimal_equal(cut8(ours), theirs)) return true;
    return same(verdict, field, ours, theirs);
}

static bool same_count(struct verify_verdict *verdict, int64_t ours, int64_t theirs) {
    return same(verdict, "trades", decimal_of(ours), decimal_of(theirs));
}

static bool same_prices(struct verify_verdict *verdict, const struct candle *ours, const struct candle *theirs) {
    return same(verdict, "open", ours->open, theirs->open) && same(verdict, "high", ours->high, theirs->high) &&
           same(verdict, "low", ours->low, theirs->low) && same(verdict, "close", ours->close, theirs->close);
}

static bool equals_push(struct verify_verdict *verdict, const struct candle *ours, const struct candle *theirs) {
    return same_prices(verdict, ours, theirs) && same(verdict, "volume", ours->volume, theirs->volume) &&
           same_quote(verdict, "quote_volume", ours->quote_volume, theirs->quote_volume) &&
           same(verdict, "taker_buy_volume", ours->taker_buy_volume, theirs->taker_buy_volume) &&
           same_quote(verdict, "taker_buy_quote_volume", ours->taker_buy_quote_volume,
                      theirs->taker_buy_quote_volume) &&
           same_count(verdict, ours->trades, theirs->trades);
}

static struct decimal smaller(struct decimal a, struct decimal b) { return decimal_compare(a, b) <= 0 ? a : b; }
static struct decimal larger(struct decimal a, struct decimal b) { return decimal_compare(a, b) >= 0 ? a : b; }

/* before + sum = after, where both pushes may have been cut: off by less than one unit of the eighth decimal. */
static bool same_sum(struct verify_verdict *verdict, const char *field, struct decimal before, struct decimal sum,
                     struct decimal after, bool cut) {
    struct decimal total, difference;
    if (decimal_add(before, sum, &total) != ERR_OK || decimal_subtract(total, after, &difference) != ERR_OK)
        return false;
    if (difference.mantissa < 0) difference.mantissa = -difference.mantissa;
    if (cut && decimal_compare(difference, (struct decimal){1, 8}) <= 0) return true;
    return same(verdict, field, total, after);
}

static bool explains(struct verify_verdict *verdict, const struct candle *before, const struct candle *delta,
                     const struct candle *after) {
    return same(verdict, "first_id", decimal_of(before->first_id), decimal_of(after->first_id)) &&
           same(verdict, "open", before->open, after->open) &&
           same(verdict, "high", larger(before->high, delta->high), after->high) &&
           same(verdict, "low", smaller(before->low, delta->low), after->low) &&
           same(verdict, "close", delta->close, after->close) &&
           same_sum(verdict, "volume", before->volume, delta->volume, after->volume, false) &&
           same_sum(verdict, "quote_volume", before->quote_volume, delta->quote_volume, after->quote_volume, true) &&
           same_sum(verdict, "taker_buy_volume", before->taker_buy_volume, delta->taker_buy_volume,
                    after->taker_buy_volume, false) &&
           same_sum(verdict, "taker_buy_quote_volume", before->taker_buy_quote_volume, delta->taker_buy_quote_volume,
                    after->taker_buy_quote_volume, true) &&
           same_count(verdict, before->trades + delta->trades, after->trades);
}

static bool is_flat(const struct candle *c) {
    return c->trades == 0 && decimal_equal(c->open, c->high) && decimal_equal(c->open, c->low) &&
           decimal_equal(c->open, c->close) && c->volume.mantissa == 0 && c->quote_volume.mantissa == 0 &&
           c->taker_buy_volume.mantissa == 0 && c->taker_buy_quote_volume.mantissa == 0;
}

static bool at_most(struct verify_verdict *verdict, const char *field, struct decimal theirs, struct decimal ours) {
    return decimal_compare(theirs, ours) <= 0 || same(verdict, field, ours, theirs);
}

/* The order that reaches beyond the push has one price, so that only the volumes are not known, and they are less. */
static bool straddles(struct verify_verdict *verdict, const struct candle *ours, const struct candle *theirs) {
    return same_prices(verdict, ours, theirs) && at_most(verdict, "volume", theirs->volume, ours->volume) &&
           at_most(verdict, "quote_volume", theirs->quote_volume, ours->quote_volume) &&
           at_most(verdict, "taker_buy_volume", theirs->taker_buy_volume, ours->taker_buy_volume) &&
           at_most(verdict, "taker_buy_quote_volume", theirs->taker_buy_quote_volume, ours->taker_buy_quote_volume) &&
           same_count(verdict, theirs->last_id - theirs->first_id + 1, theirs->trades);
}

/* --- what the venue says of the candle beside its numbers, and has said before --- */

static int by_candle_and_place(const void *a, const void *b) {
    const struct pushed *x = *(struct pushed *const *)a, *y = *(struct pushed *const *)b;
    const int interval = strcmp(x->push.interval, y->push.interval);
    if (x->series != y->series) return x->series < y->series ? -1 : 1;
    if (interval != 0) return interval;
    const int open = compare_ids(x->push.candle.open_time_ms, y->push.candle.open_time_ms);
    return open != 0 ? open : (x > y) - (x < y);
}

/* Each push learns what was said before it, of its candle and, as the last word, of the one before. That may come later. */
static enum err link_pushes(struct verify *v) {
    struct pushed **order = calloc(v->push_count + 1, sizeof *order), *ended = NULL, *ending = NULL;
    if (order == NULL) return ERR_NO_MEMORY;
    for (size_t i = 0; i < v->push_count; i++) order[i] = &v->pushes[i];
    qsort(order, v->push_count, sizeof *order, by_candle_and_place);
    for (size_t i = 0; i < v->push_count; i++) {
        struct pushed *p = order[i], *last = i == 0 ? NULL : order[i - 1];
        const bool one_kind =
            last != NULL && last->series == p->series && strcmp(last->push.interval, p->push.interval) == 0;
        if (one_kind && last->push.candle.open_time_ms == p->push.candle.open_time_ms) {
            p->previous = last;
        } else {
            ended = one_kind && last->push.candle.close_time_ms + 1 == p->push.candle.open_time_ms ? ending : NULL;
            ending = NULL;
        }
        p->ended = ended;
        if (p->push.closed) ending = p;
    }
    free(order);
    return ERR_OK;
}

/* A candle is as long as its interval, and is not over before its end. An open one may be pushed after it: the venue's last word
 * comes later. */
static bool keeps_time(struct verify_verdict *verdict, const struct import_push *push) {
    static const int64_t DAY_MS = 86400000;
    const struct candle *c = &push->candle;
    const int64_t long_ms = c->close_time_ms + 1 - c->open_time_ms;
    if (push->interval_ms > 0 && long_ms != push->interval_ms)
        snprintf(verdict->why, sizeof verdict->why, "close_time: %lld ms long, %u are %s", (long long)long_ms,
                 push->interval_ms, push->interval);
    else if (push->interval_ms == 0 && (long_ms < 28 * DAY_MS || long_ms > 31 * DAY_MS))
        snprintf(verdict->why, sizeof verdict->why, "close_time: %lld ms are no month", (long long)long_ms);
    else if (push->closed && push->event_ms < c->close_time_ms)
        snprintf(verdict->why, sizeof verdict->why, "closed: pushed as closed at %lld, before its end",
                 (long long)push->event_ms);
    else
        return true;
    return false;
}

static bool repeats(struct verify_verdict *verdict, const struct candle *before, const struct candle *theirs) {
    static const char where[] = "push before it, of the same trades";
    return as_in(verdict, "open", before->open, where, theirs->open) &&
           as_in(verdict, "high", before->high, where, theirs->high) &&
           as_in(verdict, "low", before->low, where, theirs->low) &&
           as_in(verdict, "close", before->close, where, theirs->close) &&
           as_in(verdict, "volume", before->volume, where, theirs->volume) &&
           as_in(verdict, "quote_volume", before->quote_volume, where, theirs->quote_volume) &&
           as_in(verdict, "taker_buy_volume", before->taker_buy_volume, where, theirs->taker_buy_volume) &&
           as_in(verdict, "taker_buy_quote_volume", before->taker_buy_quote_volume, where,
                 theirs->taker_buy_quote_volume) &&
           as_in(verdict, "trades", decimal_of(before->trades), where, decimal_of(theirs->trades));
}

/* The trades of one kind that lie in the candle; where ids follow times, as they do within a candle's distance. */
static int64_t trades_within(const struct verify *v, const struct pushed *p, uint8_t kind) {
    int64_t count = 0;
    size_t low = lower_bound(v, p->series, kind, 0), high = lower_bound(v, p->series, kind, INT64_MAX);
    const size_t end = high;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (v->events[middle].time_ms < p->push.candle.open_time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < end && v->events[low].time_ms <= p->push.candle.close_time_ms; low++)
        count += v->events[low].filtered ? 0 : v->events[low].last_id - v->events[low].first_id + 1;
    return count;
}

/* --- verdicts --- */

static enum err judge_delta(struct verify *v, size_t index, struct verify_verdict *verdict) {
    const struct pushed *p = &v->pushes[index], *before = p->previous;
    const struct candle *theirs = &p->push.candle;
    uint32_t count = 0;
    verdict->check = VERIFY_UNCOVERED;
    if (before == NULL || before->push.candle.last_id < 0 || before->push.candle.last_id > theirs->last_id)
        return ERR_OK;
    if (before->push.candle.last_id == theirs->last_id) {
        if (!repeats(verdict, &before->push.candle, theirs)) verdict->check = VERIFY_UNEXPLAINED;
        return ERR_OK;
    }
    if (cover_of(v, p->series, before->push.candle.last_id + 1, theirs->last_id, &count) != COVER_FULL) return ERR_OK;
    struct candle delta = {0};
    enum err err = fold_subset(v, p, count, &delta);
    if (err == ERR_OK)
        verdict->check =
            explains(verdict, &before->push.candle, &delta, theirs) ? VERIFY_DELTA_EXACT : VERIFY_UNEXPLAINED;
    return err;
}

/* A candle without trades: flat, at the close before it, as far as the capture tells, and the capture has no trade of it. */
static bool is_quiet(struct verify *v, size_t index, struct verify_verdict *verdict) {
    const struct pushed *p = &v->pushes[index], *before = p->previous, *last = p->ended;
    const struct candle *theirs = &p->push.candle;
    if (!is_flat(theirs)) {
        snprintf(verdict->why, sizeof verdict->why, "a candle without trades is not flat");
        return false;
    }
    int64_t trades = trades_within(v, p, EVENT_TRADE);
    if (trades == 0) trades = trades_within(v, p, EVENT_AGGREGATED_TRADE);
    if (p->push.closed && !same_count(verdict, trades, 0)) return false;
    static const char push[] = "push before it", candle[] = "candle before it";
    if (before != NULL &&
        (!as_in(verdict, "trades", decimal_of(before->push.candle.trades), push, decimal_of(theirs->trades)) ||
         !as_in(verdict, "close", before->push.candle.close, push, theirs->close)))
        return false;
    return last == NULL || as_in(verdict, "close", last->push.candle.close, candle, theirs->close);
}

static enum err judge(struct verify *v, size_t index, struct verify_verdict *verdict) {
    const struct pushed *p = &v->pushes[index];
    const struct candle *theirs = &p->push.candle;
    uint32_t count = 0;
    *verdict = (struct verify_verdict){.line = p->line, .push = &p->push, .check = VERIFY_UNEXPLAINED};
    if (!keeps_time(verdict, &p->push)) return ERR_OK;
    if (theirs->first_id < 0 || theirs->trades == 0) {
        if (is_quiet(v, index, verdict)) verdict->check = VERIFY_EMPTY_FLAT;
        return ERR_OK;
    }
    const enum cover cover = cover_of(v, p->series, theirs->first_id, theirs->last_id, &count);
    if (cover == COVER_HOLE) return judge_delta(v, index, verdict);
    struct candle ours = {0};
    enum err err = fold_subset(v, p, count, &ours);
    if (err != ERR_OK) return err;
    if (cover == COVER_FULL && equals_push(verdict, &ours, theirs)) verdict->check = VERIFY_FULL_EXACT;
    if (cover == COVER_STRADDLE && straddles(verdict, &ours, theirs)) verdict->check = VERIFY_FULL_STRADDLE;
    return ERR_OK;
}

/* --- life cycle --- */

static enum err judge_all(struct verify *v, enum err (*visit)(void *context, const struct verify_verdict *verdict),
                          void *context) {
    qsort(v->events, v->event_count, sizeof *v->events, by_series_and_id);
    v->subset = aligned_alloc(64, ((v->event_count + 1) * sizeof *v->subset + 63) & ~(size_t)63);
    if (v->subset == NULL) return diag_set(v->diag, ERR_NO_MEMORY, "no memory to verify");
    enum err err = link_pushes(v);
    if (err != ERR_OK) return diag_set(v->diag, err, "no memory to verify");
    for (size_t i = 0; i < v->push_count && err == ERR_OK; i++) {
        struct verify_verdict verdict;
        if ((err = judge(v, i, &verdict)) == ERR_OK) err = visit(context, &verdict);
    }
    return err;
}

static enum err check_format(const struct import_reader *reader, struct diag *diag) {
    const enum import_format format = import_format_of(reader);
    if (format == IMPORT_BINANCE_CAPTURE || format == IMPORT_BINANCE_STREAM) return ERR_OK;
    diag_set(diag, ERR_SYNTAX, "this is %s, and no capture of a websocket", import_format_name[format]);
    diag_hint(diag, "its lines begin with a time, and go on with the message; wick import reads others");
    return ERR_SYNTAX;
}

enum err verify_capture(const struct sys *sys, const char *path, const char *venue, struct diag *diag,
                        enum err (*visit)(void *context, const struct verify_verdict *verdict), void *context,
                        struct verify_unreadable *ret_unreadable) {
    struct verify v = {.diag = diag, .unreadable = ret_unreadable};
    *ret_unreadable = (struct verify_unreadable){0};
    struct input *input = NULL;
    struct import_reader *reader = NULL;
    const struct import_options options = {.format = IMPORT_GUESS, .venue = venue};
    enum err err = series_table_open(&v.series);
    if (err == ERR_OK) err = input_open(sys, path, diag, &input);
    if (err == ERR_OK) err = import_open(input, path, &options, v.series, diag, &reader);
    if (err == ERR_OK) err = check_format(reader, diag);
    if (err == ERR_OK) err = read_capture(&v, reader);
    if (err == ERR_OK && v.push_count == 0 && ret_unreadable->count == 0)
        err = diag_set(diag, ERR_MISSING, "there is no kline push in it, so that nothing can be compared");
    if (err == ERR_OK) err = judge_all(&v, visit, context);
    if (err == ERR_CORRUPT) err = ERR_SYNTAX; /* Damaged data is what lies in a folder of ours. */
    if (reader != NULL) import_close(&reader);
    if (input != NULL) input_close(&input);
    free(v.events);
    free(v.pushes);
    free(v.subset);
    if (v.series != NULL) series_table_close(&v.series);
    return err;
}
