/* wick.yaml: defaults, values, lists, and errors that name their line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/config_work.h"

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
    assert_memory_equal(&config, &again, offsetof(struct config, origin));
    buf_deinit(&text);
}

#define ZEROS "000000000000000000000000000000000000000000000000000000000000000"
#define SOURCE "{generator: market}, "

static void test_errors_name_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *where, *what;
        enum err err;
    } cases[] = {
        {"data: x\nhtpp: {}\n", "wick.yaml:2:1", "no setting \"htpp\" (did you mean \"http\"?)", ERR_UNKNOWN},
        {"http:\n  lisen: x\n", "wick.yaml:2:3", "no setting \"http.lisen\" (did you mean \"http.listen\"?)",
         ERR_UNKNOWN},
        {"http: {tokns: []}", "wick.yaml:1:8", "did you mean \"http.tokens\"?", ERR_UNKNOWN},
        {"listen: x", "wick.yaml:1:1", "\"listen\" belongs into section http", ERR_UNKNOWN},
        {"http: {data: x}", "wick.yaml:1:8", "\"data\" belongs to the left", ERR_UNKNOWN},
        {"bases: [{bse: x}]", "wick.yaml:1:10", "did you mean \"bases.base\"?", ERR_UNKNOWN},
        {"sources: [{sed: x}]", "wick.yaml:1:12", "did you mean \"sources.seed\"?", ERR_UNKNOWN},
        {"foo: 1", "wick.yaml:1:1", "(wick run --print-config shows them all)", ERR_UNKNOWN},
        {"http:\n  threads: many\n", "wick.yaml:2:12", "http.threads: \"many\" is not a whole number", ERR_TYPE},
        {"http:\n  threads: 0\n", "wick.yaml:2:12", "outside 1..64", ERR_RANGE},
        {"http: {threads: 99999999999999999999}", "wick.yaml:1:17", "outside 1..64", ERR_RANGE},
        {"http: {public: yes}", "wick.yaml:1:16", "neither true nor false", ERR_TYPE},
        {"http: {threads: [1]}", "wick.yaml:1:17", "http.threads: a single value", ERR_TYPE},
        {"data: {a: b}", "wick.yaml:1:7", "data: a single value", ERR_TYPE},
        {"data: \"\"", "wick.yaml:1:7", "must not be empty", ERR_MISSING},
        {"data: ~", "wick.yaml:1:7", "data: ~ is no value (without the line it has its default, data/wick)", ERR_TYPE},
        {"data: \"a\\0b\"", "wick.yaml:1:7", "NUL", ERR_SYNTAX},
        {"retention: {raw: 7 days}\n", "wick.yaml:1:18", "not a duration", ERR_TYPE},
        {"retention: {1m: 1s}\n", "wick.yaml:1:17", "\"1s\" is outside 1d..100y, or forever", ERR_RANGE},
        {"retention: {1m: 9999999999999y}\n", "wick.yaml:1:17", "is outside 1d..100y, or forever", ERR_RANGE},
        {"checkpoint: {every: 0ms}\n", "wick.yaml:1:21", "checkpoint.every: \"0ms\" is outside 10ms..1d", ERR_RANGE},
        {"checkpoint: {every: forever}\n", "wick.yaml:1:21", "\"forever\" is outside 10ms..1d", ERR_RANGE},
        {"checkpoint: {bytes: 23MiB}\n", "wick.yaml:1:21", "\"23MiB\" is outside 64KiB..22MiB", ERR_RANGE},
        {"candles: {grace: 0s}\n", "wick.yaml:1:18", "\"0s\" is outside 1ms..1d", ERR_RANGE},
        {"log: {segment: 1MB}\n", "wick.yaml:1:16", "not a size", ERR_TYPE},
        {"log: {segment: 99999999999999999999GiB}\n", "wick.yaml:1:16", "outside 1MiB..2047MiB", ERR_RANGE},
        {"candles: {base: 5m}\n", "wick.yaml:1:17", "not one of: 1m 1s", ERR_RANGE},
        {"data: a\ndata: b\n", "wick.yaml:2:1", "set twice", ERR_DUPLICATE},
        {"http: {}\nlog: {}\nhttp: {}\n", "wick.yaml:3:1", "set twice", ERR_DUPLICATE},
        {"http: [1]\n", "wick.yaml:1:7", "a mapping", ERR_TYPE},
        {"? [a]\n: b\n", "wick.yaml:1:3", "a key must be a word", ERR_TYPE},
        {"http: {tokens: [secret]}\n", "wick.yaml:1:17", "SHA-256", ERR_SYNTAX},
        {"http: {tokens: [\"\\0" ZEROS "\"]}\n", "wick.yaml:1:17", "SHA-256", ERR_SYNTAX},
        {"http:\n  tokens:\n", "wick.yaml:2:10", "a list is wanted", ERR_TYPE},
        {"sources: [{generator: other}]\n", "wick.yaml:1:23", "only kind", ERR_RANGE},
        {"sources: [{seed: 1}]\n", "wick.yaml:1:11", "generator", ERR_MISSING},
        {"sources:\n- {generator: market, rate: 0}\n", "wick.yaml:2:29",
         "sources.rate: \"0\" is not a whole number in 1..1000000", ERR_RANGE},
        {"sources: [" SOURCE SOURCE SOURCE SOURCE SOURCE SOURCE SOURCE SOURCE SOURCE "]\n", "wick.yaml:1:179",
         "sources: more than 8", ERR_TOO_LARGE},
        {"bases: [{base: BTC}]\n", "wick.yaml:1:9", "all needed", ERR_MISSING},
        {"bases:\n- {base: A, quote: B, exchange: c}\n- {base: a, quote: B, exchange: d}\n", "wick.yaml:3:3",
         "\"a\" is there twice", ERR_DUPLICATE},
        {"bases: [{base: ~, quote: B, exchange: c}]\n", "wick.yaml:1:16", "bases.base: a word of 1 to 31", ERR_TYPE},
        {"data: [\n", "wick.yaml:2:1", "not YAML", ERR_SYNTAX},
        {"just text\n", "wick.yaml:1:1", "a mapping", ERR_TYPE},
        {"http:\n\tthreads: 2\n", "wick.yaml:2:1", "a tab", ERR_SYNTAX},
        {"data: *x\n", "wick.yaml:1:7", "undefined alias", ERR_SYNTAX},
        {"data: &x [*x]\n", "wick.yaml:1:7", "a single value", ERR_TYPE},
        {"http: &x {threads: 2}\nlog: *x\n", "wick.yaml:1:11", "no setting \"log.threads\"", ERR_UNKNOWN},
        {"data: x\r\nhttp:\r\n  threads: x\r\n", "wick.yaml:3:12", "not a whole number", ERR_TYPE},
        {"\xef\xbb\xbf"
         "data: x\nlgo: {}\n",
         "wick.yaml:2:1", "did you mean \"log\"", ERR_UNKNOWN},
        {"data: x\n# caf\xe9\n", "wick.yaml:2:6", "must be UTF-8", ERR_SYNTAX},
        {"data: x\n\x01\n", "wick.yaml:2:1", "control characters", ERR_SYNTAX},
        {"data: [[[[[[[[[[[[[[[[[", "wick.yaml:1:22", "more than 16 levels", ERR_DEPTH},
        {"data: x\n---\ndata: y\n", "wick.yaml:2:1", "a second document", ERR_SYNTAX},
        {"data: x\n---\n", "wick.yaml:2:1", "a second document", ERR_SYNTAX},
        {"data: x\n--- [\n", "wick.yaml:2:1", "a second document", ERR_SYNTAX},
        {"http: {listen: localhost}", "wick.yaml:1:16", "http.listen: \"localhost\" is no address", ERR_SYNTAX},
        {"http: {listen: \"127.0.0.1:99999\"}", "wick.yaml:1:16", "\"99999\" is no port", ERR_SYNTAX},
        {"http:\n  listen: \":21010\"\n", "wick.yaml:2:11", "\":21010\" is no address", ERR_SYNTAX},
        {"http: {listen: \"127.0.0.1:abc\"}", "wick.yaml:1:16", "\"abc\" is no port", ERR_SYNTAX},
        {"http: {listen: \"127.1:80\"}", "wick.yaml:1:16", "is no address", ERR_SYNTAX},
        {"http: {listen: \"::1:80\"}", "wick.yaml:1:16", "is no address", ERR_SYNTAX},
        {"http: {listen: \"[127.0.0.1]:80\"}", "wick.yaml:1:16", "is no address", ERR_SYNTAX},
        {"http: {listen: \"[fe80::1%nowhere]:80\", public: true}", "wick.yaml:1:16", "is no address", ERR_SYNTAX},
        {"http: {listen: \"example.com:80\"}", "wick.yaml:1:16", "is no address", ERR_SYNTAX},
        {"log: {}\nhttp: {listen: \"0.0.0.0:80\"}", "wick.yaml:2:16", "beyond loopback", ERR_CONFLICT},
        {"http: {listen: \"[::]:80\", public: false}", "wick.yaml:1:16", "beyond loopback", ERR_CONFLICT},
        {"http:\n  certificate: a.pem\n", "wick.yaml:2:16", "http.certificate: http.key is missing", ERR_CONFLICT},
        {"http:\n  key: a.pem\n", "wick.yaml:2:8", "http.key: http.certificate is missing", ERR_CONFLICT},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config config, untouched;
        struct diag diag;
        config_defaults(&untouched);
        char said[1100];
        const enum err err = parse(cases[i].text, &diag, &config);
        diag_print(&diag, said, sizeof said);
        if (err != cases[i].err || strcmp(diag.where, cases[i].where) != 0 || strstr(said, cases[i].what) == NULL)
            fail_msg("%s: %s", cases[i].text, said);
        assert_memory_equal(&config, &untouched, sizeof config);
    }
}

static void test_what_is_taken(void **state) {
    (void)state;
    static const char *const texts[] = {
        "http: {listen: \"localhost:0\"}",
        "http: {listen: \"[::1]:65535\"}",
        "http: {listen: \"0.0.0.0:80\", public: true}",
        "http: {listen: \"127.9.8.7:80\"}",
        "http: {listen: \"[fe80::1%lo]:80\", public: true}",
        "http: {listen: \"0.0.0.0:80\", tokens: [0" ZEROS "]}",
        "http: {certificate: a, key: b}",
        "http:\n#  threads: 2\nlog:\n",
        "checkpoint: {every: 1d, bytes: 22MiB}",
        "retention: {raw: 100y, 1m: forever}",
        "data: \"~\"",
        "data: x\n...\n",
        "%YAML 1.1\n---\ndata: x\n",
        "data: &x y\nhttp: {certificate: *x, key: *x}\n",
        "{data: x, http: {threads: '4'}, bases: []}",
    };
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct config config;
        struct diag diag;
        if (parse(texts[i], &diag, &config) != ERR_OK) fail_msg("%s: %s: %s", texts[i], diag.where, diag.what);
    }
}

/* However long the file's name is, its line is not cut away. */
static void test_place_of_a_long_name(void **state) {
    (void)state;
    char name[3000];
    struct config config;
    struct diag diag = {0};
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    config_defaults(&config);
    assert_int_equal(config_parse(name, SLICE("x: 1"), &diag, &config), ERR_UNKNOWN);
    assert_string_equal(diag.where + strlen(diag.where) - 5, "n:1:1");
}

