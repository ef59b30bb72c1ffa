/* Files as lines: every wrapping, pieces of every size, long lines, damage, identity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "codec/input.h"

enum { TEXT_MAX = 64 * 1024 * 1024 };

/* --- wrapping, the other way round --- */

static void put_deflated(struct buf *out, struct slice text, int window) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t bound = deflateBound(&z, text.size) + 64;
    z.next_in = (Bytef *)text.data;
    z.avail_in = (uInt)text.size;
    z.next_out = buf_reserve(out, bound);
    z.avail_out = (uInt)bound;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_commit(out, z.total_out);
    deflateEnd(&z);
}

static void put_gzip(struct buf *out, struct slice text) { put_deflated(out, text, 16 + MAX_WBITS); }

static void put_zstd(struct buf *out, struct slice text) {
    size_t bound = ZSTD_compressBound(text.size);
    size_t size = ZSTD_compress(buf_reserve(out, bound), bound, text.data, text.size, 1);
    assert_false(ZSTD_isError(size));
    buf_commit(out, size);
}

enum zip_kind { ZIP_DEFLATED, ZIP_STORED, ZIP_STREAMED, ZIP_STREAMED_WITHOUT_MARK, ZIP_64 };

static void put_zip_entry(struct buf *out, const char *name, struct slice text, enum zip_kind kind) {
    struct buf packed;
    buf_init(&packed, TEXT_MAX);
    bool streamed = kind == ZIP_STREAMED || kind == ZIP_STREAMED_WITHOUT_MARK;
    if (kind == ZIP_STORED)
        buf_put(&packed, text);
    else
        put_deflated(&packed, text, -MAX_WBITS);
    uint32_t crc = (uint32_t)crc32(0, text.data, (uInt)text.size);
    buf_put_le32(out, 0x04034b50);
    buf_put_le16(out, 20);
    buf_put_le16(out, streamed ? 8 : 0);
    buf_put_le16(out, kind == ZIP_STORED ? 0 : 8);
    buf_put_le32(out, 0);
    buf_put_le32(out, streamed ? 0 : crc);
    buf_put_le32(out, streamed ? 0 : kind == ZIP_64 ? UINT32_MAX : (uint32_t)packed.size);
    buf_put_le32(out, streamed ? 0 : kind == ZIP_64 ? UINT32_MAX : (uint32_t)text.size);
    buf_put_le16(out, (uint16_t)strlen(name));
    buf_put_le16(out, kind == ZIP_64 ? 20 : 0);
    buf_put_text(out, name);
    if (kind == ZIP_64) {
        buf_put_le16(out, 1);
        buf_put_le16(out, 16);
        buf_put_le64(out, text.size);
        buf_put_le64(out, packed.size);
    }
    buf_put(out, buf_slice(&packed));
    if (kind == ZIP_STREAMED) buf_put_le32(out, 0x08074b50);
    if (streamed) {
        buf_put_le32(out, crc);
        buf_put_le32(out, (uint32_t)packed.size);
        buf_put_le32(out, (uint32_t)text.size);
    }
    buf_deinit(&packed);
}

static void put_zip_end(struct buf *out) {
    buf_put_le32(out, 0x02014b50);
    for (int i = 0; i < 60; i++) buf_put_u8(out, 0);
}

/* --- reading --- */

static enum err read_all(struct input *input, struct buf *out, uint32_t *ret_calls) {
    for (uint32_t calls = 0;; calls++) {
        struct slice lines = SLICE_NONE;
        struct diag diag = {0};
        enum err err = input_lines(input, &diag, &lines);
        if (err != ERR_OK) {
            if (err != ERR_END) assert_true(diag.what[0] != '\0');
            if (ret_calls != NULL) *ret_calls = calls;
            return err;
        }
        assert_true(lines.size > 0);
        volatile uint8_t sum = 0; /* read for a sanitizer to see */
        for (size_t i = 0; i < INPUT_PADDING_BYTES; i++) sum = (uint8_t)(sum + lines.data[lines.size + i]);
        (void)sum;
        buf_put(out, lines);
    }
}

static enum err read_memory(struct slice stored, struct buf *out) {
    struct input *input = NULL;
    buf_clear(out);
    enum err err = input_open_memory(stored, NULL, &input);
    if (err != ERR_OK) return err;
    err = read_all(input, out, NULL);
    input_close(&input);
    return err;
}

static void put_lines(struct buf *out, size_t size) {
    for (uint32_t i = 0; out->size < size; i++) buf_printf(out, "%u,%u,some text that repeats\n", i, i * 2654435761u);
}

