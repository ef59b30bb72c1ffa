#include "cli/cli.h"

static const struct cli_column columns[] = {
    {"SERIES", "series", false, false},  {"FIRST", "first_id", true, false}, {"LAST", "last_id", true, false},
    {"MISSING", "missing", true, false}, {"AFTER", "after", false, true},    {"BEFORE", "before", false, true},
};

static int run(struct cli *cli) {
    struct buf target, body;
    struct diag diag = {0};
    buf_init(&target, 16 * 1024);
    buf_put_text(&target, "/v1/gaps");
    if (cli->word_count > 0) cli_put_argument(&target, "series", cli->words[0]);
    cli_put_argument(&target, "from", cli_value(cli, "from"));
    cli_put_argument(&target, "to", cli_value(cli, "to"));
    enum err err = cli_ask(cli, HTTP_GET, cli_target(&target), SLICE_NONE, &diag, &body);
    if (err == ERR_OK)
        err = cli_print_rows(cli, buf_slice(&body), NULL, columns, sizeof columns / sizeof *columns, &diag);
    buf_deinit(&body);
    buf_deinit(&target);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static const struct cli_option options[] = {
    {"from", "TIME", "holes that end after it"},
    {"to", "TIME", "holes that begin before it"},
    {NULL, NULL, NULL},
};

const struct cli_command command_gaps = {
    .name = "gaps",
    .words = "[SERIES]",
    .words_max = 1,
    .summary = "the holes in the ids of trades",
    .options = options,
    .run = run,
};
