/* JSON: the conformance suite, number text, strings, limits, and reads past the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "codec/json.h"

/* Parses a copy that ends where an unreadable page begins. */
static enum err parse_guarded(struct json_parser *parser, struct slice text, const struct json_value **ret_root) {
    static uint8_t *pages;
    static size_t page, capacity;
    if (pages == NULL) {
        page = (size_t)sysconf(_SC_PAGESIZE);
        capacity = 1024 * page;
        pages = mmap(NULL, capacity + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(pages != MAP_FAILED);
        assert_int_equal(mprotect(pages + capacity, page, PROT_NONE), 0);
    }
    assert_true(text.size <= capacity);
    uint8_t *at = pages + capacity - text.size;
    if (text.size > 0) memcpy(at, text.data, text.size);
    struct diag diag = {0};
    enum err err = json_parse(parser, slice_of(at, text.size), &diag, ret_root);
    if (err != ERR_OK) assert_true(diag.what[0] != '\0');
    return err;
}

static struct json_parser *open_parser(const struct json_limits *limits) {
    struct json_parser *parser = NULL;
    assert_int_equal(json_parser_open(limits, &parser), ERR_OK);
    return parser;
}

static enum err parse_text(const char *text) {
    struct json_parser *parser = open_parser(NULL);
    const struct json_value *root = NULL;
    enum err err = parse_guarded(parser, slice_text(text), &root);
    json_parser_close(&parser);
    return err;
}

static void test_conformance(void **state) {
    (void)state;
    const char *shared = getenv("WICK_SHARED");
    char path[1024];
    snprintf(path, sizeof path, "%s/data/json-parsing/test_parsing", shared != NULL ? shared : "../shared");
    DIR *folder = opendir(path);
    if (folder == NULL) {
        print_message("SKIPPED json conformance: no folder %s\n", path);
        skip();
    }
    struct json_limits limits = {.duplicate_keys = true};
    struct json_parser *parser = open_parser(&limits);
    int cases = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (strchr("yni", entry->d_name[0]) == NULL || entry->d_name[1] != '_') continue;
        char name[2048];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        FILE *file = fopen(name, "rb");
        assert_non_null(file);
        static uint8_t text[1 << 20];
        size_t size = fread(text, 1, sizeof text, file);
        fclose(file);
        const struct json_value *root = NULL;
        enum err err = parse_guarded(parser, slice_of(text, size), &root);
        if (entry->d_name[0] == 'y' && err != ERR_OK) fail_msg("%s is refused: %s", entry->d_name, err_name(err));
        if (entry->d_name[0] == 'n' && err == ERR_OK) fail_msg("%s is accepted", entry->d_name);
        cases++;
    }
    closedir(folder);
    json_parser_close(&parser);
    assert_true(cases > 300);
}

static void test_numbers_keep_their_text(void **state) {
    (void)state;
    static const char *const numbers[] = {"0",
                                          "-0",
                                          "1.50",
                                          "1E5",
                                          "-1.0e-10",
                                          "9.2E-7",
                                          "1e99999",
                                          "-1e-99999",
                                          "123456789012345678901234567890123",
                                          "184467440737095516160.000",
                                          "18446744073709551615"};
    struct json_parser *parser = open_parser(NULL);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[128];
        snprintf(text, sizeof text, " [ %s , {\"a\" : %s } ]", numbers[i], numbers[i]);
        const struct json_value *root = NULL;
        assert_int_equal(parse_guarded(parser, slice_text(text), &root), ERR_OK);
        assert_int_equal(json_count(root), 2);
        assert_true(slice_equal(json_text(json_first(root)), slice_text(numbers[i])));
        const struct json_value *member = json_member(json_next(json_first(root)), "a");
        assert_non_null(member);
        assert_true(slice_equal(json_text(member), slice_text(numbers[i])));
        assert_true(slice_equal(json_source(member), slice_text(numbers[i])));
    }
    json_parser_close(&parser);
}

static void test_tree(void **state) {
    (void)state;
    struct json_parser *parser = open_parser(NULL);
    const struct json_value *root = NULL;
    const char *text = " {\"a\":[1,[],{}, \"x\\u00e9\\ud83d\\ude00\\n\"] , \"b\\u0062\" : {\"c\": null, \"d\":true}}\n";
    assert_int_equal(parse_guarded(parser, slice_text(text), &root), ERR_OK);
    assert_int_equal(json_type_of(root), JSON_OBJECT);
    assert_int_equal(json_count(root), 2);
    const struct json_value *a = json_member(root, "a");
    assert_int_equal(json_count(a), 4);
    assert_true(slice_equal(json_source(a), SLICE("[1,[],{}, \"x\\u00e9\\ud83d\\ude00\\n\"]")));
    const struct json_value *v = json_first(a);
    int64_t one = 0;
    assert_int_equal(json_i64(v, &one), ERR_OK);
    assert_int_equal(one, 1);
    v = json_next(v);
    assert_null(json_first(v));
    v = json_next(json_next(v));
    assert_true(slice_equal(json_text(v), SLICE("x\xc3\xa9\xf0\x9f\x98\x80\n")));
    assert_null(json_next(v));
    const struct json_value *b = json_next(a);
    assert_true(slice_equal(json_key(b), SLICE("bb")));
    assert_int_equal(json_type_of(json_member(b, "c")), JSON_NULL);
    assert_int_equal(json_type_of(json_member(b, "d")), JSON_TRUE);
    assert_null(json_member(b, "e"));
    assert_null(json_next(b));
    json_parser_close(&parser);
}

