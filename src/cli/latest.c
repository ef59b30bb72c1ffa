#include "cli/cli.h"

static const struct cli_column columns[] = {
    {"SERIES", "series", false, false},
    {"KIND", "kind", false, false},
    {"PRICE", "price", true, false},
    {"TIME", "time", false, true},
    {"BASE 24H", "base_volume_24h", true, false},
    {"QUOTE 24H", "quote_volume_24h", true, false},
};

static int run(struct cli *cli) {
    struct buf target;
    buf_init(&target, 1024 * 1024);
    buf_put_text(&target, "/v1/latest");
    for (uint32_t i = 0; i < cli->word_count; i++) cli_put_argument(&target, "series", cli->words[i]);
    cli_put_argument(&target, "base", cli_value(cli, "base"));
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
    .run = run,
};
