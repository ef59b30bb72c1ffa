#include "cli/cli.h"

static const struct cli_column columns[] = {
    {"TIME", "open_time", false, true}, {"OPEN", "open", true, false},          {"HIGH", "high", true, false},
    {"LOW", "low", true, false},        {"CLOSE", "close", true, false},        {"VOLUME", "volume", true, false},
    {"TRADES", "trades", true, false},  {"COVERAGE", "coverage", false, false}, {"BASIS", "basis", false, false},
    {"FINAL", "final", false, false},   {"REV", "revision", true, false},
};

static int run(struct cli *cli) {
    static const char *const passed[] = {"interval", "from", "to", "tz", "week-start", "limit", "kind"};
    struct buf target, body;
    struct diag diag = {0};
    buf_init(&target, 16 * 1024);
    buf_put_text(&target, "/v1/candles");
    cli_put_argument(&target, "series", cli->words[0]);
    for (unsigned i = 0; i < sizeof passed / sizeof *passed; i++)
        cli_put_argument(&target, strcmp(passed[i], "week-start") == 0 ? "week_start" : passed[i],
                         cli_value(cli, passed[i]));
    if (cli->format == FORMAT_CSV) cli_put_argument(&target, "format", "csv");
    if (cli->format == FORMAT_JSON) cli_put_argument(&target, "format", "ndjson");
    enum err err = cli_ask(cli, HTTP_GET, cli_target(&target), SLICE_NONE, &diag, &body);
    if (err == ERR_OK && cli->format == FORMAT_TABLE)
        err = cli_print_rows(cli, buf_slice(&body), NULL, columns, sizeof columns / sizeof *columns, &diag);
    else if (err == ERR_OK)
        cli_put(body.data, body.size);
    buf_deinit(&body);
    buf_deinit(&target);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static const struct cli_option options[] = {
    {"interval", "INTERVAL",
     "1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M, or any number of these units "
     "(default 1m)"},
    {"from", "TIME", "milliseconds, RFC 3339, or relative such as -2h; included"},
    {"to", "TIME", "excluded"},
    {"tz", "ZONE", "where days, weeks and months start (default UTC)"},
    {"week-start", "DAY", "1 Monday .. 7 Sunday"},
    {"limit", "N", "at most so many; without --from the newest (default 500)"},
    {"kind", "trade|price", "which of the pair's two series (default: trades, if there are any)"},
    {NULL, NULL, NULL},
};

const struct cli_command command_candles = {
    .name = "candles",
    .words = "SERIES",
    .words_min = 1,
    .words_max = 1,
    .summary = "candles of a series",
    .detail = "A series is venue:BASE/QUOTE in any case, or venue:SYMBOL.",
    .options = options,
    .by_url = true,
    .run = run,
};
