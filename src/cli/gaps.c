#include "cli/cli.h"

static const struct cli_column columns[] = {
    {"SERIES", "series", false, false},  {"FIRST", "first_id", true, false}, {"LAST", "last_id", true, false},
    {"MISSING", "missing", true, false}, {"AFTER", "after", false, true},    {"BEFORE", "before", false, true},
};

static int run(struct cli *cli) {
    struct buf target;
    buf_init(&target, 16 * 1024);
    buf_put_text(&target, "/v1/gaps");
    if (cli->word_count > 0) cli_put_argument(&target, "series", cli->words[0]);
    cli_put_argument(&target, "from", cli_value(cli, "from"));
    cli_put_argument(&target, "to", cli_value(cli, "to"));
    return cli_show(cli, &target, NULL, columns, sizeof columns / sizeof *columns);
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
    .by_url = true,
    .run = run,
};
