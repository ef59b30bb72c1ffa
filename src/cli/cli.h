/* The command line: one table of commands and options gives parser, help, man page, completion and docs/cli.md. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "engine/engine.h"

enum cli_exit {
    EXIT_DONE = 0,
    EXIT_NO = 1,
    EXIT_USAGE = 2,
    EXIT_INPUT = 3,
    EXIT_DAMAGED = 4,
    EXIT_IO = 5, /* a failed sync is one: the process that meets it ends with this */
    EXIT_NOT_NOW = 6,
};
enum { CLI_OPTIONS_MAX = 24, CLI_WORDS_MAX = 4096 };

struct cli_option {
    const char *name;     /* without dashes */
    const char *argument; /* NULL: a flag */
    const char *help;
};

struct cli;

struct cli_command {
    const char *name;
    const char *words; /* "SERIES TIME" */
    uint32_t words_min, words_max;
    const char *summary;
    const char *detail;               /* a paragraph for help and manual, or NULL */
    bool by_url;                      /* asks a wick elsewhere where --url says so; the others need the folder */
    const struct cli_option *options; /* ends with a NULL name; the common ones come on top */
    int (*run)(struct cli *cli);
};

extern const struct cli_command *const cli_commands[]; /* ends with NULL */
extern const struct cli_option cli_common_options[];

enum cli_format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV };

struct cli {
    const struct cli_command *command;
    const struct sys *sys;
    const char *values[CLI_OPTIONS_MAX]; /* by index: common options, then the command's; a flag is "" */
    const char *words[CLI_WORDS_MAX];
    uint32_t word_count;
    struct config config;
    enum cli_format format;
};

/* NULL where the option was not given. An option that the command does not have is a bug. */
const char *cli_value(const struct cli *cli, const char *name);
bool cli_flag(const struct cli *cli, const char *name);
/* A whole number option; `fallback` where absent; false (after saying why) where it is none or out of range. */
bool cli_number(const struct cli *cli, const char *name, int64_t min, int64_t max, int64_t fallback,
                int64_t *ret_value);

/* The defaults, and what --config or wick.yaml says. ERR_NOT_FOUND if that is not there. */
enum err cli_read_config(const struct cli *cli, struct config *config, struct diag *diag) MUST_USE;
/* Sets a setting to what an option ("--listen") says. What is wrong with it is wrong usage: exit code 2. */
int cli_set(const struct cli *cli, struct config *config, const char *setting, const char *option);
/* Prints "wick: ..." and returns the exit code that fits. */
int cli_fail(enum err err, const struct diag *diag);
/* What is named should be a file. */
enum err cli_is_folder(const struct cli *cli, const char *word, struct diag *diag);
/* Says that there is none of this name, and which one was perhaps meant. */
int cli_no_command(const char *name);
/* The exit code of an error that was told already. */
int cli_exit(enum err err);
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- client.c: asks --url, the server on the folder's socket, or the folder itself --- */
enum err cli_ask(struct cli *cli, enum http_method method, const char *target, struct slice body, struct diag *diag,
                 struct buf *ret_body) MUST_USE;
/* Asks the server on the folder's socket (api/control.h). */
enum err cli_ask_socket(struct cli *cli, enum http_method method, const char *target, struct slice body,
                        struct diag *diag, struct buf *ret_body) MUST_USE;
/* The error object of an answer (its "error" member) as the diag that it once was. */
struct json_value;
enum err cli_error_of(const struct json_value *error, enum err otherwise, struct diag *diag);
/* Appends "&name=value" (percent-encoded) to a target being built. */
void cli_put_argument(struct buf *target, const char *name, const char *value);
/* A target as a C string. */
const char *cli_target(struct buf *target);
/* Is a server running on the folder? */
bool cli_server_runs(const struct cli *cli);

/* --- render.c --- */
struct cli_column {
    const char *title;
    const char *path; /* member of each row */
    bool right;       /* numbers */
    bool time;        /* milliseconds, shown as RFC 3339 in tables */
};
/* Writes an array of JSON objects as table, CSV or JSON to standard output. */
enum err cli_print_rows(const struct cli *cli, struct slice json, const char *member, const struct cli_column *columns,
                        uint32_t column_count, struct diag *diag) MUST_USE;
/* Asks for `target` (deinited here) and prints the rows of the answer's `member` (NULL: the answer itself): all that the
 * listing commands do. Returns the exit code. */
int cli_show(struct cli *cli, struct buf *target, const char *member, const struct cli_column *columns,
             uint32_t column_count);
void cli_put(const void *bytes, size_t size); /* standard output; exits with 5 if that fails */
void cli_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A progress bar on standard error, if that is a terminal. */
void cli_progress(const char *what, double part, const char *detail);
void cli_progress_end(void);

/* --- bench_read.c --- */
enum err bench_read(struct cli *cli, struct diag *diag) MUST_USE;

/* The commands, one file each. */
extern const struct cli_command command_run, command_import, command_candles, command_latest, command_series,
    command_why, command_gaps, command_verify, command_ledger, command_topic, command_fsck, command_generate,
    command_bench, command_help;

#endif
