#include "engine/import.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "codec/json.h"

enum { LOOK_FIRST_MS = 10, LOOK_MS = 200, COPY_BYTES = 256 * 1024 };

static volatile sig_atomic_t interrupted;
static atomic_bool cancelled; /* the same, for other threads */
static int nothing = -1;      /* /dev/null */

/* A pipe that waits for its writer ends here. */
static void interrupt(int number) {
    int saved = errno;
    interrupted = number;
    atomic_store(&cancelled, true);
    dup2(nothing, STDIN_FILENO);
    errno = saved;
}

static enum err show_progress(void *context, const struct input_progress *p) {
    char detail[96];
    double part = p->total_bytes > 0 ? (double)p->read_bytes / (double)p->total_bytes : -1;
    snprintf(detail, sizeof detail, "%llu lines, %.0f MiB", (unsigned long long)p->lines,
             (double)p->plain_bytes / 1048576);
    cli_progress(context, part, detail);
    return interrupted ? ERR_CLOSED : ERR_OK;
}

/* --- options --- */

static bool parse_as(struct cli *cli, enum import_format *ret_format) {
    const char *as = cli_value(cli, "as");
    if (as == NULL) return true;
    char known[256] = "";
    for (int i = IMPORT_GUESS + 1; i < IMPORT_FORMAT_COUNT; i++) {
        if (strcmp(import_format_name[i], as) == 0) {
            *ret_format = (enum import_format)i;
            return true;
        }
        size_t size = strlen(known);
        snprintf(known + size, sizeof known - size, "%s%s", size > 0 ? ", " : "", import_format_name[i]);
    }
    cli_usage(cli, "--as: \"%s\" is no format; there are %s", as, known);
    return false;
}

