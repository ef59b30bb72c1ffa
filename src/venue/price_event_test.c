/* Price events: the rules of each field, request bodies, and that the remembered shape never decides otherwise than the
 * general parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/splitmix.h"
#include "base/testing.h"
#include "codec/input.h"
#include "venue/price_event.h"

struct fixture {
    struct series_table *series;
    struct price_decoder *decoder;
    uint8_t text[65536];
};

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(series_table_open(&f->series), ERR_OK);
    assert_int_equal(price_decoder_open(f->series, &f->decoder), ERR_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    price_decoder_close(&f->decoder);
    price_decoder_close(&f->decoder);
    series_table_close(&f->series);
    free(f);
    return 0;
}

/* With readable bytes behind that would go on as the text does, to lure a decoder past the end. */
static struct slice padded(struct fixture *f, struct slice text) {
    assert_true(text.size + INPUT_PADDING_BYTES <= sizeof f->text);
    memset(f->text + text.size, '0', INPUT_PADDING_BYTES);
    memcpy(f->text, text.data, text.size);
    return slice_of(f->text, text.size);
}

static enum err decode(struct fixture *f, const char *text, struct event *ret_event) {
    struct diag diag = {0};
    enum err err = price_decode(f->decoder, padded(f, slice_text(text)), &diag, ret_event);
    if (err != ERR_OK) assert_true(diag.what[0] != '\0');
    return err;
}

#define PLAIN(price, rest)                                                                           \
    "{\"baseCurrency\":\"btc\",\"quoteCurrency\":\"usdt\",\"exchange\":\"Binance\",\"price\":" price \
    ",\"baseVolumeLast24h\":\"12.50\",\"quoteVolumeLast24h\":3e2,\"timestampInMs\":1700000041999" rest "}"

static void test_an_event(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) { /* the first by the general parser, then by its shape */
        struct event e;
        assert_int_equal(decode(f, PLAIN("\"53487.670\"", ""), &e), ERR_OK);
        assert_int_equal((int64_t)e.price, 5348767);
        assert_int_equal(e.price_scale, 2);
        assert_int_equal((int64_t)e.quantity, 125);
        assert_int_equal(e.quantity_scale, 1);
        assert_int_equal((int64_t)e.quote_volume, 300);
        assert_int_equal(e.quote_volume_scale, 0);
        assert_int_equal(e.time_ms, 1700000041999);
        assert_int_equal(e.kind, EVENT_PRICE);
        assert_int_equal(e.side, EVENT_SIDE_NONE);
        assert_string_equal(series_get(f->series, e.series)->name, "binance:BTC/USDT");
        assert_int_equal(series_get(f->series, e.series)->kind, SERIES_PRICE);
    }
    assert_int_equal(series_count(f->series), 1);
}

static void test_names_in_any_case(void **state) {
    struct fixture *f = *state;
    struct event a, b;
    assert_int_equal(decode(f,
                            "{\"BASECURRENCY\":\"BTC\",\"quotecurrency\":\"Usdt\",\"Exchange\":\"BINANCE\",\"PRICE\":1,"
                            "\"timestampinms\":\"1700000041999\"}",
                            &a),
                     ERR_OK);
    assert_int_equal(decode(f, PLAIN("1", ""), &b), ERR_OK);
    assert_int_equal(a.series, b.series);
    assert_int_equal((int64_t)a.quantity, 0);
    assert_int_equal(a.time_ms, b.time_ms);
    assert_int_equal(decode(f,
                            "{\"baseCurrency\":\"\xe5\xb8\x81\xe5\xae\x89\",\"quoteCurrency\":\"usdt\",\"exchange\":"
                            "\"binance\",\"price\":1,\"timestampInMs\":1}",
                            &a),
                     ERR_OK);
    assert_string_equal(series_get(f->series, a.series)->name, "binance:\xe5\xb8\x81\xe5\xae\x89/USDT");
}