static void assert_reads(struct slice stored, struct slice text, enum input_wrapping wrapping) {
    struct buf out;
    buf_init(&out, TEXT_MAX);
    struct input *input = NULL;
    assert_int_equal(input_open_memory(stored, NULL, &input), ERR_OK);
    assert_int_equal(input_wrapping_of(input), wrapping);
    assert_int_equal(read_all(input, &out, NULL), ERR_END);
    assert_true(slice_equal(buf_slice(&out), text));
    uint8_t identity[16];
    input_identity(input, identity);
    XXH128_canonical_t expected;
    XXH128_canonicalFromHash(&expected, XXH3_128bits(text.data, text.size));
    assert_memory_equal(identity, expected.digest, 16);
    struct input_progress progress;
    input_progress(input, &progress);
    assert_int_equal(progress.plain_bytes, text.size);
    assert_true(progress.read_bytes <= stored.size);
    assert_int_equal(progress.total_bytes, stored.size);
    struct slice none;
    assert_int_equal(input_lines(input, NULL, &none), ERR_END);
    input_close(&input);
    buf_deinit(&out);
}

static void test_every_wrapping(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 131071, 131072, 131073, 262144, 262145, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf text, stored;
        buf_init(&text, TEXT_MAX);
        buf_init(&stored, TEXT_MAX);
        put_lines(&text, sizes[i]);
        for (int cut = 0; cut < 2; cut++) { /* with and without a newline at the end */
            if (cut == 1 && text.size > 0) text.size--;
            struct slice t = buf_slice(&text);
            assert_reads(t, t, INPUT_PLAIN);
            put_gzip(&stored, t);
            assert_reads(buf_slice(&stored), t, INPUT_GZIP);
            buf_clear(&stored);
            put_zstd(&stored, t);
            assert_reads(buf_slice(&stored), t, INPUT_ZSTD);
            for (int kind = ZIP_DEFLATED; kind <= ZIP_64; kind++) {
                buf_clear(&stored);
                put_zip_entry(&stored, "a.csv", t, (enum zip_kind)kind);
                put_zip_end(&stored);
                assert_reads(buf_slice(&stored), t, INPUT_ZIP);
            }
            buf_clear(&stored);
        }
        buf_deinit(&text);
        buf_deinit(&stored);
    }
}

static void test_several_members(void **state) {
    (void)state;
    struct buf text, stored;
    buf_init(&text, TEXT_MAX);
    buf_init(&stored, TEXT_MAX);
    put_lines(&text, 1000000);
    struct slice t = buf_slice(&text);
    size_t cut = 333333;
    put_gzip(&stored, slice_of(t.data, cut));
    put_gzip(&stored, SLICE_NONE);
    put_gzip(&stored, slice_of(t.data + cut, t.size - cut));
    for (int i = 0; i < 1000; i++) buf_put_u8(&stored, 0);
    assert_reads(buf_slice(&stored), t, INPUT_GZIP);
    buf_clear(&stored);
    put_zstd(&stored, slice_of(t.data, cut));
    buf_put_le32(&stored, 0x184D2A50);
    buf_put_le32(&stored, 3);
    buf_put_text(&stored, "abc");
    put_zstd(&stored, slice_of(t.data + cut, t.size - cut));
    assert_reads(buf_slice(&stored), t, INPUT_ZSTD);
    buf_clear(&stored);
    put_zip_entry(&stored, "folder/", SLICE_NONE, ZIP_STORED);
    put_zip_entry(&stored, "folder/a.csv", t, ZIP_DEFLATED);
    put_zip_end(&stored);
    assert_reads(buf_slice(&stored), t, INPUT_ZIP);
    buf_deinit(&text);
    buf_deinit(&stored);
}

