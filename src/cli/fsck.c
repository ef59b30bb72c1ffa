#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "codec/json.h"

struct findings {
    struct cli *cli;
    uint32_t damaged;
    uint32_t count;
};

static const char *const kind_name[] = {"ok", "torn", "rot", "index", "foreign"};

static void put_finding(struct findings *f, const char *kind, const char *place, const char *text, const char *repair) {
    f->count++;
    if (f->cli->format != FORMAT_JSON) {
        cli_print("%-8s %s: %s%s%s\n", kind, place, text, repair[0] ? "; to go on: " : "", repair);
        return;
    }
    struct buf out;
    buf_init(&out, 8192);
    buf_printf(&out, "{\"kind\":\"%s\",\"at\":", kind);
    json_put_string(&out, slice_text(place));
    buf_put_text(&out, ",\"text\":");
    json_put_string(&out, slice_text(text));
    buf_put_text(&out, ",\"repair\":");
    json_put_string(&out, slice_text(repair));
    buf_put_text(&out, "}\n");
    cli_put(out.data, out.size);
    buf_deinit(&out);
}

static enum err report_log(void *context, const struct log_finding *finding) {
    struct findings *f = context;
    char place[700];
    if (finding->kind == LOG_FINDING_OK)
        snprintf(place, sizeof place, "%s/%u", finding->topic, finding->partition);
    else
        snprintf(place, sizeof place, "%s at byte %llu", finding->file[0] ? finding->file : finding->topic,
                 (unsigned long long)finding->position_bytes);
    if (finding->kind == LOG_FINDING_ROT || finding->kind == LOG_FINDING_FOREIGN) f->damaged++;
    char text[sizeof finding->text + 80];
    bool lost = finding->kind == LOG_FINDING_ROT && finding->first_offset >= 0;
    snprintf(text, sizeof text, lost ? "%s; offsets %lld to %lld are lost" : "%s", finding->text,
             (long long)finding->first_offset, (long long)finding->last_offset);
    put_finding(f, kind_name[finding->kind], place, text, finding->repair);
    return ERR_OK;
}

static enum err report_store(void *context, const char *text) {
    struct findings *f = context;
    f->damaged++;
    put_finding(f, "store", "store", text, "wick fsck --rebuild");
    return ERR_OK;
}

static enum err check_store(struct cli *cli, struct findings *f, struct diag *diag) {
    char folder[CONFIG_TEXT_MAX + 8];
    struct store *store = NULL;
    snprintf(folder, sizeof folder, "%s/store", cli->config.data);
    enum err err = store_lmdb_open(cli->sys, folder, (uint64_t)cli->config.store_map_bytes, true, diag, &store);
    if (err == ERR_NOT_FOUND) return ERR_OK;
    if (err == ERR_OK) err = store->ops->check(store, report_store, f);
    if (store != NULL) store_close(&store);
    return err;
}

/* Whoever writes a log makes it where there is none: that is not what was asked for. */
static enum err look(struct cli *cli, struct diag *diag) {
    char folder[CONFIG_TEXT_MAX + 8];
    snprintf(folder, sizeof folder, "%s/log", cli->config.data);
    const struct log_options options = {.sys = cli->sys, .folder = folder, .read_only = true};
    struct log *log = NULL;
    enum err err = log_open(&options, diag, &log);
    if (err == ERR_OK) log_close(&log);
    return err;
}

static int cut(struct cli *cli, const char *what) {
    /* TOPIC/P@OFFSET */
    char topic[LOG_TOPIC_NAME_MAX + 1];
    const char *slash = strrchr(what, '/'), *sign = strrchr(what, '@');
    uint64_t partition, offset;
    if (slash == NULL || sign == NULL || sign < slash || (size_t)(slash - what) >= sizeof topic ||
        !slice_to_u64(slice_of(slash + 1, (size_t)(sign - slash) - 1), &partition) || partition > UINT32_MAX ||
        !slice_to_u64(slice_text(sign + 1), &offset) || offset > INT64_MAX)
        return cli_usage(cli, "--cut wants TOPIC/PARTITION@OFFSET, such as prices/0@1234");
    memcpy(topic, what, (size_t)(slash - what));
    topic[slash - what] = '\0';
    char folder[CONFIG_TEXT_MAX + 8];
    snprintf(folder, sizeof folder, "%s/log", cli->config.data);
    const struct log_options options = {.sys = cli->sys, .folder = folder};
    struct diag diag = {0};
    enum err err = look(cli, &diag);
    if (err == ERR_OK) err = log_cut(&options, topic, (uint32_t)partition, (int64_t)offset, &diag);
    if (err != ERR_OK) return cli_fail(err, &diag);
    cli_print("%s/%llu ends at offset %llu now; what was cut is kept beside the segment as *.cut\n", topic,
              (unsigned long long)partition, (unsigned long long)offset);
    return EXIT_DONE;
}