static void test_what_is_refused(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *text;
        enum err err;
    } cases[] = {
        {PLAIN("0", ""), ERR_RANGE},
        {PLAIN("-1", ""), ERR_RANGE},
        {PLAIN("\"-0.5\"", ""), ERR_RANGE},
        {PLAIN("NaN", ""), ERR_SYNTAX},
        {PLAIN("\"NaN\"", ""), ERR_TYPE},
        {PLAIN("\"\"", ""), ERR_TYPE},
        {PLAIN("\" 1\"", ""), ERR_TYPE},
        {PLAIN("01", ""), ERR_SYNTAX},
        {PLAIN("\"01\"", ""), ERR_TYPE},
        {PLAIN("null", ""), ERR_TYPE},
        {PLAIN("[1]", ""), ERR_TYPE},
        {PLAIN("true", ""), ERR_TYPE},
        {PLAIN("1234567890123456789012345678901234567890.1", ""), ERR_PRECISION},
        {PLAIN("\"1.2345678901234567890123456789012345678901\"", ""), ERR_PRECISION},
        {PLAIN("1e-99", ""), ERR_PRECISION},
        {PLAIN("1", ",\"price\":1"), ERR_DUPLICATE},
        {PLAIN("1", ",\"Price\":1"), ERR_DUPLICATE},
        {PLAIN("1", ",\"volume\":1"), ERR_UNKNOWN},
        {PLAIN("1", "000"), ERR_RANGE}, /* microseconds */
        {PLAIN("1", ".5"), ERR_TYPE},
        {PLAIN("1", "}"), ERR_SYNTAX},
        {PLAIN("1", "") "x", ERR_SYNTAX},
        {"{\"baseCurrency\":\"btc\",\"quoteCurrency\":\"usdt\",\"exchange\":\"b\",\"timestampInMs\":1}", ERR_MISSING},
        {"{\"baseCurrency\":\"\",\"quoteCurrency\":\"usdt\",\"exchange\":\"b\",\"price\":1,\"timestampInMs\":1}",
         ERR_MISSING},
        {"{\"baseCurrency\":1,\"quoteCurrency\":\"usdt\",\"exchange\":\"b\",\"price\":1,\"timestampInMs\":1}",
         ERR_TYPE},
        {"{\"baseCurrency\":\"a/b\",\"quoteCurrency\":\"usdt\",\"exchange\":\"b\",\"price\":1,\"timestampInMs\":1}",
         ERR_SYNTAX},
        {"{\"baseCurrency\":\"a\\u0000\",\"quoteCurrency\":\"usdt\",\"exchange\":\"b\",\"price\":1,\"timestampInMs\":"
         "1}",
         ERR_SYNTAX},
        {"{\"baseCurrency\":\"a\",\"quoteCurrency\":\"123456789012345678901\",\"exchange\":\"b\",\"price\":1,"
         "\"timestampInMs\":1}",
         ERR_TOO_LARGE},
        {"{\"baseCurrency\":\"a\",\"quoteCurrency\":\"u\",\"exchange\":\"b\",\"price\":1,\"timestampInMs\":0}",
         ERR_RANGE},
        {"{\"baseCurrency\":\"a\",\"quoteCurrency\":\"u\",\"exchange\":\"b\",\"price\":1,\"timestampInMs\":-5}",
         ERR_RANGE},
        {"{\"baseCurrency\":\"a\",\"quoteCurrency\":\"u\",\"exchange\":\"b\",\"price\":1,\"timestampInMs\":true}",
         ERR_TYPE},
        {"{\"baseCurrency\":\"a\",\"quoteCurrency\":\"u\",\"exchange\":\"b\",\"price\":1,\"timestampInMs\":"
         "99999999999999999999}",
         ERR_RANGE},
        {"{\"baseCurrency\":\"a\",\"quoteCurrency\":\"u\",\"exchange\":\"b\",\"price\":1,\"baseVolumeLast24h\":-1,"
         "\"timestampInMs\":1}",
         ERR_RANGE},
        {"[]", ERR_TYPE},
        {"17", ERR_TYPE},
        {"{}", ERR_MISSING},
        {"", ERR_SYNTAX},
        {"{\"baseCurrency\":\"bt", ERR_SYNTAX},
    };
    struct event e;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            enum err err = decode(f, cases[i].text, &e);
            if (err != cases[i].err) fail_msg("%s: %s", cases[i].text, err_name(err));
        }
        assert_int_equal(decode(f, PLAIN("\"1.5\"", ""), &e), ERR_OK); /* now there are shapes */
        assert_int_equal(decode(f, PLAIN("1", ""), &e), ERR_OK);
        assert_int_equal(series_count(f->series), 1); /* what was refused left no series behind */
    }
    struct diag diag = {0};
    assert_int_equal(price_decode(f->decoder, padded(f, SLICE(PLAIN("1", "000"))), &diag, &e), ERR_RANGE);
    assert_non_null(strstr(diag.hint, "microseconds"));
}