static void test_strings(void **state) {
    (void)state;
    assert_int_equal(parse_text("\"\\ud800\""), ERR_UTF8);
    assert_int_equal(parse_text("\"\\udc00\\ud800\""), ERR_UTF8);
    assert_int_equal(parse_text("\"\\ud800\\u0041\""), ERR_UTF8);
    assert_int_equal(parse_text("\"\\ud83d\\ude00\""), ERR_OK);
    assert_int_equal(parse_text("\"\\x\""), ERR_SYNTAX);
    assert_int_equal(parse_text("\"\\u12g4\""), ERR_SYNTAX);
    assert_int_equal(parse_text("\"a\x01\""), ERR_SYNTAX);
    assert_int_equal(parse_text("\"\xff\""), ERR_UTF8);
    assert_int_equal(parse_text("\"\xed\xa0\x80\""), ERR_UTF8);
    assert_int_equal(parse_text("\"abc"), ERR_SYNTAX);
    assert_int_equal(parse_text("\"abc\\\""), ERR_SYNTAX);
    assert_int_equal(parse_text("\"a\"\"b\""), ERR_SYNTAX);
    assert_int_equal(parse_text("[\"a\"1]"), ERR_SYNTAX);
    assert_int_equal(parse_text("[1\"a\"]"), ERR_SYNTAX);
    assert_int_equal(parse_text("\xef\xbb\xbf{}"), ERR_SYNTAX);
}

static void assert_place(const char *text, enum err wanted, const char *place) {
    struct json_parser *parser = open_parser(NULL);
    const struct json_value *root = NULL;
    struct diag diag = {0};
    uint8_t padded[256] = {0};
    memcpy(padded, text, strlen(text));
    assert_int_equal(json_parse(parser, slice_of(padded, strlen(text)), &diag, &root), wanted);
    assert_string_equal(diag.where, place);
    json_parser_close(&parser);
}

static void test_places(void **state) {
    (void)state;
    assert_place("\xff", ERR_UTF8, "byte 0");
    assert_place("{\"\xc3\xa9\":\"a\xff\"}", ERR_UTF8, "byte 8");
    assert_place("[\"\xe5\xb8\x81\xe5\xae\"]", ERR_UTF8, "byte 5");
    assert_place("[\"\\\"\\\\\", 7, \"a\nb\"]", ERR_SYNTAX, "byte 14");
    assert_place("[\n\"\x01\"]", ERR_SYNTAX, "byte 3");
    assert_place("[1,", ERR_SYNTAX, "byte 3");
}

static void test_duplicate_keys(void **state) {
    (void)state;
    assert_int_equal(parse_text("{\"a\":1,\"a\":1}"), ERR_DUPLICATE);
    assert_int_equal(parse_text("{\"a\":1,\"\\u0061\":1}"), ERR_DUPLICATE);
    assert_int_equal(parse_text("{\"a\":1,\"A\":1,\"b\":{\"a\":1}}"), ERR_OK);
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 5000; i++) buf_printf(&text, "%c\"k%d\":%d", i == 0 ? '{' : ',', i, i);
    struct json_parser *parser = open_parser(NULL);
    const struct json_value *root = NULL;
    size_t size = text.size;
    buf_put_text(&text, "}");
    assert_int_equal(parse_guarded(parser, buf_slice(&text), &root), ERR_OK);
    assert_int_equal(json_count(root), 5000);
    text.size = size;
    buf_put_text(&text, ",\"k17\":0}");
    assert_int_equal(parse_guarded(parser, buf_slice(&text), &root), ERR_DUPLICATE);
    json_parser_close(&parser);
    buf_deinit(&text);
}

