#include "cli/cli.h"
#include "codec/json.h"

static void print_holes(const struct json_value *holes) {
    for (const struct json_value *hole = holes != NULL ? json_first(holes) : NULL; hole != NULL;
         hole = json_next(hole)) {
        const struct slice first = json_text(json_member(hole, "first_id")),
                           last = json_text(json_member(hole, "last_id"));
        cli_print("missing: ids %.*s to %.*s\n", SLICE_PRINT(first), SLICE_PRINT(last));
    }
}

/* The hash, and how anybody who has the events can compute it. */
static void print_hash(const struct json_value *root) {
    const struct json_value *candle = json_member(root, "candle"), *layout = json_member(root, "layout");
    const struct json_value *hash =
        candle != NULL && json_type_of(candle) == JSON_OBJECT ? json_member(candle, "hash") : NULL;
    if (hash == NULL || json_type_of(hash) != JSON_STRING || layout == NULL) return;
    cli_print("hash %.*s. %.*s\n", SLICE_PRINT(json_text(hash)), SLICE_PRINT(json_text(layout)));
}

static enum err print_text(struct slice answer, struct diag *diag) {
    struct json_parser *parser = NULL;
    const struct json_value *root = NULL;
    enum err err = json_parser_open(NULL, &parser);
    if (err != ERR_OK) return err;
    if ((err = json_parse(parser, answer, diag, &root)) == ERR_OK) {
        const struct json_value *text = json_member(root, "text");
        for (const struct json_value *line = text != NULL ? json_first(text) : NULL; line != NULL;
             line = json_next(line))
            cli_print("%.*s\n", SLICE_PRINT(json_text(line)));
        print_holes(json_member(root, "holes"));
        print_hash(root);
    }
    json_parser_close(&parser);
    return err;
}

static int run(struct cli *cli) {
    struct buf target, body;
    struct diag diag = {0};
    buf_init(&target, 16 * 1024);
    buf_put_text(&target, "/v1/why");
    cli_put_argument(&target, "series", cli->words[0]);
    cli_put_argument(&target, "time", cli->words[1]);
    cli_put_argument(&target, "kind", cli_value(cli, "kind"));
    enum err err = cli_ask(cli, HTTP_GET, cli_target(&target), SLICE_NONE, &diag, &body);
    if (err == ERR_OK && cli->format == FORMAT_TABLE) {
        err = print_text(buf_slice(&body), &diag);
    } else if (err == ERR_OK) {
        cli_put(body.data, body.size);
        cli_put("\n", 1);
    }
    buf_deinit(&body);
    buf_deinit(&target);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static const struct cli_option options[] = {
    {"kind", "trade|price", "which of the pair's two series"},
    {NULL, NULL, NULL},
};

const struct cli_command command_why = {
    .name = "why",
    .words = "SERIES TIME",
    .words_min = 2,
    .words_max = 2,
    .summary = "how one candle came to be: trades used, late, duplicate; holes, revisions, coverage",
    .options = options,
    .by_url = true,
    .run = run,
};
