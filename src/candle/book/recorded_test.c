/* Recorded trades against the exchange's own candles: every digit. The files are test data of the outside (WICK_SHARED);
 * without them the tests are skipped. */
#include <zlib.h>

#include "base/buf.h"
#include "candle/book/fixture.h"

enum { MINUTE = 60000, FILE_BYTES_MAX = 64 << 20 };

/* A whole file, unwrapped; false if it is not there. */
static bool read_shared(const char *name, struct buf *ret_text) {
    char path[1024];
    const char *shared = getenv("WICK_SHARED");
    snprintf(path, sizeof path, "%s/data/trades/%s", shared != NULL ? shared : "../shared", name);
    gzFile file = gzopen(path, "rb");
    if (file == NULL) {
        printf("skipped: there is no %s\n", path);
        return false;
    }
    buf_init(ret_text, FILE_BYTES_MAX);
    for (;;) {
        uint8_t *to = buf_reserve(ret_text, 1 << 16);
        assert_non_null(to);
        int n = gzread(file, to, 1 << 16);
        assert_true(n >= 0);
        buf_commit(ret_text, (size_t)n);
        if (n == 0) break;
    }
    gzclose(file);
    return true;
}

static struct decimal number(struct slice text) {
    struct decimal value;
    if (decimal_parse(text, &value) != ERR_OK) fail_msg("not a number: %.*s", SLICE_PRINT(text));
    return value;
}

static struct slice until(const char *at, const char *stops) { return slice_of(at, strcspn(at, stops)); }

/* As strstr, for names in quotes; stops looking at the hit, under every sanitizer. */
static const char *find(const char *at, const char *name) {
    size_t size = strlen(name);
    for (at = strchr(at, '"'); at != NULL; at = strchr(at + 1, '"'))
        if (strncmp(at, name, size) == 0) return at;
    return NULL;
}

/* The value of a JSON member of a one-line object, quotes off. Enough for files that are known. */
static struct slice member(const char *object, const char *name) {
    const char *at = find(object, name);
    assert_non_null(at);
    at += strlen(name);
    at += strspn(at, "\": ");
    return until(at, "\",}");
}

static int64_t integer(struct slice text) {
    struct decimal value = number(text);
    assert_int_equal(value.scale, 0);
    return (int64_t)value.mantissa;
}

static void set_numbers(struct event *e, struct slice price, struct slice quantity) {
    struct decimal p = number(price), q = number(quantity);
    e->price = p.mantissa;
    e->price_scale = p.scale;
    e->quantity = q.mantissa;
    e->quantity_scale = q.scale;
}

static uint32_t read_aggregated(const char *text, uint32_t series, struct event *events, uint32_t max) {
    uint32_t count = 0;
    for (const char *at = find(text, "\"info\""); at != NULL && count < max; at = find(at + 1, "\"info\"")) {
        struct event e = {.series = series, .kind = EVENT_AGGREGATED_TRADE};
        set_numbers(&e, member(at, "\"p\""), member(at, "\"q\""));
        e.first_id = integer(member(at, "\"f\""));
        e.last_id = integer(member(at, "\"l\""));
        e.time_ms = integer(member(at, "\"T\""));
        e.side = member(at, "\"m\"").data[0] == 't' ? EVENT_TAKER_SELL : EVENT_TAKER_BUY;
        events[count++] = e;
    }
    return count;
}

struct expected {
    int64_t time_ms;
    struct decimal value[5]; /* open, high, low, close, volume */
};

static uint32_t read_expected(const char *text, struct expected *rows, uint32_t max) {
    uint32_t count = 0;
    const char *at = strchr(text, '[') + 1;
    while ((at = strchr(at, '[')) != NULL && count < max) {
        at++;
        rows[count].time_ms = integer(until(at, ","));
        for (int i = 0; i < 5; i++) {
            at = strchr(at, ',') + 1;
            at += strspn(at, " \n");
            rows[count].value[i] = number(until(at, ",] \n"));
        }
        count++;
    }
    return count;
}

static void compare(const struct expected *expected, const struct candle *row) {
    const struct decimal ours[] = {row->open, row->high, row->low, row->close, row->volume};
    for (int i = 0; i < 5; i++)
        if (!decimal_equal(ours[i], expected->value[i]))
            fail_msg("candle of %lld: column %d differs", (long long)expected->time_ms, i + 1);
}

/* Rolls the minutes of one bucket into one. */
static bool merge_bucket(const struct scanned *rows, int64_t from, int64_t to, uint32_t *at, struct candle *ret) {
    bool any = false;
    for (; *at < rows->count && rows->rows[*at].open_time_ms < to; ++*at) {
        if (rows->rows[*at].open_time_ms < from) continue;
        if (!any)
            *ret = rows->rows[*at];
        else
            assert_int_equal(candle_merge(ret, &rows->rows[*at]), ERR_OK);
        any = true;
    }
    return any;
}

