#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/civil.h"
#include "cli/cli.h"
#include "codec/json.h"

enum { COLUMNS_MAX = 32, CELL_MAX = 80 };

void cli_put(const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    fflush(stdout);
    while (size > 0) {
        ssize_t n = write(STDOUT_FILENO, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) exit(errno == EPIPE ? EXIT_DONE : EXIT_IO);
        at += n;
        size -= (size_t)n;
    }
}

void cli_print(const char *format, ...) {
    char text[8192];
    va_list list;
    va_start(list, format);
    int size = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    cli_put(text, size < (int)sizeof text ? (size_t)size : sizeof text - 1);
}

void cli_progress(const char *what, double part, const char *detail) {
    enum { WIDTH = 24 };
    if (!isatty(STDERR_FILENO)) return;
    char bar[WIDTH + 1];
    int full = part < 0 ? 0 : part > 1 ? WIDTH : (int)(part * WIDTH);
    for (int i = 0; i < WIDTH; i++) bar[i] = i < full ? '#' : '.';
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r\033[K%s [%s] %3d%% %s", what, bar, (int)(part * 100), detail);
}

void cli_progress_end(void) {
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

/* --- rows --- */

static void cell_of(const struct json_value *row, const struct cli_column *column, bool pretty,
                    char cell[static CELL_MAX]) {
    const struct json_value *value = json_member(row, column->path);
    cell[0] = '\0';
    if (value == NULL || json_type_of(value) == JSON_NULL) return;
    int64_t time_ms;
    switch (json_type_of(value)) {
        case JSON_TRUE: snprintf(cell, CELL_MAX, "%s", pretty ? "yes" : "true"); return;
        case JSON_FALSE: snprintf(cell, CELL_MAX, "%s", pretty ? "no" : "false"); return;
        case JSON_NUMBER:
        case JSON_STRING: break;
        default: snprintf(cell, CELL_MAX, "%u", json_count(value)); return;
    }
    if (pretty && column->time && json_i64(value, &time_ms) == ERR_OK && time_ms >= 0) {
        char text[CIVIL_TEXT_MAX];
        civil_format(time_ms, text);
        snprintf(cell, CELL_MAX, "%s", text);
        return;
    }
    struct slice text = json_text(value);
    snprintf(cell, CELL_MAX, "%.*s", (int)(text.size < CELL_MAX ? text.size : CELL_MAX - 1), (const char *)text.data);
}

static void print_table(const struct json_value *rows, const struct cli_column *columns, uint32_t count) {
    int width[COLUMNS_MAX];
    char cell[CELL_MAX];
    for (uint32_t i = 0; i < count; i++) width[i] = (int)strlen(columns[i].title);
    for (const struct json_value *row = json_first(rows); row != NULL; row = json_next(row))
        for (uint32_t i = 0; i < count; i++) {
            cell_of(row, &columns[i], true, cell);
            if ((int)strlen(cell) > width[i]) width[i] = (int)strlen(cell);
        }
    for (uint32_t i = 0; i < count; i++)
        cli_print("%s%*s", i > 0 ? "  " : "",
                  columns[i].right ? width[i]
                  : i + 1 < count  ? -width[i]
                                   : 0,
                  columns[i].title);
    cli_print("\n");
    struct buf line;
    buf_init(&line, 64 * 1024);
    for (const struct json_value *row = json_first(rows); row != NULL; row = json_next(row)) {
        buf_clear(&line);
        for (uint32_t i = 0; i < count; i++) {
            cell_of(row, &columns[i], true, cell);
            buf_printf(&line, "%s%*s", i > 0 ? "  " : "",
                       columns[i].right ? width[i]
                       : i + 1 < count  ? -width[i]
                                        : 0,
                       cell);
        }
        buf_put_u8(&line, '\n');
        cli_put(line.data, line.size);
    }
    buf_deinit(&line);
}

static void print_csv(const struct json_value *rows, const struct cli_column *columns, uint32_t count) {
    struct buf line;
    char cell[CELL_MAX];
    buf_init(&line, 64 * 1024);
    for (uint32_t i = 0; i < count; i++) buf_printf(&line, "%s%s", i > 0 ? "," : "", columns[i].path);
    buf_put_u8(&line, '\n');
    cli_put(line.data, line.size);
    for (const struct json_value *row = json_first(rows); row != NULL; row = json_next(row)) {
        buf_clear(&line);
        for (uint32_t i = 0; i < count; i++) {
            cell_of(row, &columns[i], false, cell);
            bool quote = strpbrk(cell, ",\"\n") != NULL;
            if (i > 0) buf_put_u8(&line, ',');
            if (quote) buf_put_u8(&line, '"');
            for (const char *c = cell; *c != '\0'; c++) {
                if (*c == '"') buf_put_u8(&line, '"');
                buf_put_u8(&line, (uint8_t)*c);
            }
            if (quote) buf_put_u8(&line, '"');
        }
        buf_put_u8(&line, '\n');
        cli_put(line.data, line.size);
    }
    buf_deinit(&line);
}

enum err cli_print_rows(const struct cli *cli, struct slice json, const char *member, const struct cli_column *columns,
                        uint32_t column_count, struct diag *diag) {
    struct json_parser *parser = NULL;
    const struct json_value *root = NULL;
    enum err err = json_parser_open(NULL, &parser);
    if (err != ERR_OK) return diag_set(diag, err, "no memory for the answer");
    err = json_parse(parser, json, diag, &root);
    const struct json_value *rows = err == ERR_OK && member != NULL ? json_member(root, member) : root;
    if (err == ERR_OK && (rows == NULL || json_type_of(rows) != JSON_ARRAY))
        err = diag_set(diag, ERR_SYNTAX, "the answer is not a list of rows");
    if (err == ERR_OK && cli->format == FORMAT_JSON) {
        for (const struct json_value *row = json_first(rows); row != NULL; row = json_next(row)) {
            struct slice source = json_source(row);
            cli_put(source.data, source.size);
            cli_put("\n", 1);
        }
    } else if (err == ERR_OK && cli->format == FORMAT_CSV) {
        print_csv(rows, columns, column_count);
    } else if (err == ERR_OK) {
        print_table(rows, columns, column_count);
    }
    json_parser_close(&parser);
    return err;
}

int cli_show(struct cli *cli, struct buf *target, const char *member, const struct cli_column *columns,
             uint32_t column_count) {
    struct buf body;
    struct diag diag = {0};
    enum err err = cli_ask(cli, HTTP_GET, cli_target(target), SLICE_NONE, &diag, &body);
    if (err == ERR_OK) err = cli_print_rows(cli, buf_slice(&body), member, columns, column_count, &diag);
    buf_deinit(&body);
    buf_deinit(target);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}