#define NAMES_OF "{\"baseCurrency\":\"btc\",\"quoteCurrency\":\"usdt\",\"exchange\":\"b\",\"price\":1,"

/* A volume that is not told is no zero, by any way an event is read. */
static void test_untold_volumes(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *text;
        bool no_quantity, no_quote_volume;
    } cases[] = {
        {NAMES_OF "\"timestampInMs\":5}", true, true},
        {NAMES_OF "\"baseVolumeLast24h\":0,\"timestampInMs\":5}", false, true},
        {NAMES_OF "\"quoteVolumeLast24h\":\"0\",\"timestampInMs\":5}", true, false},
        {NAMES_OF "\"baseVolumeLast24h\":0,\"quoteVolumeLast24h\":0,\"timestampInMs\":5}", false, false},
    };
    uint64_t hashes[4];
    for (int round = 0; round < 6; round++) { /* the general parser, then shapes; then without wide instructions */
        if (round == 3) price_decoder_narrow(f->decoder);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct event e;
            assert_int_equal(decode(f, cases[i].text, &e), ERR_OK);
            assert_int_equal(e.no_quantity, cases[i].no_quantity);
            assert_int_equal(e.no_quote_volume, cases[i].no_quote_volume);
            assert_int_equal((int64_t)e.quantity, 0);
            if (round == 0) hashes[i] = event_hash(&e);
            assert_true(event_hash(&e) == hashes[i] && (i == 0 || hashes[i] != hashes[i - 1]));
        }
    }
}

static bool same_event(const struct event *a, const struct event *b) {
    return a->price == b->price && a->price_scale == b->price_scale && a->quantity == b->quantity &&
           a->quantity_scale == b->quantity_scale && a->quote_volume == b->quote_volume &&
           a->quote_volume_scale == b->quote_volume_scale && a->time_ms == b->time_ms && a->series == b->series &&
           a->kind == b->kind && a->side == b->side && a->filtered == b->filtered && a->no_quantity == b->no_quantity &&
           a->no_quote_volume == b->no_quote_volume && a->reserved == b->reserved;
}

static uint64_t random_state;
static uint32_t random_below(uint32_t limit) { return (uint32_t)((splitmix_next(&random_state) >> 33) % limit); }

static void put_number(struct buf *out) {
    uint32_t whole = random_below(11), fraction = random_below(20);
    if (random_below(20) == 0) whole = random_below(30);
    bool quoted = random_below(2);
    if (quoted) buf_put_u8(out, '"');
    for (uint32_t i = 0; i <= whole; i++) buf_put_u8(out, (uint8_t)('0' + random_below(10)));
    if (fraction > 0) buf_put_u8(out, '.');
    for (uint32_t i = 0; i < fraction; i++) buf_put_u8(out, random_below(3) ? (uint8_t)('0' + random_below(10)) : '0');
    if (random_below(10) == 0)
        buf_printf(out, "%ce%s%u", '0' + random_below(9), random_below(2) ? "-" : "", random_below(9));
    if (quoted) buf_put_u8(out, '"');
}

/* Mostly the plain ones; those behind need the general parser. */
enum { NAMES = 12, PLAIN_NAMES = 7 };
static uint32_t random_name(void) { return random_below(random_below(10) == 0 ? NAMES : PLAIN_NAMES); }