/* What is set behind the file is checked with the whole; only what the file says has a place in it. */
static void test_command_line(void **state) {
    (void)state;
    struct config config;
    struct diag diag;
    assert_int_equal(parse("http:\n  listen: 127.0.0.1:1\n", &diag, &config), ERR_OK);
    config_where(&config, "http.listen", &diag);
    assert_string_equal(diag.where, "wick.yaml:2:11");
    assert_int_equal(config_set(&config, "http.listen", "0.0.0.0:1", &diag), ERR_OK);
    assert_int_equal(config_check(&config, &diag), ERR_CONFLICT);
    assert_string_equal(diag.where, "");
    assert_int_equal(config_set(&config, "http.listen", "0.0.0.0", &diag), ERR_SYNTAX);
    assert_int_equal(config_set(&config, "data", "", &diag), ERR_MISSING);
    assert_int_equal(config_set(&config, "no.such", "", &diag), ERR_UNKNOWN);
}

static void test_empty_file_is_the_defaults(void **state) {
    (void)state;
    struct config config, defaults;
    struct diag diag;
    config_defaults(&defaults);
    assert_int_equal(parse("", &diag, &config), ERR_OK);
    assert_memory_equal(&config, &defaults, offsetof(struct config, origin));
    assert_int_equal(parse("# nothing\n", &diag, &config), ERR_OK);
}