static bool parse_options(struct cli *cli, struct import_options *o) {
    const char *unit = cli_value(cli, "time-unit");
    *o = (struct import_options){
        .venue = cli_value(cli, "venue"),
        .series = cli_value(cli, "series"),
        .columns = cli_value(cli, "columns"),
        .interval = cli_value(cli, "interval"),
    };
    if (!parse_as(cli, &o->format)) return false;
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

/* --- results --- */

/* What became of the events is for the topic's ledger to tell. */
static void print_copied(const struct cli *cli, const char *word, const struct import_result *r) {
    unsigned long long read = r->row.ledger.read, invalid = r->row.ledger.invalid;
    unsigned long long messages = r->messages, written = r->written, there = messages - written;
    if (cli->format == FORMAT_CSV)
        cli_print("%s,%s,%llu,%llu,%llu,%llu,%llu,%lld,%lld\n", word, r->format, read, invalid, messages, written,
                  there, (long long)r->row.from_ms, (long long)r->row.to_ms);
    else
        cli_print("%s: %s, %llu read, %llu invalid; copied: %llu messages, %llu written, %llu there already\n", word,
                  r->format, read, invalid, messages, written, there);
}

static void print_result(const struct cli *cli, const char *word, const struct import_result *r) {
    const struct ledger_row *l = &r->row.ledger;
    if (cli->format == FORMAT_JSON) {
        struct buf out;
        struct import_result named = *r;
        snprintf(named.row.path, sizeof named.row.path, "%s", word);
        buf_init(&out, 64 * 1024);
        control_put_result(&out, &named);
        buf_put_u8(&out, '\n');
        cli_put(out.data, out.size);
        buf_deinit(&out);
        return;
    }
    if (r->copied) {
        print_copied(cli, word, r);
        return;
    }
    if (cli->format == FORMAT_CSV) {
        cli_print("%s,%s,%s,%llu,%llu,%llu,%llu,%llu,%llu,%lld,%lld\n", word, r->format, r->repeated ? "true" : "false",
                  (unsigned long long)l->read, (unsigned long long)l->used, (unsigned long long)l->late,
                  (unsigned long long)l->duplicate, (unsigned long long)l->invalid, (unsigned long long)l->filtered,
                  (long long)r->row.from_ms, (long long)r->row.to_ms);
        return;
    }
    cli_print("%s: %s, %s%llu read, %llu used, %llu late, %llu duplicate, %llu invalid, %llu filtered\n", word,
              r->format, r->repeated ? "imported before, nothing changed: " : "", (unsigned long long)l->read,
              (unsigned long long)l->used, (unsigned long long)l->late, (unsigned long long)l->duplicate,
              (unsigned long long)l->invalid, (unsigned long long)l->filtered);
}

/* --- what is named on the command line --- */

struct file {
    const char *word;
    char path[IMPORT_PATH_MAX]; /* absolute; "-" for standard input */
    char name[IMPORT_PATH_MAX];
    char spool[CONFIG_TEXT_MAX + 32]; /* to be removed; empty: none */
    uint64_t version;
};

static enum err unreadable(struct diag *diag) {
    enum err err = errno == ENOENT || errno == ENOTDIR       ? ERR_NOT_FOUND
                   : errno == EACCES || errno == EPERM       ? ERR_DENIED
                   : errno == ENAMETOOLONG || errno == ELOOP ? ERR_TOO_LARGE
                                                             : ERR_IO;
    return diag_set(diag, err, "the file cannot be read: %s", strerror(errno));
}

/* A pipe takes the place of standard input, which the reader knows how to read. */
static enum err take_pipe(struct file *file, struct diag *diag) {
    int fd = open(file->word, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return unreadable(diag);
    enum err err = dup2(fd, STDIN_FILENO) < 0 ? unreadable(diag) : ERR_OK;
    close(fd);
    snprintf(file->path, sizeof file->path, "-");
    snprintf(file->name, sizeof file->name, "%s", file->word);
    return err;
}

static enum err find_file(const struct cli *cli, const char *word, struct file *file, struct diag *diag) {
    struct stat status;
    *file = (struct file){.word = word, .path = "-", .name = "-"};
    cli->sys->random(cli->sys->context, &file->version, sizeof file->version); /* of a pipe nothing is known */
    if (strcmp(word, "-") == 0) return ERR_OK;
    if (stat(word, &status) != 0) return unreadable(diag);
    if (S_ISDIR(status.st_mode)) return cli_is_folder(cli, word, diag);
    if (!S_ISREG(status.st_mode)) return take_pipe(file, diag);
    char absolute[4096];
    if (realpath(word, absolute) == NULL) return unreadable(diag);
    if (strlen(absolute) >= sizeof file->name) return diag_set(diag, ERR_TOO_LARGE, "the path is too long");
    snprintf(file->name, sizeof file->name, "%.*s", (int)sizeof file->name - 1, absolute);
    memcpy(file->path, file->name, sizeof file->path);
    file->version = (uint64_t)status.st_mtim.tv_sec * 1000000000 + (uint64_t)status.st_mtim.tv_nsec;
    return ERR_OK;
}

/* --- without a server: here --- */

static enum err import_here(struct engine *engine, struct import_request *request, const struct file *file,
                            struct diag *diag, struct import_result *ret_result) {
    request->path = file->path;
    request->name = file->name;
    request->version = file->version;
    request->context = (void *)(uintptr_t)file->word;
    return import_run(engine, request, diag, ret_result);
}

/* --- beside a server: there --- */

/* The server opens what is named by path: nothing is copied, and zip files can be read from their end. What comes through a
 * pipe is put into a file first: a pipe that ends early because its writer died looks like one that is done. */
static enum err spool(const struct cli *cli, struct file *file, struct diag *diag) {
    static char bytes[COPY_BYTES];
    snprintf(file->spool, sizeof file->spool, "%s/import-XXXXXX", cli->config.data);
    int fd = mkstemp(file->spool);
    if (fd < 0) {
        file->spool[0] = '\0';
        return diag_set(diag, ERR_IO, "no file can be made in %s: %s", cli->config.data, strerror(errno));
    }
    ssize_t got = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && !interrupted && (got = read(STDIN_FILENO, bytes, sizeof bytes)) > 0)
        for (ssize_t at = 0, put; at < got && err == ERR_OK; at += put)
            if ((put = write(fd, bytes + at, (size_t)(got - at))) < 0)
                err = diag_set(diag, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, "writing %s: %s", file->spool,
                               strerror(errno));
    if (got < 0 && !interrupted) err = diag_set(diag, ERR_IO, "reading standard input: %s", strerror(errno));
    close(fd);
    char absolute[4096];
    if (err == ERR_OK && (realpath(file->spool, absolute) == NULL || strlen(absolute) >= sizeof file->path))
        err = diag_set(diag, ERR_TOO_LARGE, "the path of the data folder is too long");
    if (err == ERR_OK) snprintf(file->path, sizeof file->path, "%.*s", (int)sizeof file->path - 1, absolute);
    return err;
}

static void put_text(struct buf *out, const char *name, const char *text) {
    if (text == NULL) return;
    buf_printf(out, ",\"%s\":", name);
    json_put_string(out, slice_text(text));
}

static enum err start_there(struct cli *cli, const struct import_request *request, const struct file *file,
                            struct json_parser *parser, struct diag *diag, int64_t *ret_id) {
    struct buf body, answer;
    const struct json_value *root;
    const char unit[] = {request->options.time_unit, '\0'};
    buf_init(&body, 1024 * 1024);
    buf_printf(&body, "{\"version\":\"%llu\",\"copy\":%s", (unsigned long long)file->version,
               request->copy ? "true" : "false");
    put_text(&body, "path", file->path);
    put_text(&body, "name", file->name);
    put_text(&body, "as", import_format_name[request->options.format]);
    put_text(&body, "venue", request->options.venue);
    put_text(&body, "series", request->options.series);
    put_text(&body, "columns", request->options.columns);
    put_text(&body, "interval", request->options.interval);
    if (unit[0] != '\0') put_text(&body, "time_unit", unit);
    buf_put_u8(&body, '}');
    enum err err = cli_ask_socket(cli, HTTP_POST, "/control/import", buf_slice(&body), diag, &answer);
    if (err == ERR_OK) err = json_parse(parser, buf_slice(&answer), diag, &root);
    if (err == ERR_OK) err = json_i64(json_member(root, "id"), ret_id);
    buf_deinit(&answer);
    buf_deinit(&body);
    return err;
}

static uint64_t count_of(const struct json_value *object, const char *name) {
    int64_t value = 0;
    const struct json_value *member = json_member(object, name);
    return member != NULL && json_i64(member, &value) == ERR_OK ? (uint64_t)value : 0;
}

static void read_result(const struct json_value *json, struct import_result *result) {
    static char format[64];
    const struct json_value *text = json_member(json, "format"), *repeated = json_member(json, "repeated");
    *result = (struct import_result){
        .row = {.number = count_of(json, "import"),
                .from_ms = (int64_t)count_of(json, "from"),
                .to_ms = (int64_t)count_of(json, "to"),
                .ledger = {.read = count_of(json, "read"),
                           .used = count_of(json, "used"),
                           .late = count_of(json, "late"),
                           .duplicate = count_of(json, "duplicate"),
                           .invalid = count_of(json, "invalid"),
                           .filtered = count_of(json, "filtered"),
                           .pending = count_of(json, "pending")}},
        .repeated = repeated != NULL && json_type_of(repeated) == JSON_TRUE,
        .skipped = count_of(json, "skipped"),
        .copied = json_member(json, "written") != NULL,
        .messages = count_of(json, "messages"),
        .written = count_of(json, "written"),
        .format = format,
    };
    if (text != NULL) snprintf(format, sizeof format, "%.*s", SLICE_PRINT(json_text(text)));
}

/* One look at how far it is; ERR_BUSY: not done yet. */
static enum err look_there(struct cli *cli, int64_t id, const char *word, struct json_parser *parser, struct diag *diag,
                           struct import_result *ret_result) {
    char target[64];
    struct buf answer;
    const struct json_value *root;
    snprintf(target, sizeof target, "/control/import?id=%lld", (long long)id);
    enum err err = cli_ask_socket(cli, HTTP_GET, target, SLICE_NONE, diag, &answer);
    if (err == ERR_OK) err = json_parse(parser, buf_slice(&answer), diag, &root);
    if (err == ERR_OK) {
        struct slice state = json_text(json_member(root, "state"));
        const struct input_progress progress = {count_of(root, "read_bytes"), count_of(root, "total_bytes"),
                                                count_of(root, "plain_bytes"), count_of(root, "lines")};
        (void)!show_progress((void *)(uintptr_t)word, &progress);
        if (slice_equal(state, SLICE("done")))
            read_result(json_member(root, "result"), ret_result);
        else if (slice_equal(state, SLICE("failed")))
            err = cli_error_of(json_member(root, "error"), ERR_IO, diag);
        else
            err = ERR_BUSY;
    }
    buf_deinit(&answer);
    return err;
}

static enum err cancel_there(struct cli *cli, int64_t id, struct diag *diag) {
    char target[64];
    struct buf answer;
    snprintf(target, sizeof target, "/control/cancel?id=%lld", (long long)id);
    enum err err = cli_ask_socket(cli, HTTP_POST, target, SLICE_NONE, diag, &answer);
    buf_deinit(&answer);
    return err;
}

static enum err import_there(struct cli *cli, const struct import_request *request, struct file *file,
                             struct diag *diag, struct import_result *ret_result) {
    struct json_parser *parser = NULL;
    int64_t id = 0;
    bool told = false;
    enum err err = strcmp(file->path, "-") == 0 ? spool(cli, file, diag) : ERR_OK;
    if (err == ERR_OK && interrupted) err = diag_set(diag, ERR_CLOSED, "cancelled");
    if (err == ERR_OK) err = json_parser_open(NULL, &parser);
    if (err == ERR_OK) err = start_there(cli, request, file, parser, diag, &id);
    for (int wait_ms = LOOK_FIRST_MS; err == ERR_OK; wait_ms = wait_ms * 2 < LOOK_MS ? wait_ms * 2 : LOOK_MS) {
        err = look_there(cli, id, file->word, parser, diag, ret_result);
        if (err != ERR_BUSY) break;
        err = interrupted && !told ? cancel_there(cli, id, diag) : ERR_OK;
        told = interrupted;
        usleep((useconds_t)wait_ms * 1000);
    }
    json_parser_close(&parser);
    if (file->spool[0] != '\0') unlink(file->spool);
    return err;
}

/* --- all of them --- */

struct work {
    struct cli *cli;
    struct engine *engine; /* NULL: a server does it */
    struct import_request request;
    struct file files[2]; /* of several at once: those at hand */
    enum err first;       /* what went wrong */
    uint32_t told, done;
};

static enum err tell_result(struct work *work, const char *word, enum err err, struct diag *diag,
                            const struct import_result *result) {
    cli_progress_end();
    work->told++;
    if (err == ERR_OK) { /* whether or not somebody has wanted to stop it meanwhile */
        print_result(work->cli, word, result);
        if (result->row.ledger.invalid > 0 && result->row.ledger.used == 0 && result->messages == 0)
            fprintf(stderr, "wick: %s: nothing in it could be used; wick topic read imports.invalid tells why\n", word);
        work->done++;
        return err;
    }
    if (interrupted && err == ERR_CLOSED) {
        fprintf(stderr, "wick: %s: cancelled; %s\n", word,
                work->request.copy ? "what was copied stays in its topic; the same file again adds what is missing"
                                   : "nothing of it shows");
        return err;
    }
    char within[sizeof diag->where], absolute[4096];
    memcpy(within, diag->where, sizeof within);
    if (realpath(word, absolute) != NULL && strcmp(within, absolute) == 0) diag->where[0] = '\0';
    if (strcmp(within, word) != 0 && diag->where[0] != '\0') {
        diag->where[0] = '\0';
        diag_where(diag, "%s, %s", word, within);
    }
    diag_where(diag, "%s", word);
    cli_fail(err, diag);
    return err;
}

static enum err import_one(struct work *work, const char *word) {
    struct file file;
    struct diag diag = {0};
    struct import_result result;
    enum err err = find_file(work->cli, word, &file, &diag);
    if (err == ERR_OK)
        err = work->engine != NULL ? import_here(work->engine, &work->request, &file, &diag, &result)
                                   : import_there(work->cli, &work->request, &file, &diag, &result);
    return tell_result(work, word, err, &diag, &result);
}

/* A file that is bad does not keep the next ones out; a folder or a disk that fails does. */
static bool goes_on(enum err err) {
    return err_class(err) == ERR_CLASS_INPUT || err == ERR_NOT_FOUND || err == ERR_DENIED || err == ERR_OK;
}

static void note(struct work *work, enum err err) {
    if (work->first == ERR_OK || !goes_on(err)) work->first = err;
}

static enum err open_next(void *context, uint32_t i, struct import_request *ret_request, struct diag *diag) {
    struct work *work = context;
    struct file *file = &work->files[i % 2];
    enum err err = find_file(work->cli, work->cli->words[i], file, diag);
    if (err != ERR_OK) return err;
    *ret_request = work->request;
    ret_request->path = file->path;
    ret_request->name = file->name;
    ret_request->version = file->version;
    return ERR_OK;
}

static enum err show_next(void *context, uint32_t i, const struct input_progress *progress) {
    const struct work *work = context;
    return show_progress((void *)(uintptr_t)work->cli->words[i], progress);
}

static bool tell_next(void *context, uint32_t i, enum err err, struct diag *diag, const struct import_result *result) {
    struct work *work = context;
    if (!goes_on(work->first)) return false; /* cancelled by what went wrong before */
    note(work, tell_result(work, work->cli->words[i], err, diag, result));
    return goes_on(work->first) && !interrupted;
}

/* Pipes are read one by one: each takes the place of standard input. */
static bool all_are_files(const struct cli *cli) {
    struct stat status;
    for (uint32_t i = 0; i < cli->word_count; i++)
        if (stat(cli->words[i], &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
            return false;
        else if (strcmp(cli->words[i], "-") == 0)
            return false;
    return true;
}

static enum err import_all(struct work *work) {
    struct cli *cli = work->cli;
    if (cli->format == FORMAT_CSV)
        cli_print(work->request.copy ? "file,format,read,invalid,messages,written,there_already,from,to\n"
                                     : "file,format,repeated,read,used,late,duplicate,invalid,filtered,from,to\n");
    if (work->engine != NULL && cli->word_count > 1 && all_are_files(cli)) {
        const struct import_many many = {cli->word_count, open_next, show_next, tell_next, work};
        struct diag diag = {0};
        enum err err = import_run_many(work->engine, &many, &diag);
        if (err != ERR_OK) cli_fail(err, &diag);
        return err != ERR_OK ? err : work->first;
    }
    for (uint32_t i = 0; i < cli->word_count && goes_on(work->first) && !interrupted; i++)
        note(work, import_one(work, cli->words[i]));
    return work->first;
}

static void catch_signals(void) {
    const struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESETHAND}; /* the second one kills */
    nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int end_as_interrupted(const struct work *work) {
    uint32_t left = work->cli->word_count - work->told;
    if (left > 0) fprintf(stderr, "wick: cancelled; %u of the files not begun\n", left);
    signal(interrupted, SIG_DFL);
    raise(interrupted);
    return EXIT_IO;
}

static int run(struct cli *cli) {
    struct work work = {
        .cli = cli,
        .request = {.copy = cli_flag(cli, "copy"), .progress = show_progress, .cancelled = &cancelled},
    };
    if (!parse_options(cli, &work.request.options)) return EXIT_USAGE;
    struct diag diag = {0};
    catch_signals();
    if (!cli_server_runs(cli)) {
        enum err err = engine_open(cli->sys, &cli->config, ENGINE_WORK, &diag, &work.engine);
        if (err != ERR_OK) return cli_fail(err, &diag);
    }
    enum err err = import_all(&work);
    engine_close(&work.engine);
    if (interrupted && work.done < cli->word_count) return end_as_interrupted(&work);
    return cli_exit(err);
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
    {"copy", NULL,
     "every message of a capture, or price event, into its topic, instead of the file by reference; wick ledger tells "
     "what became of them"},
    {NULL, NULL, NULL},
};

const struct cli_command command_import = {
    .name = "import",
    .words = "FILE..",
    .words_min = 1,
    .words_max = CLI_WORDS_MAX,
    .summary = "files into topics and candles: trades, klines, price events, recorded captures",
    .detail =
        "Compressed files (gzip, zstd, zip) are read as they are, and files that are one JSON array of price events or "
        "an "
        "answer of Binance's trades, aggTrades or klines; \"-\" is standard input. A file shows whole or not "
        "at all (with --copy: as far as it came, and the same file again adds what is missing), and the same content "
        "again, read the same way, changes nothing. What is refused is kept in topic imports.invalid. A file "
        "that cannot be read does not keep the others out. Beside a running wick, that one does the work, and goes on "
        "folding what comes; Ctrl-C cancels.",
    .options = options,
    .run = run,
};