/* Cut anywhere, what was whole before comes out, then ERR_CORRUPT; a flipped byte never passes unseen. */
static void test_damage(void **state) {
    (void)state;
    struct buf text, stored, out;
    buf_init(&text, TEXT_MAX);
    buf_init(&stored, TEXT_MAX);
    buf_init(&out, TEXT_MAX);
    put_lines(&text, 2000);
    struct slice t = buf_slice(&text);
    for (int wrapping = 0; wrapping < 4; wrapping++) {
        buf_clear(&stored);
        if (wrapping == 0) put_gzip(&stored, t);
        if (wrapping == 1) put_zip_entry(&stored, "a", t, ZIP_DEFLATED);
        if (wrapping == 2) put_zip_entry(&stored, "a", t, ZIP_STREAMED);
        if (wrapping == 3) put_zip_entry(&stored, "a", t, ZIP_STORED);
        size_t data_end = stored.size;
        if (wrapping > 0) put_zip_end(&stored);
        for (size_t size = 4; size < data_end; size++) {
            assert_int_equal(read_memory(slice_of(stored.data, size), &out), ERR_CORRUPT);
            assert_true(out.size <= t.size && memcmp(out.data ? out.data : t.data, t.data, out.size) == 0);
        }
        for (size_t at = wrapping == 0 ? 10 : 40; at < data_end; at++) {
            stored.data[at] ^= 0x11;
            enum err err = read_memory(buf_slice(&stored), &out);
            if (err != ERR_CORRUPT) assert_true(slice_equal(buf_slice(&out), t));
            stored.data[at] ^= 0x11;
        }
    }
    buf_clear(&stored);
    put_zstd(&stored, t);
    for (size_t size = 4; size < stored.size; size++)
        assert_int_equal(read_memory(slice_of(stored.data, size), &out), ERR_CORRUPT);
    buf_clear(&stored);
    put_gzip(&stored, t);
    buf_put_text(&stored, "rubbish");
    assert_int_equal(read_memory(buf_slice(&stored), &out), ERR_CORRUPT);
    assert_true(slice_equal(buf_slice(&out), t));
    buf_clear(&stored);
    put_zip_entry(&stored, "a", t, ZIP_DEFLATED);
    put_zip_entry(&stored, "b", t, ZIP_DEFLATED);
    put_zip_end(&stored);
    assert_int_equal(read_memory(buf_slice(&stored), &out), ERR_SYNTAX);
    buf_clear(&stored);
    buf_put_text(&stored, "PK\5\6");
    for (int i = 0; i < 18; i++) buf_put_u8(&stored, 0);
    assert_int_equal(read_memory(buf_slice(&stored), &out), ERR_CORRUPT);
    buf_deinit(&text);
    buf_deinit(&stored);
    buf_deinit(&out);
}

static void test_long_lines(void **state) {
    (void)state;
    struct buf text, out;
    buf_init(&text, TEXT_MAX);
    buf_init(&out, TEXT_MAX);
    buf_put_text(&text, "first\n");
    size_t size = INPUT_LINE_MAX + 400000;
    memset(buf_reserve(&text, size), 'x', size);
    buf_commit(&text, size);
    buf_put_text(&text, "\nlast\n");
    struct input *input = NULL;
    assert_int_equal(input_open_memory(buf_slice(&text), NULL, &input), ERR_OK);
    assert_int_equal(read_all(input, &out, NULL), ERR_TOO_LARGE);
    assert_true(slice_equal(buf_slice(&out), SLICE("first\n")));
    assert_int_equal(read_all(input, &out, NULL), ERR_END);
    assert_true(slice_equal(buf_slice(&out), SLICE("first\nlast\n")));
    input_close(&input);
    text.data[6 + 5000000] = '\n'; /* now it is two lines that fit */
    buf_clear(&out);
    assert_int_equal(read_memory(buf_slice(&text), &out), ERR_END);
    assert_true(slice_equal(buf_slice(&out), buf_slice(&text)));
    buf_deinit(&text);
    buf_deinit(&out);
}

static void test_bytes_and_peek(void **state) {
    (void)state;
    struct input *input = NULL;
    struct slice bytes = SLICE_NONE;
    assert_int_equal(input_open_memory(SLICE("a\nb\nc\nd\n12345"), NULL, &input), ERR_OK);
    assert_true(slice_equal(slice_of(input_peek(input).data, 2), SLICE("a\n")));
    assert_int_equal(input_bytes(input, 3, NULL, &bytes), ERR_OK);
    assert_true(slice_equal(bytes, SLICE("a\nb")));
    assert_int_equal(input_bytes(input, 5, NULL, &bytes), ERR_OK);
    assert_true(slice_equal(bytes, SLICE("\nc\nd\n")));
    assert_int_equal(input_bytes(input, 6, NULL, &bytes), ERR_CORRUPT);
    assert_int_equal(input_bytes(input, 5, NULL, &bytes), ERR_OK);
    assert_int_equal(input_bytes(input, 1, NULL, &bytes), ERR_END);
    input_close(&input);
}