/* --- any accepted configuration --- */

static uint64_t random_state;

static uint64_t random_below(uint64_t n) {
    random_state = random_state * 6364136223846793005U + 1442695040888963407U;
    return n == 0 ? 0 : (random_state >> 11) % n;
}

/* Of every size, and often the least and the most. */
static int64_t random_number(int64_t min, int64_t max) {
    if (random_below(8) == 0) return random_below(2) == 0 ? min : max;
    const uint64_t span = ((uint64_t)(max - min) >> random_below(63)) + 1;
    return min + (int64_t)random_below(span <= (uint64_t)(max - min) ? span : (uint64_t)(max - min) + 1);
}

static void random_text(char *text, size_t size) {
    static const char *const pieces[] = {"a",
                                         "Z",
                                         "7",
                                         " ",
                                         "\"",
                                         "\\",
                                         "'",
                                         "#",
                                         ": ",
                                         ", ",
                                         "- ",
                                         "{",
                                         "]",
                                         "&x",
                                         "*",
                                         "~",
                                         "\n",
                                         "\t",
                                         "\x7f",
                                         "\xc3\xa4",
                                         "\xe2\x80\xa8",
                                         "\xef\xbb\xbf",
                                         "null",
                                         "/",
                                         "%",
                                         "\x01",
                                         "--",
                                         "\xc2\x85\x20",
                                         "..",
                                         "true",
                                         ":",
                                         "|"};
    size_t used = 0;
    for (uint64_t left = 1 + random_below(12); left > 0; left--) {
        const char *piece = pieces[random_below(sizeof pieces / sizeof *pieces)];
        if (used + strlen(piece) < size) used += (size_t)snprintf(text + used, size - used, "%s", piece);
    }
}

