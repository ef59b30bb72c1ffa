#include "cli/cli.h"

static const struct cli_column columns[] = {
    {"SERIES", "series", false, false}, {"KIND", "kind", false, false},        {"LAST SEEN", "last_seen", false, true},
    {"PRICE", "price", true, false},    {"DECIMALS", "decimals", true, false},
};

static int run(struct cli *cli) {
    struct buf target;
    buf_init(&target, 16 * 1024);
    buf_put_text(&target, "/v1/series");
    cli_put_argument(&target, "venue", cli_value(cli, "venue"));
    cli_put_argument(&target, "base", cli_value(cli, "base"));
    return cli_show(cli, &target, NULL, columns, sizeof columns / sizeof *columns);
}

static const struct cli_option options[] = {
    {"venue", "VENUE", "of that venue only"},
    {"base", "CURRENCY", "of that base currency only"},
    {NULL, NULL, NULL},
};

const struct cli_command command_series = {
    .name = "series",
    .words = "",
    .summary = "venues, pairs, last seen",
    .options = options,
    .by_url = true,
    .run = run,
};
