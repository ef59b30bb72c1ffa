#include "engine/verify.h"

#include <stdio.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "codec/json.h"

struct tally {
    struct cli *cli;
    uint64_t counts[VERIFY_COUNT];
};

static enum err print_verdict(void *context, const struct verify_verdict *v) {
    struct tally *tally = context;
    tally->counts[v->check]++;
    if (tally->cli->format == FORMAT_JSON) {
        struct buf out;
        buf_init(&out, 4096);
        buf_printf(&out, "{\"line\":%llu,\"symbol\":", (unsigned long long)v->line);
        json_put_string(&out, slice_text(v->push->symbol));
        buf_printf(&out, ",\"interval\":\"%s\",\"open_time\":%lld,\"check\":\"%s\"", v->push->interval,
                   (long long)v->push->candle.open_time_ms, verify_check_name[v->check]);
        if (v->why[0] != '\0') {
            buf_put_text(&out, ",\"why\":");
            json_put_string(&out, slice_text(v->why));
        }
        buf_put_text(&out, "}\n");
        cli_put(out.data, out.size);
        buf_deinit(&out);
    } else if (v->check == VERIFY_UNEXPLAINED) {
        cli_print("line %llu: %s %s at %lld: %s\n", (unsigned long long)v->line, v->push->symbol, v->push->interval,
                  (long long)v->push->candle.open_time_ms, v->why);
    }
    return ERR_OK;
}

static int run(struct cli *cli) {
    const char *capture = cli_value(cli, "capture");
    if (capture == NULL) return cli_usage(cli, "verify needs --capture FILE");
    struct tally tally = {.cli = cli};
    struct diag diag = {0};
    struct verify_unreadable unreadable;
    struct stat status;
    enum err err = stat(capture, &status) == 0 && S_ISDIR(status.st_mode) ? cli_is_folder(cli, capture, &diag) : ERR_OK;
    if (err == ERR_OK)
        err = verify_capture(cli->sys, capture, cli_value(cli, "venue"), &diag, print_verdict, &tally, &unreadable);
    if (err != ERR_OK) {
        diag_where(&diag, "%s", capture);
        return cli_fail(err, &diag);
    }
    if (cli->format != FORMAT_JSON) {
        for (int i = 0; i < VERIFY_COUNT; i++)
            cli_print("%s%s=%llu", i > 0 ? " " : "", verify_check_name[i], (unsigned long long)tally.counts[i]);
        cli_print("\n");
    }
    if (unreadable.count > 0)
        fprintf(stderr, "wick: %s: %llu line%s cannot be judged; the first is line %llu: %s\n", capture,
                (unsigned long long)unreadable.count, unreadable.count == 1 ? "" : "s",
                (unsigned long long)unreadable.line, unreadable.reason);
    return tally.counts[VERIFY_UNEXPLAINED] > 0 || unreadable.count > 0 ? EXIT_NO : EXIT_DONE;
}

static const struct cli_option options[] = {
    {"capture", "FILE", "a recorded websocket capture with trades and klines"},
    {"venue", "VENUE", "where the capture does not say"},
    {NULL, NULL, NULL},
};

const struct cli_command command_verify = {
    .name = "verify",
    .words = "",
    .summary = "our candles against the venue's own klines; every difference explained or counted",
    .detail = "Exit 1 if any push is unexplained, or any line cannot be judged; 3 if there is no push.",
    .options = options,
    .run = run,
};