static void put_random_event(struct buf *out) {
    static const char *const names[NAMES] = {
        "BTC",          "eth",      "USDT",  "a_very_long.name", "a_very_long.name1", "x", "12345678", "B\\u0054C",
        "\xe5\xb8\x81", "x\\u0000", "x\\\"", "15_bytes_of.it-"};
    uint32_t shape = random_below(6);
    const char *colon = shape == 1 ? "\": " : "\":", *comma = shape == 1 ? ", " : ",";
    buf_printf(out, "{\"baseCurrency%s\"%s\"%s\"quoteCurrency%s\"%s\"%s\"exchange%s\"%s\"%s", colon,
               names[random_name()], comma, colon, names[random_name()], comma, colon, names[random_name()], comma);
    if (shape != 2) {
        buf_printf(out, "\"price%s", colon);
        put_number(out);
        buf_put_text(out, comma);
    }
    if (shape != 3) {
        buf_printf(out, "\"baseVolumeLast24h%s", colon);
        put_number(out);
        buf_put_text(out, comma);
    }
    if (shape == 4) {
        buf_printf(out, "\"quoteVolumeLast24h%s", colon);
        put_number(out);
        buf_put_text(out, comma);
    }
    buf_printf(out, "\"timestampInMs%s%s%llu%s}", colon, shape == 5 ? "\"" : "",
               1700000000000ull + random_below(100000), shape == 5 ? "\"" : "");
}

/* A byte changed, removed or put in, or the end cut off, sometimes. */
static void damage(struct buf *text) {
    uint32_t at = random_below((uint32_t)text->size);
    switch (random_below(7)) {
        case 0: text->data[at] = (uint8_t)random_below(256); break;
        case 1: text->data[at] = (uint8_t) "\"\\,:{}[]0 .-eE\n"[random_below(15)]; break;
        case 2: text->size = at; break;
        case 3: memmove(text->data + at, text->data + at + 1, text->size - at - 1), text->size--; break;
        case 4:
            buf_put_u8(text, 0);
            memmove(text->data + at + 1, text->data + at, text->size - at - 1);
            text->data[at] = random_below(2) ? 0 : (uint8_t)random_below(256);
            break;
        default: break;
    }
}

static void test_shape_and_general_parser_agree(void **state) {
    struct fixture *f = *state;
    struct buf text;
    buf_init(&text, 4096);
    uint32_t accepted = 0, refused = 0;
    for (uint64_t seed = 1; seed <= testing_seeds(60000); seed++) {
        random_state = seed;
        buf_clear(&text);
        put_random_event(&text);
        for (uint32_t times = random_below(3) == 0 ? 1 + random_below(2) : 0; times > 0 && text.size > 0; times--)
            damage(&text);
        struct slice line = padded(f, buf_slice(&text));
        struct event fast = {0}, general = {0};
        enum err a = price_decode(f->decoder, line, NULL, &fast);
        enum err b = price_decode_general(f->decoder, line, NULL, &general);
        if (a != b || (a == ERR_OK && !same_event(&fast, &general)))
            fail_msg("seed %llu: %s or %s for %.*s", (unsigned long long)seed, err_name(a), err_name(b),
                     SLICE_PRINT(line));
        accepted += a == ERR_OK;
        refused += a != ERR_OK;
    }
    assert_true(accepted > testing_seeds(10000) && refused > testing_seeds(10000));
    buf_deinit(&text);
}

