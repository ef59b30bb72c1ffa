#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/page.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "venue/venue.h"

static bool configure(struct cli *cli) {
    if (cli_flag(cli, "listen") && cli_set(cli, &cli->config, "http.listen", "--listen") != EXIT_DONE) return false;
    if (cli_flag(cli, "demo") && cli->config.source_count == 0) {
        cli->config.sources[0] = (struct config_source){.generator = "market", .seed = 7, .series = 48, .rate = 60};
        cli->config.source_count = 1;
    }
    return true;
}

/* Blocks SIGINT and SIGTERM before any thread is there, so that only sigwait sees them. */
static void block_signals(sigset_t *signals) {
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
}

static void end_process(void *context) {
    (void)context;
    kill(getpid(), SIGTERM);
}

/* What is open for reading only, because bytes that were on disk have changed. */
static enum err say_damage(void *context, const struct log_topic_info *info) {
    for (uint32_t i = 0; i < info->options.partition_count; i++) {
        struct log_partition *partition;
        struct log_finding finding = {.kind = LOG_FINDING_OK};
        struct diag diag = {0};
        if (log_partition_find(context, info->name, i, &partition) != ERR_OK) continue;
        log_partition_damage(partition, &finding);
        if (finding.kind != LOG_FINDING_OK) cli_fail(log_finding_diag(&finding, &diag), &diag);
    }
    return ERR_OK;
}

static enum err say_foreign(void *context, const struct log_topic_info *info) {
    (void)context;
    if (engine_is_foreign_topic(info->name))
        fprintf(stderr, "wick: topic %s is left alone: no decoder reads it; the venues known are " VENUES_KNOWN "\n",
                info->name);
    return ERR_OK;
}

/* SIGHUP: tokens, certificate and key, from the configuration and its files as they are now. */
static void renew_secrets(struct cli *cli, struct engine *engine) {
    struct diag diag = {0};
    struct config *config = malloc(sizeof *config);
    if (config == NULL) return;
    enum err err = cli_read_config(cli, config, &diag);
    if (err == ERR_OK) err = engine_renew_secrets(engine, config, &diag);
    if (err == ERR_OK)
        fprintf(stderr, "wick: tokens and certificate are renewed\n");
    else
        cli_fail(err, &diag);
    free(config);
}

/* The soft limit is for programs that use select(2). */
static void take_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)!setrlimit(RLIMIT_NOFILE, &limit);
}

static int serve(struct cli *cli) {
    sigset_t signals;
    block_signals(&signals);
    take_descriptors();
    struct diag diag = {0};
    struct engine *engine = NULL;
    enum err err = engine_open(cli->sys, &cli->config, ENGINE_SERVE, &diag, &engine);
    if (err == ERR_OK) engine_on_failure(engine, end_process, NULL);
    if (err == ERR_OK) err = engine_start(engine, &diag);
    if (err != ERR_OK) {
        engine_close(&engine);
        return cli_fail(err, &diag);
    }
    const char *scheme = cli->config.http_certificate[0] != '\0' ? "https" : "http";
    fprintf(stderr, "wick: data in %s, %s at %s://%s/\n", cli->config.data,
            page_asset_count > 0 ? "page and API" : "API", scheme, engine_address(engine));
    if (page_asset_count == 0)
        fprintf(stderr,
                "wick: BUILT WITHOUT THE PAGE: npm or node >= 18 was not found, or it was not wanted; install them "
                "and build again with -Dpage=enabled\n");
    (void)!log_topic_visit(engine_parts(engine)->log, say_damage, engine_parts(engine)->log);
    (void)!log_topic_visit(engine_parts(engine)->log, say_foreign, NULL);
    if (cli->config.source_count > 0) fprintf(stderr, "wick: the market shown is generated\n");
    int signal_number = 0;
    for (;;) {
        sigwait(&signals, &signal_number);
        if (signal_number != SIGHUP) break;
        renew_secrets(cli, engine);
    }
    enum err failure = engine_failure(engine, &diag);
    if (failure != ERR_OK) {
        diag_where(&diag, "%s", cli->config.data);
        diag_hint(&diag, "nothing unsynced was acknowledged; %s, then start again",
                  failure == ERR_NO_MEMORY ? "give it more memory" : "look at the disk");
    }
    fprintf(stderr, "wick: stopping\n");
    engine_close(&engine);
    return failure == ERR_OK ? EXIT_DONE : cli_fail(failure, &diag);
}

static int run(struct cli *cli) {
    if (!configure(cli)) return EXIT_USAGE;
    const struct slice data = slice_text(cli->config.data);
    if (cli_flag(cli, "print-config") && utf8_valid_bytes(data) < data.size)
        return cli_usage(cli, "--data: this is not UTF-8, so no configuration can hold it");
    struct buf text;
    buf_init(&text, 1024 * 1024);
    bool print = cli_flag(cli, "print-config") || cli_flag(cli, "config-reference");
    if (cli_flag(cli, "print-config")) config_print(&cli->config, &text);
    if (cli_flag(cli, "config-reference")) config_reference(&text);
    if (print) cli_put(text.data, text.size);
    buf_deinit(&text);
    return print ? EXIT_DONE : serve(cli);
}

static const struct cli_option options[] = {
    {"listen", "ADDRESS:PORT", "instead of the configuration's; port 0 picks one"},
    {"demo", NULL, "with a generated live market"},
    {"print-config", NULL, "writes the whole configuration with defaults and comments, and ends"},
    {"config-reference", NULL, "writes the reference page (docs/config.md), and ends"},
    {NULL, NULL, NULL},
};

const struct cli_command command_run = {
    .name = "run",
    .words = "",
    .summary = "everything that the configuration names: sources, candles, API, page",
    .detail =
        "Stops cleanly on SIGINT and SIGTERM; on SIGHUP takes tokens, certificate and key anew. One process writes a "
        "data folder at a time.",
    .options = options,
    .run = run,
};