static void check_against(const struct scanned *rows, const char *name, int64_t length_ms) {
    struct buf text;
    assert_true(read_shared(name, &text));
    buf_put_u8(&text, 0);
    struct expected *expected = calloc(8192, sizeof *expected);
    uint32_t count = read_expected((const char *)text.data, expected, 8192), at = 0;
    assert_true(count > 700);
    for (uint32_t i = 0; i < count; i++) {
        struct candle row;
        assert_true(merge_bucket(rows, expected[i].time_ms, expected[i].time_ms + length_ms, &at, &row));
        compare(&expected[i], &row);
        assert_int_equal(row.trades == 0, expected[i].value[4].mantissa == 0);
        if (i > 0 && i + 1 < count) assert_true(row.coverage >= COVERAGE_QUIET);
    }
    free(expected);
    buf_deinit(&text);
}

static void shuffle(struct event *events, uint32_t count) {
    srand(7);
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = (uint32_t)rand() % (i + 1);
        struct event swap = events[i];
        events[i] = events[j];
        events[j] = swap;
    }
}

static void fold(struct book *book, const struct event *events, uint32_t count, struct book_counts *counts) {
    struct diag diag = {0};
    assert_int_equal(book_apply(book, events, NULL, count, NULL, counts, &diag), ERR_OK);
}

/* 12,477 aggregated trades, folded in order and shuffled, against 3,560 candles of a minute and 712 of five. */
static void test_xrp_eth(void **state) {
    (void)state;
    struct buf text;
    if (!read_shared("XRP_OLD-trades.json.gz", &text)) skip();
    buf_put_u8(&text, 0);
    struct series_table *table;
    assert_int_equal(series_table_open(&table), ERR_OK);
    uint32_t series = series_of(table, "binance", "XRP", SERIES_TRADE);
    struct event *events = calloc(16384, sizeof *events);
    uint32_t count = read_aggregated((const char *)text.data, series, events, 16384);
    assert_int_equal(count, 12477);
    for (int pass = 0; pass < 2; pass++) {
        struct book *book = book_of(table);
        struct book_counts counts = {0};
        fold(book, events, count, &counts);
        assert_int_equal(counts.fate[FATE_USED], count);
        struct scanned rows = scan_book(book, series, BASIS_AGGREGATED);
        check_against(&rows, "XRP_ETH-1m.json", MINUTE);
        check_against(&rows, "XRP_ETH-5m.json", 5 * MINUTE);
        free(rows.rows);
        book_close(&book);
        shuffle(events, count);
    }
    free(events);
    buf_deinit(&text);
    series_table_close(&table);
}

/* Receive time, stream, type, event time, trade time (microseconds), symbol, id, price, quantity, buyer is maker, .. */
static uint32_t read_trx(const char *text, uint32_t series, struct event *events, uint32_t max) {
    uint32_t count = 0;
    for (const char *line = strchr(text, '\n'); line != NULL && line[1] != 0 && count < max;
         line = strchr(line + 1, '\n')) {
        struct slice column[10];
        const char *at = line + 1;
        for (int i = 0; i < 10; i++) {
            column[i] = until(at, ",\r\n");
            at += column[i].size + 1;
        }
        struct event e = {.series = series, .kind = EVENT_TRADE};
        set_numbers(&e, column[7], column[8]);
        e.time_ms = integer(column[4]) / 1000;
        e.first_id = e.last_id = integer(column[6]);
        e.side = column[9].data[0] == '1' ? EVENT_TAKER_SELL : EVENT_TAKER_BUY;
        events[count++] = e;
    }
    return count;
}

static void test_trx(void **state) {
    (void)state;
    static const char *const names[] = {"test_positive_binance_trade_stream_spot_trxusdt_04-03-2025.csv",
                                        "test_negative_binance_trade_stream_spot_trxusdt_04-03-2025.csv"};
    for (int negative = 0; negative < 2; negative++) {
        struct buf text;
        if (!read_shared(names[negative], &text)) skip();
        buf_put_u8(&text, 0);
        struct series_table *table;
        assert_int_equal(series_table_open(&table), ERR_OK);
        uint32_t series = series_of(table, "binance", "TRX", SERIES_TRADE);
        struct event *events = calloc(16384, sizeof *events);
        uint32_t count = read_trx((const char *)text.data, series, events, 16384);
        assert_int_equal(count, 10000);
        struct book *book = book_of(table);
        struct book_counts counts = {0};
        fold(book, events, count, &counts);
        assert_int_equal(counts.fate[FATE_DUPLICATE], negative); /* line 4: an id that was there, with other content */
        struct book_lane_info info;
        assert_int_equal(book_lane(book, (struct lane){series, BASIS_TRADES}, &info), ERR_OK);
        assert_int_equal(info.conflicts, negative);
        assert_int_equal(info.range_count, 1 + negative);
        struct scanned rows = scan_book(book, series, BASIS_TRADES);
        assert_int_equal(rows.rows[0].conflict, negative);
        assert_int_equal(rows.rows[1].coverage, COVERAGE_TRADED);
        int64_t trades = 0;
        for (uint32_t i = 0; i < rows.count; i++) trades += rows.rows[i].trades;
        assert_int_equal(trades, count - negative);
        free(rows.rows);
        free(events);
        book_close(&book);
        buf_deinit(&text);
        series_table_close(&table);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_xrp_eth), cmocka_unit_test(test_trx)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