static void random_choice(const char *choices, char *text) {
    size_t size = 0;
    for (const char *at = choices; size == 0 || random_below(2) == 0; at += size + 1) {
        size = strcspn(at, " ");
        snprintf(text, size + 1, "%s", at);
        if (at[size] == '\0') return;
    }
}

static void random_setting(const struct config_entry *e, struct config *config) {
    char *to = (char *)config + e->offset;
    if (e->kind == CONFIG_FLAG)
        *(bool *)to = random_below(2) == 0;
    else if (e->kind != CONFIG_TEXT)
        *(int64_t *)(void *)to = e->forever && random_below(3) == 0 ? INT64_MAX : random_number(e->min, e->max);
    else if (e->choices != NULL)
        random_choice(e->choices, to);
    else
        random_text(to, e->text_size);
}

static void random_lists(struct config *config) {
    config->http_token_count = (uint32_t)random_below(CONFIG_TOKENS_MAX + 1);
    for (uint32_t i = 0; i < config->http_token_count; i++)
        for (unsigned c = 0; c < 64; c++) config->http_tokens[i][c] = "0123456789abcdef"[random_below(16)];
    config->base_count = (uint32_t)random_below(4) * CONFIG_BASES_MAX / 3;
    for (uint32_t i = 0; i < config->base_count; i++) {
        snprintf(config->bases[i].base, sizeof config->bases->base, "b%u", i);
        random_text(config->bases[i].quote, sizeof config->bases->quote);
        random_text(config->bases[i].venue, sizeof config->bases->venue);
    }
    config->source_count = (uint32_t)random_below(CONFIG_SOURCES_MAX + 1);
    for (uint32_t i = 0; i < config->source_count; i++)
        config->sources[i] = (struct config_source){"market", random_number(0, INT64_MAX), random_number(1, 10000),
                                                    random_number(1, 1000000)};
}

