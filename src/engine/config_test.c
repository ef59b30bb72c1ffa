/* wick.yaml: defaults, values, lists, and errors that name their line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/config.h"

static enum err parse(const char *text, struct diag *diag, struct config *config) {
    *diag = (struct diag){0};
    config_defaults(config);
    return config_parse("wick.yaml", slice_text(text), diag, config);
}

static void test_defaults(void **state) {
    (void)state;
    struct config config;
    config_defaults(&config);
    assert_string_equal(config.data, "data/wick");
    assert_string_equal(config.http_listen, "127.0.0.1:8787");
    assert_int_equal(config.log_group_bytes, 512 * 1024);
    assert_true(config.retention_raw_ms == INT64_MAX);
    assert_int_equal(config.candles_grace_ms, 10000);
}

static void test_values(void **state) {
    (void)state;
    struct config config;
    struct diag diag;
    assert_int_equal(parse("data: /tmp/x\n"
                           "http: {listen: '[::1]:0', threads: 2, body: 1MiB}\n"
                           "retention: {raw: 7d, 1m: 2y, 15m: forever}\n"
                           "bases: [{base: BTC, quote: USDT, exchange: binance}]\n"
                           "sources:\n  - {generator: market, seed: 3, series: 5, rate: 10}\n",
                           &diag, &config),
                     ERR_OK);
    assert_string_equal(config.data, "/tmp/x");
    assert_string_equal(config.http_listen, "[::1]:0");
    assert_int_equal(config.http_threads, 2);
    assert_int_equal(config.http_body_bytes, 1048576);
    assert_true(config.retention_raw_ms == 7 * 86400000LL);
    assert_true(config.retention_1m_ms == 730 * 86400000LL);
    assert_int_equal(config.base_count, 1);
    assert_string_equal(config.bases[0].venue, "binance");
    assert_int_equal(config.source_count, 1);
    assert_int_equal(config.sources[0].rate, 10);
}

static void test_what_is_printed_is_read_again(void **state) {
    (void)state;
    struct config config, again;
    struct diag diag;
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_int_equal(parse("retention: {raw: 36h}\nhttp: {tokens: "
                           "[0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef]}\n"
                           "bases: [{base: BTC, quote: USDT, exchange: binance}]\n",
                           &diag, &config),
                     ERR_OK);
    config_print(&config, &text);
    config_defaults(&again);
    assert_int_equal(config_parse("printed", buf_slice(&text), &diag, &again), ERR_OK);
    assert_memory_equal(&config, &again, sizeof config);
    buf_deinit(&text);
}

static void test_errors_name_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *where, *what;
        enum err err;
    } cases[] = {
        {"data: x\nhtpp: {}\n", "wick.yaml:2:1", "no setting \"htpp\"", ERR_UNKNOWN},
        {"http:\n  lisen: x\n", "wick.yaml:2:3", "no setting \"http.lisen\"", ERR_UNKNOWN},
        {"http:\n  threads: many\n", "wick.yaml:2:12", "not a whole number", ERR_TYPE},
        {"http:\n  threads: 0\n", "wick.yaml:2:12", "outside 1..64", ERR_RANGE},
        {"retention: {raw: 7 days}\n", "wick.yaml:1:18", "not a duration", ERR_TYPE},
        {"log: {segment: 1MB}\n", "wick.yaml:1:16", "not a size", ERR_TYPE},
        {"candles: {base: 5m}\n", "wick.yaml:1:17", "not one of: 1m 1s", ERR_RANGE},
        {"data: a\ndata: b\n", "wick.yaml:2:1", "set twice", ERR_DUPLICATE},
        {"http: [1]\n", "wick.yaml:1:7", "a mapping", ERR_TYPE},
        {"http: {tokens: [secret]}\n", "wick.yaml:1:17", "SHA-256", ERR_SYNTAX},
        {"sources: [{generator: other}]\n", "wick.yaml:1:11", "only kind", ERR_RANGE},
        {"bases: [{base: BTC}]\n", "wick.yaml:1:9", "all needed", ERR_MISSING},
        {"data: [\n", "wick.yaml:2:1", "not YAML", ERR_SYNTAX},
        {"just text\n", "wick.yaml:1:1", "a mapping", ERR_TYPE},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config config, untouched;
        struct diag diag;
        config_defaults(&untouched);
        assert_int_equal(parse(cases[i].text, &diag, &config), cases[i].err);
        assert_string_equal(diag.where, cases[i].where);
        assert_non_null(strstr(diag.what, cases[i].what));
        assert_memory_equal(&config, &untouched, sizeof config);
    }
}

static void test_empty_file_is_the_defaults(void **state) {
    (void)state;
    struct config config, defaults;
    struct diag diag;
    config_defaults(&defaults);
    assert_int_equal(parse("", &diag, &config), ERR_OK);
    assert_memory_equal(&config, &defaults, sizeof config);
    assert_int_equal(parse("# nothing\n", &diag, &config), ERR_OK);
}

static void test_any_text_is_printed_so_that_it_reads_the_same(void **state) {
    (void)state;
    static const char *const texts[] = {"a # b",    "x: y", "a:", "-",  "- a", "\"quoted\"", "{a}",
                                        "[::1]:80", "a\\b", "'",  "*a", "~",   " a ",        "a\x7f\nb\t"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        static struct config config, again;
        struct diag diag;
        struct buf out;
        config_defaults(&config);
        assert_int_equal(config_set(&config, "data", texts[i], &diag), ERR_OK);
        buf_init(&out, 1 << 20);
        config_print(&config, &out);
        assert_int_equal(config_parse("printed", buf_slice(&out), &diag, &again), ERR_OK);
        assert_string_equal(again.data, texts[i]);
        buf_deinit(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_what_is_printed_is_read_again),
        cmocka_unit_test(test_any_text_is_printed_so_that_it_reads_the_same),
        cmocka_unit_test(test_errors_name_their_line),
        cmocka_unit_test(test_empty_file_is_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
