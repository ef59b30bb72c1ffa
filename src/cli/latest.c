#include <stdio.h>

#include "cli/cli.h"
#include "codec/json.h"

static const struct cli_column columns[] = {
    {"SERIES", "series", false, false},
    {"KIND", "kind", false, false},
    {"PRICE", "price", true, false},
    {"TIME", "time", false, true},
    {"BASE 24H", "base_volume_24h", true, false},
    {"QUOTE 24H", "quote_volume_24h", true, false},
};

static void say_missing(struct slice json) {
    struct json_parser *parser = NULL;
    const struct json_value *root = NULL;
    if (json_parser_open(NULL, &parser) != ERR_OK) return;
    const struct json_value *missing =
        json_parse(parser, json, NULL, &root) == ERR_OK ? json_member(root, "missing") : NULL;
    for (const struct json_value *at = missing != NULL ? json_first(missing) : NULL; at != NULL; at = json_next(at))
        fprintf(stderr, "wick: no price of %.*s is known\n", SLICE_PRINT(json_text(at)));
    json_parser_close(&parser);
}

/* By POST: a request line holds only so many names. */
static int show_named(struct cli *cli) {
    struct buf names, body;
    struct diag diag = {0};
    buf_init(&names, 1024 * 1024);
    for (uint32_t i = 0; i < cli->word_count; i++) {
        buf_put_u8(&names, i == 0 ? '[' : ',');
        json_put_string(&names, slice_text(cli->words[i]));
    }
    buf_put_u8(&names, ']');
    enum err err = cli_ask(cli, HTTP_POST, "/v1/latest", buf_slice(&names), &diag, &body);
    if (err == ERR_OK)
        err = cli_print_rows(cli, buf_slice(&body), "latest", columns, sizeof columns / sizeof *columns, &diag);
    if (err == ERR_OK) say_missing(buf_slice(&body));
    buf_deinit(&names);
    buf_deinit(&body);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static int run(struct cli *cli) {
    const char *base = cli_value(cli, "base");
    if (cli->word_count > 0 && base != NULL) return cli_usage(cli, "latest takes series or --base, not both");
    if (cli->word_count > 0) return show_named(cli);
    struct buf target;
    buf_init(&target, 1024);
    buf_put_text(&target, "/v1/latest");
    cli_put_argument(&target, "base", base);
    return cli_show(cli, &target, "latest", columns, sizeof columns / sizeof *columns);
}

static const struct cli_option options[] = {
    {"base", "CURRENCY", "every series of that base currency"},
    {NULL, NULL, NULL},
};

const struct cli_command command_latest = {
    .name = "latest",
    .words = "[SERIES..]",
    .words_max = 1000,
    .summary = "latest prices",
    .options = options,
    .by_url = true,
    .run = run,
};