/* All seven fields in their usual order; what differs is how long they are. */
static void put_usual_event(struct buf *out) {
    static const char *const names[] = {"BTC", "eth", "USDT", "a_very_long.name", "15_bytes_of.it-", "x", "12345678"};
    static const char *const keys[] = {"price", "baseVolumeLast24h", "quoteVolumeLast24h"};
    buf_printf(out, "{\"baseCurrency\":\"%s\",\"quoteCurrency\":\"%s\",\"exchange\":\"%s\",", names[random_below(7)],
               names[random_below(7)], names[random_below(7)]);
    for (int i = 0; i < 3; i++) {
        buf_printf(out, "\"%s\":\"%u", keys[i], random_below(20) == 0 ? 0 : random_below(90) + 10);
        for (uint32_t digits = random_below(10) == 0 ? random_below(18) : random_below(6); digits > 0; digits--)
            buf_put_u8(out, (uint8_t)('0' + random_below(10)));
        if (random_below(4) > 0) buf_put_u8(out, '.');
        for (uint32_t digits = random_below(10) == 0 ? random_below(18) : random_below(6); digits > 0; digits--)
            buf_put_u8(out, random_below(3) > 0 ? '0' : (uint8_t)('0' + random_below(10)));
        buf_put_text(out, "\",");
    }
    buf_printf(out, "\"timestampInMs\":%llu}", 1700000000000ull + random_below(100000));
}

static void compare_events(struct fixture *f, struct slice line, enum err err, const struct event *event) {
    struct event general = {0};
    enum err expected = price_decode_general(f->decoder, line, NULL, &general);
    if (err != expected || (err == ERR_OK && !same_event(event, &general)))
        fail_msg("%s or %s for %.*s", err_name(err), err_name(expected), SLICE_PRINT(line));
}

/* Many lines at a time, some of them damaged: each is what the general way says that it is. */
static uint32_t decode_all_lines(struct fixture *f, const uint8_t *at, const uint8_t *end) {
    uint32_t fast = 0;
    while (at < end) {
        struct event events[16];
        uint32_t starts[16], max = 1 + random_below(16);
        const uint8_t *base = at;
        uint32_t count = price_decode_lines(f->decoder, &at, end, events, starts, max);
        for (uint32_t i = 0; i < count; i++) {
            const uint8_t *line = base + starts[i], *after = i + 1 < count ? base + starts[i + 1] : at;
            if (after > line && after[-1] == '\n') after--;
            compare_events(f, slice_of(line, (size_t)(after - line)), ERR_OK, &events[i]);
        }
        fast += count;
        if (count > 0 || at == end) continue;
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        struct slice line = slice_of(at, (size_t)((newline == NULL ? end : newline) - at));
        struct event event = {0};
        compare_events(f, line, price_decode(f->decoder, line, NULL, &event), &event);
        at = newline == NULL ? end : newline + 1;
    }
    return fast;
}

static void test_lines_and_general_parser_agree(void **state) {
    struct fixture *f = *state;
    struct buf text, line;
    buf_init(&text, sizeof f->text - INPUT_PADDING_BYTES);
    buf_init(&line, 4096);
    uint32_t fast = 0;
    for (uint64_t seed = 1; seed <= 6000; seed++) {
        if (seed == 3000) price_decoder_narrow(f->decoder);
        random_state = seed;
        buf_clear(&text);
        for (uint32_t lines = random_below(20); lines > 0; lines--) {
            buf_clear(&line);
            put_usual_event(&line);
            for (uint32_t times = random_below(12) == 0 ? 1 + random_below(2) : 0; times > 0 && line.size > 0; times--)
                damage(&line);
            buf_put(&text, buf_slice(&line));
            if (lines > 1 || random_below(2)) buf_put_u8(&text, '\n');
        }
        struct slice all = padded(f, buf_slice(&text));
        fast += decode_all_lines(f, all.data, all.data + all.size);
    }
    assert_true(fast > 15000);
    buf_deinit(&text);
    buf_deinit(&line);
}