/* What the log does not hold, a rebuild cannot know. */
static enum err tell_import(void *context, const struct import_row *row) {
    const char *lost = row->format == IMPORT_PRICE_EVENTS
                           ? "latest prices"
                           : "latest prices and the ids of its trades; a file that overlaps it would count them again";
    if (row->format == IMPORT_BINANCE_KLINES) return ERR_OK;
    cli_print("not restored: of import %llu, %s: %s\n", (unsigned long long)row->number, row->path, lost);
    ++*(uint32_t *)context;
    return ERR_OK;
}

static enum err tell_lost(const struct engine *engine) {
    const struct engine_parts *parts = engine_parts(engine);
    struct store_snapshot *snapshot = NULL;
    uint32_t count = 0;
    enum err err = store_snapshot_open(parts->store, &snapshot);
    if (err == ERR_OK) err = import_rows_visit(parts->store, snapshot, tell_import, &count);
    if (snapshot != NULL) store_snapshot_close(parts->store, &snapshot);
    for (uint32_t i = 0; i < engine_prices_count(engine); i++)
        if (log_start_offset(engine_prices(engine, i)) > 0)
            cli_print(
                "not restored: totals of the ledger, of prices/%u before offset %lld: those records have expired\n", i,
                (long long)log_start_offset(engine_prices(engine, i)));
    return err;
}

/* The first damage of each partition that the rebuild came across. */
struct passed_over {
    struct log *log;
    uint32_t count;
};

static enum err tell_passed_over(void *context, const struct log_topic_info *info) {
    struct passed_over *over = context;
    for (uint32_t i = 0; i < info->options.partition_count; i++) {
        struct log_partition *partition;
        struct log_finding finding = {.kind = LOG_FINDING_OK};
        struct diag diag = {0};
        if (log_partition_find(over->log, info->name, i, &partition) != ERR_OK) continue;
        log_partition_damage(partition, &finding);
        if (finding.kind == LOG_FINDING_OK) continue;
        (void)!log_finding_diag(&finding, &diag);
        cli_print("not restored: %s: %s\n", diag.where, diag.what);
        over->count++;
    }
    return ERR_OK;
}

static int rebuild(struct cli *cli) {
    struct diag diag = {0};
    if (cli_server_runs(cli)) {
        diag_set(&diag, ERR_LOCKED, "a wick runs on this folder");
        diag_hint(&diag, "stop it first");
        return cli_fail(ERR_LOCKED, &diag);
    }
    struct engine *engine = NULL;
    enum err err = look(cli, &diag);
    if (err == ERR_OK) err = engine_rebuild(cli->sys, &cli->config, &diag, &engine);
    bool damaged = err == ERR_OK && diag.err != ERR_OK;
    if (damaged) cli_print("not restored: %s\n", diag.what);
    struct passed_over over = {err == ERR_OK ? engine_parts(engine)->log : NULL, 0};
    if (err == ERR_OK) err = log_topic_visit(over.log, tell_passed_over, &over);
    if (err == ERR_OK) err = tell_lost(engine);
    engine_close(&engine);
    if (err != ERR_OK) return cli_fail(err, &diag);
    cli_print("the store is made anew from the log; the old one is in %s/store.old\n", cli->config.data);
    return damaged || over.count > 0 ? EXIT_DAMAGED : EXIT_DONE;
}

static int run(struct cli *cli) {
    if (cli_value(cli, "cut") != NULL && cli_flag(cli, "rebuild"))
        return cli_usage(cli, "fsck does one of --rebuild and --cut at a time");
    if (cli_value(cli, "cut") != NULL) return cut(cli, cli_value(cli, "cut"));
    if (cli_flag(cli, "rebuild")) return rebuild(cli);
    char folder[CONFIG_TEXT_MAX + 8];
    snprintf(folder, sizeof folder, "%s/log", cli->config.data);
    const struct log_options options = {.sys = cli->sys, .folder = folder, .read_only = true};
    struct findings findings = {.cli = cli};
    struct diag diag = {0};
    enum err err = log_fsck(&options, report_log, &findings, &diag);
    if (err == ERR_OK) err = check_store(cli, &findings, &diag);
    if (err != ERR_OK) return cli_fail(err, &diag);
    if (findings.damaged > 0) return EXIT_DAMAGED;
    if (cli->format == FORMAT_TABLE) cli_print("%s: no damage\n", cli->config.data);
    return EXIT_DONE;
}

static const struct cli_option options[] = {
    {"rebuild", NULL, "makes the store anew from the log"},
    {"cut", "TOPIC/P@OFFSET", "gives up what is behind damage; the bytes are kept beside the segment"},
    {NULL, NULL, NULL},
};

const struct cli_command command_fsck = {
    .name = "fsck",
    .words = "",
    .summary = "checks a data folder: log, store, checkpoints",
    .detail =
        "Reads every byte, beside a running wick all but the end that is being written; --rebuild and --cut want the "
        "folder to themselves. Torn ends (a crash in the middle of a write) are repaired by the next start; rot is "
        "not, "
        "and the command to go on is printed. A rebuild lists what the log no longer has, and exits with 4 if that is "
        "for "
        "damage.",
    .options = options,
    .run = run,
};