static void test_limits(void **state) {
    (void)state;
    char text[1024];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    text[128] = '\0';
    assert_int_equal(parse_text(text), ERR_OK);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    text[130] = '\0';
    assert_int_equal(parse_text(text), ERR_DEPTH);
    memset(text, '[', 1023);
    text[1023] = '\0';
    assert_int_equal(parse_text(text), ERR_DEPTH);
    memset(text, '1', JSON_NUMBER_MAX);
    text[JSON_NUMBER_MAX] = '\0';
    assert_int_equal(parse_text(text), ERR_OK);
    text[JSON_NUMBER_MAX] = '1';
    text[JSON_NUMBER_MAX + 1] = '\0';
    assert_int_equal(parse_text(text), ERR_PRECISION);
    struct json_limits limits = {.document_bytes = 4, .depth = 1};
    struct json_parser *parser = open_parser(&limits);
    const struct json_value *root = NULL;
    assert_int_equal(parse_guarded(parser, SLICE("[12]"), &root), ERR_OK);
    assert_int_equal(parse_guarded(parser, SLICE("[123]"), &root), ERR_TOO_LARGE);
    assert_int_equal(parse_guarded(parser, SLICE("[[]]"), &root), ERR_DEPTH);
    json_parser_close(&parser);
    assert_int_equal(parse_text(""), ERR_SYNTAX);
    assert_int_equal(parse_text(" \n "), ERR_SYNTAX);
    assert_int_equal(parse_text("{} {}"), ERR_SYNTAX);
}

static void test_integers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum err err;
        int64_t value;
    } cases[] = {{"12", ERR_OK, 12},
                 {"\"12\"", ERR_OK, 12},
                 {"-9223372036854775808", ERR_OK, INT64_MIN},
                 {"9223372036854775807", ERR_OK, INT64_MAX},
                 {"9223372036854775808", ERR_RANGE, 0},
                 {"1.0", ERR_TYPE, 0},
                 {"1e3", ERR_TYPE, 0},
                 {"\"\"", ERR_TYPE, 0},
                 {"\"-\"", ERR_TYPE, 0},
                 {"\"012\"", ERR_TYPE, 0},
                 {"true", ERR_TYPE, 0}};
    struct json_parser *parser = open_parser(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct json_value *root = NULL;
        int64_t value = 0;
        assert_int_equal(parse_guarded(parser, slice_text(cases[i].text), &root), ERR_OK);
        assert_int_equal(json_i64(root, &value), cases[i].err);
        assert_int_equal(value, cases[i].value);
    }
    json_parser_close(&parser);
}

/* Every prefix of a document is refused or a document itself, and every byte flipped is met without a crash. */
static void test_damage(void **state) {
    (void)state;
    const char *good = "{\"a\":[1,-2.5e+3,\"x\\u00e9\"],\"b\":{\"c\":null,\"d\":[true,false]},\"e\":\"\\\\\\\"\"}";
    struct json_parser *parser = open_parser(NULL);
    const struct json_value *root = NULL;
    for (size_t size = 0; size < strlen(good); size++)
        assert_int_not_equal(parse_guarded(parser, slice_of(good, size), &root), ERR_OK);
    uint8_t text[256];
    for (size_t i = 0; i < strlen(good); i++)
        for (int byte = 0; byte < 256; byte++) {
            memcpy(text, good, strlen(good));
            text[i] = (uint8_t)byte;
            (void)!parse_guarded(parser, slice_of(text, strlen(good)), &root);
        }
    json_parser_close(&parser);
}

static void test_put_string(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    uint8_t bytes[128];
    for (int i = 0; i < 128; i++) bytes[i] = (uint8_t)i;
    json_put_string(&out, slice_of(bytes, sizeof bytes));
    struct json_parser *parser = open_parser(NULL);
    const struct json_value *root = NULL;
    assert_int_equal(parse_guarded(parser, buf_slice(&out), &root), ERR_OK);
    assert_true(slice_equal(json_text(root), slice_of(bytes, sizeof bytes)));
    json_parser_close(&parser);
    buf_deinit(&out);
}

static void put_and_parse(struct slice text, bool same) {
    struct buf out;
    buf_init(&out, 4096);
    json_put_string(&out, text);
    struct json_parser *parser = open_parser(NULL);
    const struct json_value *root = NULL;
    assert_int_equal(parse_guarded(parser, buf_slice(&out), &root), ERR_OK);
    if (same) assert_true(slice_equal(json_text(root), text));
    json_parser_close(&parser);
    buf_deinit(&out);
}

/* What is written is JSON whatever the bytes were, and characters stay what they are. */
static void test_put_any_bytes(void **state) {
    (void)state;
    static const char *const characters[] = {"\x7f",         "\xc2\x80",         "\xdf\xbf",
                                             "\xe0\xa0\x80", "\xed\x9f\xbf",     "\xee\x80\x80",
                                             "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof characters / sizeof *characters; i++) put_and_parse(slice_text(characters[i]), true);
    static const uint8_t odd[] = {0x00, 0x22, 0x5c, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0,
                                  0xc1, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff, 0x41};
    const uint32_t count = sizeof odd;
    for (uint32_t i = 0; i < count * count * count * count; i++) {
        const uint8_t bytes[] = {odd[i % count], odd[i / count % count], odd[i / count / count % count],
                                 odd[i / count / count / count]};
        if (i % 7 == 0) put_and_parse(slice_of(bytes, sizeof bytes), false);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_any_bytes),
        cmocka_unit_test(test_conformance),
        cmocka_unit_test(test_numbers_keep_their_text),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_duplicate_keys),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_put_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