static void test_lines(void **state) {
    struct fixture *f = *state;
    struct event e, events[16];
    uint32_t starts[16];
    assert_int_equal(decode(f, PLAIN("\"1.5\"", ""), &e), ERR_OK);
    const char *good = PLAIN("\"2.5\"", "");
    struct buf text;
    buf_init(&text, 65536);
    buf_printf(&text, "%s\n%s\r\n%s\n%s x\n%s\n%.*s", good, good, good, good, good, (int)strlen(good) - 1, good);
    struct slice all = padded(f, buf_slice(&text));
    const uint8_t *at = all.data, *end = all.data + all.size;
    size_t size = strlen(good) + 1;
    assert_int_equal(price_decode_lines(f->decoder, &at, end, events, starts, 2), 2);
    assert_int_equal(starts[1], size);
    assert_ptr_equal(at, all.data + 2 * size + 1);
    assert_int_equal(price_decode_lines(f->decoder, &at, end, events, starts, 16), 1);
    assert_int_equal((int64_t)events[0].price, 25);
    assert_ptr_equal(at, all.data + 3 * size + 1);
    at += size + 2;
    assert_int_equal(price_decode_lines(f->decoder, &at, end, events, starts, 16), 1);
    assert_int_equal(price_decode_lines(f->decoder, &at, end, events, starts, 16), 0); /* cut, whatever lies behind */
    memcpy(f->text + strlen("{\"baseCurrency\":\""), "new", 3);
    at = all.data;
    assert_int_equal(price_decode_lines(f->decoder, &at, end, events, starts, 16), 0);
    assert_ptr_equal(at, all.data);
    memcpy(f->text + strlen("{\"baseCurrency\":\""), "btc", 3);
    assert_int_equal(price_decode_lines(f->decoder, &at, all.data + size - 1, events, starts, 16), 1);
    buf_deinit(&text);
}

/* Whatever length an event had of which the shape was learnt: nothing is read behind the padding of later ones. */
static void test_lines_are_read_within_their_padding(void **state) {
    enum { PAGE_BYTES = 4096, LINES = 24 };
    static const uint32_t zeros[] = {100, 200, 400, 3000, 30000};
    struct fixture *f = *state;
    uint8_t *pages = mmap(NULL, 3 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + 2 * PAGE_BYTES, PAGE_BYTES, PROT_NONE), 0);
    struct buf text;
    buf_init(&text, 65536);
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++) {
        struct price_decoder *decoder;
        struct event event, events[LINES];
        uint32_t starts[LINES], count = 0;
        assert_int_equal(price_decoder_open(f->series, &decoder), ERR_OK);
        buf_clear(&text);
        buf_put_text(&text, "{\"baseCurrency\":\"btc\",\"quoteCurrency\":\"usdt\",\"exchange\":\"b\",\"price\":\"1.5");
        for (uint32_t n = 0; n < zeros[i]; n++) buf_put_u8(&text, '0');
        buf_put_text(&text,
                     "\",\"baseVolumeLast24h\":\"1\",\"quoteVolumeLast24h\":\"2\",\"timestampInMs\":1700000041999}");
        assert_int_equal(price_decode(decoder, padded(f, buf_slice(&text)), NULL, &event), ERR_OK);
        buf_clear(&text);
        for (int n = 0; n < LINES; n++)
            buf_put_text(&text,
                         "{\"baseCurrency\":\"btc\",\"quoteCurrency\":\"usdt\",\"exchange\":\"b\",\"price\":\"1.5\","
                         "\"baseVolumeLast24h\":\"1\",\"quoteVolumeLast24h\":\"2\",\"timestampInMs\":1700000041999}\n");
        const uint8_t *end = pages + 2 * PAGE_BYTES - INPUT_PADDING_BYTES, *at = end - text.size;
        memcpy(pages + 2 * PAGE_BYTES - INPUT_PADDING_BYTES - text.size, text.data, text.size);
        while (at < end && (count = price_decode_lines(decoder, &at, end, events, starts, LINES)) > 0) continue;
        assert_ptr_equal(at, end);
        price_decoder_close(&decoder);
    }
    buf_deinit(&text);
    munmap(pages, 3 * PAGE_BYTES);
}

struct seen {
    uint32_t count, bad, last_index;
    struct slice last_source;
    enum err last_err;
    enum err stop;
};

static enum err see(void *context, const struct price_item *item) {
    struct seen *seen = context;
    seen->count++;
    seen->bad += item->err != ERR_OK;
    if (item->err != ERR_OK) assert_true(item->reason[0] != '\0');
    seen->last_index = item->index;
    seen->last_source = item->source;
    seen->last_err = item->err;
    return seen->stop;
}