static void expect_same(const struct config *a, const struct config *b) {
    for (unsigned i = 0; i < config_table_count; i++) {
        const struct config_entry *e = &config_table[i];
        const char *left = (const char *)a + e->offset, *right = (const char *)b + e->offset;
        if (e->kind == CONFIG_TEXT)
            assert_string_equal(left, right);
        else
            assert_memory_equal(left, right, e->kind == CONFIG_FLAG ? sizeof(bool) : sizeof(int64_t));
    }
    assert_int_equal(a->base_count, b->base_count);
    for (uint32_t i = 0; i < a->base_count; i++) {
        assert_string_equal(a->bases[i].base, b->bases[i].base);
        assert_string_equal(a->bases[i].quote, b->bases[i].quote);
        assert_string_equal(a->bases[i].venue, b->bases[i].venue);
    }
    assert_int_equal(a->source_count, b->source_count);
    assert_memory_equal(a->sources, b->sources, a->source_count * sizeof *a->sources);
    assert_int_equal(a->http_token_count, b->http_token_count);
    assert_memory_equal(a->http_tokens, b->http_tokens, a->http_token_count * sizeof *a->http_tokens);
}

static void test_any_configuration_prints_as_itself(void **state) {
    (void)state;
    static const char *const addresses[] = {"127.0.0.1:0", "[::1]:8787", "localhost:65535", "127.0.0.2:1"};
    static struct config config, again;
    random_state = 7;
    for (unsigned round = 0; round < 300; round++) {
        struct diag diag = {0};
        struct buf first, second;
        memset(&config, 0, sizeof config);
        for (unsigned i = 0; i < config_table_count; i++) random_setting(&config_table[i], &config);
        random_lists(&config);
        memset(config.http_listen, 0, sizeof config.http_listen);
        snprintf(config.http_listen, sizeof config.http_listen, "%s", addresses[random_below(4)]);
        buf_init(&first, 1 << 20);
        buf_init(&second, 1 << 20);
        config_print(&config, &first);
        config_defaults(&again);
        if (config_parse("printed", buf_slice(&first), &diag, &again) != ERR_OK)
            fail_msg("round %u: %s: %s", round, diag.where, diag.what);
        config_print(&again, &second);
        assert_true(slice_equal(buf_slice(&first), buf_slice(&second)));
        expect_same(&config, &again);
        buf_deinit(&first);
        buf_deinit(&second);
    }
}

static void test_any_text_is_printed_so_that_it_reads_the_same(void **state) {
    (void)state;
    static const char *const texts[] = {"a # b",
                                        "x: y",
                                        "a:",
                                        "-",
                                        "- a",
                                        "\"quoted\"",
                                        "{a}",
                                        "[::1]:80",
                                        "a\\b",
                                        "'",
                                        "*a",
                                        "~",
                                        "null",
                                        " a ",
                                        "a\x7f\nb\t",
                                        "\xc2\x85\xe2\x80\xa8",
                                        "\xef\xbb\xbf\xef\xbf\xbf",
                                        "\xd0\xb4\xf0\x9f\x95\xaf",
                                        "\xc2\x80"};
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
        cmocka_unit_test(test_any_configuration_prints_as_itself),
        cmocka_unit_test(test_any_text_is_printed_so_that_it_reads_the_same),
        cmocka_unit_test(test_errors_name_their_line),
        cmocka_unit_test(test_what_is_taken),
        cmocka_unit_test(test_place_of_a_long_name),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_empty_file_is_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
