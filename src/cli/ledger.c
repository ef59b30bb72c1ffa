#include "cli/cli.h"

static const struct cli_column columns[] = {
    {"TOPIC", "topic", false, false},
    {"PARTITION", "partition", true, false},
    {"PROCESSOR", "processor", false, false},
    {"READ", "read", true, false},
    {"USED", "used", true, false},
    {"LATE", "late", true, false},
    {"DUPLICATE", "duplicate", true, false},
    {"INVALID", "invalid", true, false},
    {"FILTERED", "filtered", true, false},
    {"PENDING", "pending", true, false},
    {"BALANCED", "balanced", false, false},
};

static int run(struct cli *cli) {
    struct buf body;
    struct diag diag = {0};
    enum err err = cli_ask(cli, HTTP_GET, "/v1/ledger", SLICE_NONE, &diag, &body);
    if (err == ERR_OK)
        err = cli_print_rows(cli, buf_slice(&body), "rows", columns, sizeof columns / sizeof *columns, &diag);
    static const char unbalanced[] = "\"balanced\":false";
    bool balanced = err != ERR_OK || memmem(body.data, body.size, unbalanced, sizeof unbalanced - 1) == NULL;
    buf_deinit(&body);
    if (err != ERR_OK) return cli_fail(err, &diag);
    return balanced ? EXIT_DONE : EXIT_NO;
}

static const struct cli_option options[] = {{NULL, NULL, NULL}};

const struct cli_command command_ledger = {
    .name = "ledger",
    .words = "",
    .summary = "where every event went; exit 1 where it does not balance",
    .options = options,
    .by_url = true,
    .run = run,
};