static enum err decode_body(struct fixture *f, const char *text, struct seen *seen) {
    *seen = (struct seen){0};
    return price_decode_body(f->decoder, padded(f, slice_text(text)), NULL, see, seen);
}

static void test_bodies(void **state) {
    struct fixture *f = *state;
    struct seen seen;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(decode_body(f, " " PLAIN("1", "") "\n", &seen), ERR_OK);
        assert_int_equal(seen.count, 1);
        assert_true(slice_equal(seen.last_source, SLICE(PLAIN("1", ""))));
        assert_int_equal(decode_body(f, "[" PLAIN("1", "") ",\n " PLAIN("2", "") " ]", &seen), ERR_OK);
        assert_int_equal(seen.count, 2);
        assert_int_equal(seen.bad, 0);
        assert_true(slice_equal(seen.last_source, SLICE(PLAIN("2", ""))));
        assert_int_equal(
            decode_body(f, "[" PLAIN("1", "") "," PLAIN("-2", "") ",7,{\"a\":1,\"a\":2}," PLAIN("3", "") "]", &seen),
            ERR_OK);
        assert_int_equal(seen.count, 5);
        assert_int_equal(seen.bad, 3);
        assert_int_equal(decode_body(f, PLAIN("1", "") "\n\n" PLAIN("-2", "") "\r\n" PLAIN("2", ""), &seen), ERR_OK);
        assert_int_equal(seen.count, 3);
        assert_int_equal(seen.bad, 1);
        assert_int_equal(seen.last_index, 3);
        assert_int_equal(decode_body(f, "\n \r\n" PLAIN("2", "") "\n" PLAIN("-2", "") "\n\n", &seen), ERR_OK);
        assert_int_equal(seen.count, 2);
        assert_int_equal(seen.last_index, 3);
        assert_int_equal(seen.last_err, ERR_RANGE);
        assert_int_equal(decode_body(f, "oops\n" PLAIN("2", ""), &seen), ERR_OK);
        assert_int_equal(seen.count, 2);
        assert_int_equal(seen.bad, 1);
        assert_int_equal(decode_body(f,
                                     "{\n\"baseCurrency\":\"btc\",\n\"quoteCurrency\":\"usdt\",\"exchange\":\"b\",\n"
                                     "\"price\":1,\"timestampInMs\":1}",
                                     &seen),
                         ERR_OK);
        assert_int_equal(seen.count, 1);
        assert_int_equal(seen.bad, 0);
        assert_int_equal(decode_body(f, "[]", &seen), ERR_OK);
        assert_int_equal(seen.count, 0);
    }
    static const char *const broken[] = {"",
                                         " \n",
                                         "oops",
                                         "{\"a\":",
                                         "[" PLAIN("1", ""),
                                         "[" PLAIN("1", "") ",]",
                                         "oops\noops\n",
                                         "[" PLAIN("1", "") "]]",
                                         "[" PLAIN("1", "") " " PLAIN("1", "") "]"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_int_equal(decode_body(f, broken[i], &seen), ERR_SYNTAX);
        assert_int_equal(seen.count, 0);
    }
    struct diag diag = {0};
    const struct slice ill = padded(f, SLICE(" \n[\"\xff\"]"));
    assert_int_equal(price_decode_body(f->decoder, ill, &diag, see, &seen), ERR_UTF8);
    assert_string_equal(diag.where, "byte 4");
    seen = (struct seen){.stop = ERR_BUSY};
    assert_int_equal(
        price_decode_body(f->decoder, padded(f, SLICE("[" PLAIN("1", "") "," PLAIN("1", "") "]")), NULL, see, &seen),
        ERR_BUSY);
    assert_int_equal(seen.count, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_event, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_in_any_case, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_untold_volumes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shape_and_general_parser_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lines_and_general_parser_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lines_are_read_within_their_padding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bodies, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
