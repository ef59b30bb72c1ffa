#include "engine/import.h"

#include <stdio.h>

#include "cli/cli.h"

static void show_progress(void *context, const struct input_progress *p) {
    char detail[96];
    double part = p->total_bytes > 0 ? (double)p->read_bytes / (double)p->total_bytes : 0;
    snprintf(detail, sizeof detail, "%llu lines, %.0f MiB", (unsigned long long)p->lines,
             (double)p->plain_bytes / 1048576);
    cli_progress(context, part, detail);
}

static bool parse_options(struct cli *cli, struct import_options *o) {
    const char *as = cli_value(cli, "as"), *unit = cli_value(cli, "time-unit");
    *o = (struct import_options){
        .venue = cli_value(cli, "venue"),
        .series = cli_value(cli, "series"),
        .columns = cli_value(cli, "columns"),
        .interval = cli_value(cli, "interval"),
    };
    if (as != NULL) {
        int format = IMPORT_GUESS + 1;
        while (format < IMPORT_FORMAT_COUNT && strcmp(import_format_name[format], as) != 0) format++;
        if (format == IMPORT_FORMAT_COUNT) {
            cli_usage(cli,
                      "--as: \"%s\" is no format; binance-capture, binance-stream, binance-aggtrades, "
                      "binance-trades, binance-klines, huobi-frames, price-events, csv are",
                      as);
            return false;
        }
        o->format = (enum import_format)format;
    }
    if (unit != NULL) {
        if (strcmp(unit, "s") != 0 && strcmp(unit, "ms") != 0 && strcmp(unit, "us") != 0 && strcmp(unit, "ns") != 0) {
            cli_usage(cli, "--time-unit: \"%s\" is none of s, ms, us, ns", unit);
            return false;
        }
        o->time_unit = unit[0];
    }
    if (o->columns != NULL && o->format == IMPORT_GUESS) o->format = IMPORT_CSV;
    return true;
}

static void print_result(const struct cli *cli, const struct import_result *r) {
    const struct ledger_row *l = &r->row.ledger;
    if (cli->format == FORMAT_JSON) {
        struct buf out;
        buf_init(&out, 64 * 1024);
        buf_put_text(&out, "{\"file\":");
        json_put_string(&out, slice_text(r->row.path));
        buf_printf(&out,
                   ",\"format\":\"%s\",\"import\":%llu,\"repeated\":%s,\"read\":%llu,\"used\":%llu,\"late\":%llu,"
                   "\"duplicate\":%llu,\"invalid\":%llu,\"filtered\":%llu,\"pending\":%llu,\"skipped\":%llu,"
                   "\"from\":%lld,\"to\":%lld}\n",
                   r->format, (unsigned long long)r->row.number, r->repeated ? "true" : "false",
                   (unsigned long long)l->read, (unsigned long long)l->used, (unsigned long long)l->late,
                   (unsigned long long)l->duplicate, (unsigned long long)l->invalid, (unsigned long long)l->filtered,
                   (unsigned long long)l->pending, (unsigned long long)r->skipped, (long long)r->row.from_ms,
                   (long long)r->row.to_ms);
        cli_put(out.data, out.size);
        buf_deinit(&out);
        return;
    }
    cli_print("%s: %s, %s%llu read, %llu used, %llu late, %llu duplicate, %llu invalid, %llu filtered\n", r->row.path,
              r->format, r->repeated ? "imported before, nothing changed: " : "", (unsigned long long)l->read,
              (unsigned long long)l->used, (unsigned long long)l->late, (unsigned long long)l->duplicate,
              (unsigned long long)l->invalid, (unsigned long long)l->filtered);
}

static int run(struct cli *cli) {
    struct import_request request = {.copy = cli_flag(cli, "copy"), .progress = show_progress};
    if (!parse_options(cli, &request.options)) return EXIT_USAGE;
    struct diag diag = {0};
    struct engine *engine = NULL;
    enum err err = engine_open(cli->sys, &cli->config, ENGINE_WORK, &diag, &engine);
    if (err == ERR_LOCKED) diag_hint(&diag, "stop the running wick, import, and start it again");
    for (uint32_t i = 0; err == ERR_OK && i < cli->word_count; i++) {
        struct import_result result;
        request.path = cli->words[i];
        request.context = (void *)(uintptr_t)cli->words[i];
        err = import_run(engine, &request, &diag, &result);
        cli_progress_end();
        if (err == ERR_OK)
            print_result(cli, &result);
        else
            diag_where(&diag, "%s", cli->words[i]);
    }
    engine_close(&engine);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static const struct cli_option options[] = {
    {"as", "FORMAT",
     "binance-capture, binance-stream, binance-aggtrades, binance-trades, binance-klines, huobi-frames, "
     "price-events, csv (default: guessed)"},
    {"venue", "VENUE", "where the file does not say (default: binance)"},
    {"series", "VENUE:BASE/QUOTE", "of a CSV file whose name does not say"},
    {"columns", "LIST", "of csv: time,price,quantity,id,side and - for those to pass over"},
    {"time-unit", "s|ms|us|ns", "of csv (default: told from the first time)"},
    {"interval", "INTERVAL", "of binance-klines, where the file's name does not say"},
    {"copy", NULL, "every message into the venue's topic, instead of the file by reference"},
    {NULL, NULL, NULL},
};

const struct cli_command command_import = {
    .name = "import",
    .words = "FILE..",
    .words_min = 1,
    .words_max = CLI_WORDS_MAX,
    .summary = "files into topics and candles: trades, klines, price events, recorded captures",
    .detail =
        "Compressed files (gzip, zstd, zip) are read as they are; \"-\" is standard input. A file shows whole or not "
        "at "
        "all, and the same content again changes nothing. What is refused is kept in topic imports.invalid.",
    .options = options,
    .run = run,
};