/* A mark is passed over where that is asked for, counts in the identity, and stands at the beginning only. */
static void test_byte_order_marks(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"\xEF\xBB\xBF"
         "a\nb",
         "a\nb"},
        {"\xEF\xBB\xBF", ""},
        {"\xEF\xBB\xBF\xEF\xBB\xBF\n", "\xEF\xBB\xBF\n"},
        {"\xEF\xBB", "\xEF\xBB"},
        {"a\n\xEF\xBB\xBF", "a\n\xEF\xBB\xBF"},
        {"", ""},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct buf stored, out;
        struct input *input = NULL;
        const struct slice text = slice_text(cases[i / 2][0]);
        uint8_t identity[16];
        buf_init(&stored, TEXT_MAX);
        buf_init(&out, TEXT_MAX);
        i % 2 == 0 ? buf_put(&stored, text) : put_gzip(&stored, text);
        assert_int_equal(input_open_memory(buf_slice(&stored), NULL, &input), ERR_OK);
        if (i % 4 < 2) (void)input_peek(input);
        input_skip_mark(input);
        assert_int_equal(read_all(input, &out, NULL), ERR_END);
        assert_int_equal(input_stopped(input, NULL), ERR_END);
        assert_true(slice_equal(buf_slice(&out), slice_text(cases[i / 2][1])));
        input_identity(input, identity);
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits(text.data, text.size));
        assert_memory_equal(identity, canonical.digest, 16);
        input_close(&input);
        buf_deinit(&stored);
        buf_deinit(&out);
    }
}

/* --- files --- */

static void write_file(const char *path, struct slice text) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text.data, 1, text.size, file), text.size);
    assert_int_equal(fclose(file), 0);
}

static void test_files(void **state) {
    (void)state;
    char path[] = "/tmp/wick-input-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct buf text, out;
    buf_init(&text, TEXT_MAX);
    buf_init(&out, TEXT_MAX);
    put_lines(&text, 1000000);
    write_file(path, buf_slice(&text));
    struct input *input = NULL;
    struct diag diag = {0};
    assert_int_equal(input_open(sys_real(), path, &diag, &input), ERR_OK);
    assert_int_equal(read_all(input, &out, NULL), ERR_END);
    assert_true(slice_equal(buf_slice(&out), buf_slice(&text)));
    input_close(&input);

    /* It grows while it is read: what is there when the end is met is read. */
    buf_clear(&out);
    assert_int_equal(input_open(sys_real(), path, &diag, &input), ERR_OK);
    struct slice lines = SLICE_NONE;
    assert_int_equal(input_lines(input, &diag, &lines), ERR_OK);
    buf_put(&out, lines);
    buf_put_text(&text, "one line more\n");
    write_file(path, buf_slice(&text));
    assert_int_equal(read_all(input, &out, NULL), ERR_END);
    assert_true(slice_equal(buf_slice(&out), buf_slice(&text)));
    input_close(&input);

    /* It is cut while it is read. */
    assert_int_equal(input_open(sys_real(), path, &diag, &input), ERR_OK);
    assert_int_equal(input_lines(input, &diag, &lines), ERR_OK);
    assert_int_equal(truncate(path, 300000), 0);
    assert_int_equal(read_all(input, &out, NULL), ERR_IO);
    input_close(&input);

    /* It vanishes while it is read, and before. */
    assert_int_equal(input_open(sys_real(), path, &diag, &input), ERR_OK);
    assert_int_equal(unlink(path), 0);
    buf_clear(&out);
    assert_int_equal(read_all(input, &out, NULL), ERR_END);
    assert_int_equal(out.size, 300000);
    input_close(&input);
    assert_int_equal(input_open(sys_real(), path, &diag, &input), ERR_NOT_FOUND);
    assert_non_null(strstr(diag.where, path));
    buf_deinit(&text);
    buf_deinit(&out);
}

static void test_standard_input(void **state) {
    (void)state;
    int ends[2], saved = dup(STDIN_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    struct buf stored, out;
    buf_init(&stored, TEXT_MAX);
    buf_init(&out, TEXT_MAX);
    put_gzip(&stored, SLICE("a\nb\nc"));
    assert_int_equal(write(ends[1], stored.data, stored.size), stored.size);
    close(ends[1]);
    struct input *input = NULL;
    assert_int_equal(input_open(sys_real(), "-", NULL, &input), ERR_OK);
    assert_int_equal(read_all(input, &out, NULL), ERR_END);
    assert_true(slice_equal(buf_slice(&out), SLICE("a\nb\nc")));
    input_close(&input);
    dup2(saved, STDIN_FILENO);
    close(saved);
    close(ends[0]);
    buf_deinit(&stored);
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_wrapping), cmocka_unit_test(test_several_members),  cmocka_unit_test(test_damage),
        cmocka_unit_test(test_long_lines),     cmocka_unit_test(test_bytes_and_peek),   cmocka_unit_test(test_files),
        cmocka_unit_test(test_standard_input), cmocka_unit_test(test_byte_order_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
