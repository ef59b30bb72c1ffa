#include "engine/verify.h"

#include <stdio.h>
#include <stdlib.h>

enum { EVENTS_STEP = 1024 };

const char *const verify_check_name[VERIFY_COUNT] = {
    "full-exact", "delta-exact", "full-straddle", "empty-flat", "uncovered", "unexplained",
};

/* What the capture holds of a candle, by the times of the trades. */
struct held {
    int64_t trades;
    int64_t first_id,
        last_id; /* the candle's trades reach at least from the one to the other; INT64_MAX and -1: none */
};

struct pushed {
    struct import_push push;
    uint64_t line;
    uint32_t series;
    bool
        contracts; /* quantities are contracts, and the venue's quote volume is in the base asset: not to be compared */
    bool gathered; /* an aggregated trade gathers those of 100 ms, so that it may reach over the end of a candle */
    struct held held;
    const struct pushed *previous; /* of the same candle, or NULL */
    const struct pushed *ended;    /* the candle before it, closed, or NULL */
};

struct verify {
    struct series_table *series;
    struct event *events; /* sorted by (series, kind, ids) */
    size_t event_count, event_capacity;
    uint32_t *by_time; /* the places of the events, in the order of (series, time) */
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
    const struct slice venue = series_get(v->series, p->series)->venue;
    p->contracts = slice_equal(venue, SLICE("binance-coinm"));
    p->gathered = p->contracts || slice_equal(venue, SLICE("binance-usdm"));
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

static int by_series_and_time(const void *a, const void *b, void *events) {
    const struct event *x = (struct event *)events + *(const uint32_t *)a;
    const struct event *y = (struct event *)events + *(const uint32_t *)b;
    if (x->series != y->series) return x->series < y->series ? -1 : 1;
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

static enum err sort_events(struct verify *v) {
    if (v->event_count >= UINT32_MAX) return diag_set(v->diag, ERR_LIMIT, "a capture may have 2^32 trades");
    v->subset = aligned_alloc(64, ((v->event_count + 1) * sizeof *v->subset + 63) & ~(size_t)63);
    v->by_time = malloc((v->event_count + 1) * sizeof *v->by_time);
    if (v->subset == NULL || v->by_time == NULL) return diag_set(v->diag, ERR_NO_MEMORY, "no memory to verify");
    qsort(v->events, v->event_count, sizeof *v->events, by_series_and_id);
    for (size_t i = 0; i < v->event_count; i++) v->by_time[i] = (uint32_t)i;
    qsort_r(v->by_time, v->event_count, sizeof *v->by_time, by_series_and_time, v->events);
    return ERR_OK;
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

static int by_candle_and_time(const void *a, const void *b) {
    const struct pushed *x = *(struct pushed *const *)a, *y = *(struct pushed *const *)b;
    const int interval = strcmp(x->push.interval, y->push.interval);
    if (x->series != y->series) return x->series < y->series ? -1 : 1;
    if (interval != 0) return interval;
    const int open = compare_ids(x->push.candle.open_time_ms, y->push.candle.open_time_ms);
    if (open != 0) return open;
    return x->push.event_ms != y->push.event_ms ? compare_ids(x->push.event_ms, y->push.event_ms) : (x > y) - (x < y);
}

static void hold(struct held *held, const struct event *e, bool gathered, int64_t count[EVENT_AGGREGATED_TRADE + 1]) {
    const int64_t first = gathered ? e->last_id : e->first_id, last = gathered ? e->first_id : e->last_id;
    if (e->filtered) return;
    count[e->kind] += e->last_id - e->first_id + 1;
    if (first < held->first_id) held->first_id = first;
    if (last > held->last_id) held->last_id = last;
}

/* Once a candle, however often it is pushed. A capture may hold both streams of a market, which say the same. */
static struct held held_of(const struct verify *v, const struct pushed *p) {
    struct held held = {.first_id = INT64_MAX, .last_id = -1};
    int64_t count[EVENT_AGGREGATED_TRADE + 1] = {0};
    size_t low = 0, high = v->event_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const struct event *e = &v->events[v->by_time[middle]];
        if (e->series < p->series || (e->series == p->series && e->time_ms < p->push.candle.open_time_ms))
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < v->event_count; low++) {
        const struct event *e = &v->events[v->by_time[low]];
        if (e->series != p->series || e->time_ms > p->push.candle.close_time_ms) break;
        hold(&held, e, p->gathered, count);
    }
    const int64_t single = count[EVENT_TRADE], aggregated = count[EVENT_AGGREGATED_TRADE];
    held.trades = single > aggregated ? single : aggregated;
    return held;
}

/* Each push learns what the venue had said before it, of its candle and, as the last word, of the one before. Where in the
 * file that stands does not matter: recordings are merged, and connections repeat what another has sent. */
static enum err link_pushes(struct verify *v) {
    struct pushed **order = calloc(v->push_count + 1, sizeof *order), *ended = NULL, *ending = NULL;
    if (order == NULL) return diag_set(v->diag, ERR_NO_MEMORY, "no memory to verify");
    for (size_t i = 0; i < v->push_count; i++) order[i] = &v->pushes[i];
    qsort(order, v->push_count, sizeof *order, by_candle_and_time);
    for (size_t i = 0; i < v->push_count; i++) {
        struct pushed *p = order[i], *last = i == 0 ? NULL : order[i - 1];
        const bool one_kind =
            last != NULL && last->series == p->series && strcmp(last->push.interval, p->push.interval) == 0;
        if (one_kind && last->push.candle.open_time_ms == p->push.candle.open_time_ms) {
            p->previous = last;
            p->held = last->held;
        } else {
            p->held = held_of(v, p);
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

static bool is_of(const struct verify *v, size_t i, const struct pushed *p, uint8_t kind) {
    return i < v->event_count && v->events[i].series == p->series && v->events[i].kind == kind;
}

/* Of the trades of one stream: from the first id on none is older than the candle, up to the last one none is younger. */
static bool keeps_bounds(const struct verify *v, const struct pushed *p, uint8_t kind, struct verify_verdict *verdict) {
    const struct candle *c = &p->push.candle;
    size_t first = lower_bound(v, p->series, kind, c->first_id), last = lower_bound(v, p->series, kind, c->last_id);
    if (is_of(v, first, p, kind) && v->events[first].first_id < c->first_id) first++;
    if (!is_of(v, last, p, kind) || v->events[last].last_id > c->last_id) last--; /* may wrap, and is none's then */
    if (is_of(v, first, p, kind) && v->events[first].time_ms < c->open_time_ms)
        snprintf(verdict->why, sizeof verdict->why, "first_id: trade %lld is older than the candle, theirs %lld",
                 (long long)v->events[first].first_id, (long long)c->first_id);
    else if (is_of(v, last, p, kind) && v->events[last].time_ms > c->close_time_ms)
        snprintf(verdict->why, sizeof verdict->why, "last_id: trade %lld is younger than the candle, theirs %lld",
                 (long long)v->events[last].last_id, (long long)c->last_id);
    else
        return true;
    return false;
}

/* The ids that a push names are those of its candle: none of it stands outside, none of another one within. Trades after the
 * last id may follow in a later push, unless this one is the last word. */
static bool keeps_ids(const struct verify *v, const struct pushed *p, struct verify_verdict *verdict) {
    const struct candle *c = &p->push.candle;
    if (c->last_id < c->first_id || c->trades - 1 > c->last_id - c->first_id) {
        snprintf(verdict->why, sizeof verdict->why, "trades: ids %lld to %lld, theirs %lld", (long long)c->first_id,
                 (long long)c->last_id, (long long)c->trades);
        return false;
    }
    if (p->held.first_id < c->first_id)
        return same(verdict, "first_id", decimal_of(p->held.first_id), decimal_of(c->first_id));
    if (p->push.closed && p->held.last_id > c->last_id)
        return same(verdict, "last_id", decimal_of(p->held.last_id), decimal_of(c->last_id));
    return keeps_bounds(v, p, EVENT_TRADE, verdict) && keeps_bounds(v, p, EVENT_AGGREGATED_TRADE, verdict);
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
static bool is_quiet(const struct pushed *p, struct verify_verdict *verdict) {
    const struct pushed *before = p->previous, *last = p->ended;
    const struct candle *theirs = &p->push.candle;
    if (!is_flat(theirs)) {
        snprintf(verdict->why, sizeof verdict->why, "a candle without trades is not flat");
        return false;
    }
    if (theirs->first_id != -1 || theirs->last_id != -1) {
        snprintf(verdict->why, sizeof verdict->why, "first_id, last_id: -1 without trades, theirs %lld and %lld",
                 (long long)theirs->first_id, (long long)theirs->last_id);
        return false;
    }
    if (p->push.closed && !same_count(verdict, p->held.trades, 0)) return false;
    static const char push[] = "push before it", candle[] = "candle before it";
    if (before != NULL &&
        (!as_in(verdict, "trades", decimal_of(before->push.candle.trades), push, decimal_of(theirs->trades)) ||
         !as_in(verdict, "close", before->push.candle.close, push, theirs->close)))
        return false;
    return last == NULL || as_in(verdict, "close", last->push.candle.close, candle, theirs->close);
}

static enum err judge_by_trades(struct verify *v, size_t index, struct verify_verdict *verdict) {
    const struct pushed *p = &v->pushes[index];
    const struct candle *theirs = &p->push.candle;
    uint32_t count = 0;
    const enum cover cover = cover_of(v, p->series, theirs->first_id, theirs->last_id, &count);
    if (cover == COVER_HOLE) return judge_delta(v, index, verdict);
    struct candle ours = {0};
    enum err err = fold_subset(v, p, count, &ours);
    if (err != ERR_OK) return err;
    if (cover == COVER_FULL && equals_push(verdict, &ours, theirs)) verdict->check = VERIFY_FULL_EXACT;
    if (cover == COVER_STRADDLE && straddles(verdict, &ours, theirs)) verdict->check = VERIFY_FULL_STRADDLE;
    return ERR_OK;
}

/* Where the trades are not there to tell: a candle begins with one trade, whenever it is pushed, is closed with one, and comes
 * after the trades of the one before. */
static bool agrees_with_before(const struct pushed *p, struct verify_verdict *verdict) {
    const struct candle *c = &p->push.candle;
    const struct pushed *before = p->previous, *ended = p->ended;
    static const char push[] = "push before it";
    if (before != NULL && before->push.candle.first_id >= 0) {
        const struct candle *b = &before->push.candle;
        if (!as_in(verdict, "first_id", decimal_of(b->first_id), push, decimal_of(c->first_id)) ||
            (before->push.closed && p->push.closed &&
             !as_in(verdict, "last_id", decimal_of(b->last_id), push, decimal_of(c->last_id))))
            return false;
    }
    if (ended == NULL || ended->push.candle.last_id < c->first_id) return true;
    snprintf(verdict->why, sizeof verdict->why, "first_id: the candle before it ends with %lld, theirs %lld",
             (long long)ended->push.candle.last_id, (long long)c->first_id);
    return false;
}

static enum err judge(struct verify *v, size_t index, struct verify_verdict *verdict) {
    const struct pushed *p = &v->pushes[index];
    const struct candle *theirs = &p->push.candle;
    *verdict = (struct verify_verdict){.line = p->line, .push = &p->push, .check = VERIFY_UNEXPLAINED};
    if (!keeps_time(verdict, &p->push)) return ERR_OK;
    if (theirs->first_id < 0 || theirs->trades == 0) {
        if (is_quiet(p, verdict)) verdict->check = VERIFY_EMPTY_FLAT;
        return ERR_OK;
    }
    if (!keeps_ids(v, p, verdict)) return ERR_OK;
    enum err err = judge_by_trades(v, index, verdict);
    const bool by_before = verdict->check == VERIFY_DELTA_EXACT || verdict->check == VERIFY_UNCOVERED;
    if (err == ERR_OK && by_before && !agrees_with_before(p, verdict)) verdict->check = VERIFY_UNEXPLAINED;
    return err;
}

/* --- life cycle --- */

static enum err judge_all(struct verify *v, enum err (*visit)(void *context, const struct verify_verdict *verdict),
                          void *context) {
    enum err err = sort_events(v);
    if (err == ERR_OK) err = link_pushes(v);
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
    free(v.by_time);
    if (v.series != NULL) series_table_close(&v.series);
    return err;
}
