#include <assert.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/nearest.h"
#include "cli/cli.h"

const struct cli_command *const cli_commands[] = {
    &command_run,  &command_import,   &command_candles, &command_latest, &command_series,
    &command_why,  &command_gaps,     &command_verify,  &command_ledger, &command_topic,
    &command_fsck, &command_generate, &command_bench,   &command_help,   NULL,
};

const struct cli_option cli_common_options[] = {
    {"data", "DIR", "the data folder (default data/wick, or the configuration's)"},
    {"config", "FILE", "the configuration (default wick.yaml, if it is there)"},
    {"url", "URL",
     "ask the wick that runs there, http:// or https://, instead of the data folder (candles, latest, series, why, "
     "gaps, ledger)"},
    {"format", "table|json|csv", "how results are printed (default: table)"},
    {"help", NULL, "what the command does and its options"},
    {NULL, NULL, NULL},
};

/* --- options --- */

static int find_option(const struct cli_command *command, struct slice name, const struct cli_option **ret_option) {
    int index = 0;
    for (const struct cli_option *o = cli_common_options; o->name != NULL; o++, index++)
        if (slice_equal(slice_text(o->name), name)) {
            *ret_option = o;
            return index;
        }
    for (const struct cli_option *o = command->options; o->name != NULL; o++, index++)
        if (slice_equal(slice_text(o->name), name)) {
            *ret_option = o;
            return index;
        }
    return -1;
}

const char *cli_value(const struct cli *cli, const char *name) {
    const struct cli_option *option;
    int index = find_option(cli->command, slice_text(name), &option);
    assert(index >= 0);
    return cli->values[index];
}

bool cli_flag(const struct cli *cli, const char *name) { return cli_value(cli, name) != NULL; }

bool cli_number(const struct cli *cli, const char *name, int64_t min, int64_t max, int64_t fallback,
                int64_t *ret_value) {
    const char *text = cli_value(cli, name);
    uint64_t value;
    if (text == NULL) {
        *ret_value = fallback;
        return true;
    }
    if (!slice_to_u64(slice_text(text), &value) || (int64_t)value < min || value > (uint64_t)max) {
        if (max == INT64_MAX)
            cli_usage(cli, "--%s: \"%s\" is not a whole number from %lld on, below 2^63", name, text, (long long)min);
        else
            cli_usage(cli, "--%s: \"%s\" is not a whole number in %lld..%lld", name, text, (long long)min,
                      (long long)max);
        return false;
    }
    *ret_value = (int64_t)value;
    return true;
}

int cli_usage(const struct cli *cli, const char *format, ...) {
    va_list list;
    fputs("wick: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\nTry: wick help%s%s\n", cli != NULL && cli->command != NULL ? " " : "",
            cli != NULL && cli->command != NULL ? cli->command->name : "");
    return EXIT_USAGE;
}

int cli_exit(enum err err) {
    if (err == ERR_USAGE) return EXIT_USAGE;
    if (err == ERR_LOCKED) return EXIT_NOT_NOW;
    switch (err_class(err)) {
        case ERR_CLASS_NONE: return EXIT_DONE;
        case ERR_CLASS_INPUT: return EXIT_INPUT;
        case ERR_CLASS_CORRUPT: return EXIT_DAMAGED;
        case ERR_CLASS_RESOURCE: return EXIT_NOT_NOW;
        default: return err == ERR_NOT_FOUND || err == ERR_EXISTS ? EXIT_INPUT : EXIT_IO;
    }
}

int cli_fail(enum err err, const struct diag *diag) {
    char text[1200];
    struct diag plain = *diag;
    plain.err = err;
    if (err == ERR_FOREIGN && plain.hint[0] == '\0')
        diag_hint(&plain, "open it with the wick that wrote it, or bring back the folder as it was");
    if (err == ERR_LOCKED && plain.hint[0] == '\0')
        diag_hint(&plain, "stop it, or take another folder with --data; most commands ask a running one by themselves");
    diag_print(&plain, text, sizeof text);
    fprintf(stderr, "wick: %s\n", text);
    return cli_exit(err);
}

enum err cli_is_folder(const struct cli *cli, const char *word, struct diag *diag) {
    diag_set(diag, ERR_TYPE, "this is a folder");
    diag_where(diag, "%s", word);
    diag_hint(diag, "wick %s reads files: name those in it", cli->command->name);
    return ERR_TYPE;
}

/* --- names that are nearly right --- */

int cli_no_command(const char *name) {
    struct nearest nearest = nearest_begin(slice_text(name));
    for (const struct cli_command *const *c = cli_commands; *c != NULL; c++) nearest_look(&nearest, (*c)->name);
    if (nearest.name == NULL) return cli_usage(NULL, "there is no command \"%s\"", name);
    return cli_usage(NULL, "there is no command \"%s\"; did you mean \"%s\"?", name, nearest.name);
}

static void no_option(const struct cli *cli, struct slice given) {
    struct nearest nearest = nearest_begin(given);
    for (const struct cli_option *o = cli_common_options; o->name != NULL; o++) nearest_look(&nearest, o->name);
    for (const struct cli_option *o = cli->command->options; o->name != NULL; o++) nearest_look(&nearest, o->name);
    cli_usage(cli, "%s has no option --%.*s%s%s%s", cli->command->name, SLICE_PRINT(given),
              nearest.name != NULL ? "; did you mean --" : "", nearest.name != NULL ? nearest.name : "",
              nearest.name != NULL ? "?" : "");
}

static bool parse_words(struct cli *cli, int argc, char **argv) {
    bool options = true;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!options || strncmp(word, "--", 2) != 0) {
            if (cli->word_count == CLI_WORDS_MAX) {
                cli_usage(cli, "more than %d arguments", CLI_WORDS_MAX);
                return false;
            }
            cli->words[cli->word_count++] = word;
            continue;
        }
        if (word[2] == '\0') {
            options = false;
            continue;
        }
        const char *equals = strchr(word, '=');
        struct slice name = slice_of(word + 2, equals != NULL ? (size_t)(equals - word) - 2 : strlen(word + 2));
        const struct cli_option *option;
        int index = find_option(cli->command, name, &option);
        if (index < 0) {
            no_option(cli, name);
            return false;
        }
        if (option->argument == NULL && equals != NULL) {
            cli_usage(cli, "--%s takes no value", option->name);
            return false;
        }
        if (option->argument != NULL && equals == NULL && (i + 1 == argc || strncmp(argv[i + 1], "--", 2) == 0)) {
            cli_usage(cli, "--%s needs a value: %s", option->name, option->argument);
            return false;
        }
        cli->values[index] = option->argument == NULL ? "" : equals != NULL ? equals + 1 : argv[++i];
    }
    return true;
}

static bool parse_format(struct cli *cli) {
    const char *format = cli_value(cli, "format");
    if (format == NULL || strcmp(format, "table") == 0) {
        cli->format = FORMAT_TABLE;
    } else if (strcmp(format, "json") == 0) {
        cli->format = FORMAT_JSON;
    } else if (strcmp(format, "csv") == 0) {
        cli->format = FORMAT_CSV;
    } else {
        cli_usage(cli, "--format: \"%s\" is none of table, json, csv", format);
        return false;
    }
    return true;
}

int cli_set(const struct cli *cli, struct config *config, const char *setting, const char *option) {
    struct diag diag = {0};
    enum err err = config_set(config, setting, cli_value(cli, option + 2), &diag);
    if (err == ERR_OK) err = config_check(config, &diag);
    if (err == ERR_OK) return EXIT_DONE;
    diag_where(&diag, "%s", option);
    (void)cli_fail(err, &diag);
    return EXIT_USAGE;
}

enum err cli_read_config(const struct cli *cli, struct config *config, struct diag *diag) {
    const char *path = cli_value(cli, "config");
    if (path == NULL) path = "wick.yaml";
    config_defaults(config);
    struct stat status;
    const bool there = stat(path, &status) == 0;
    if (!there || S_ISREG(status.st_mode) || S_ISCHR(status.st_mode)) return config_read(cli->sys, path, diag, config);
    diag_set(diag, ERR_TYPE, "this is a %s, not a file", S_ISDIR(status.st_mode) ? "folder" : "pipe");
    diag_where(diag, "%s", path);
    diag_hint(diag, "--config names the file of the configuration");
    return ERR_TYPE;
}

static int read_config(struct cli *cli) {
    struct diag diag = {0};
    enum err err = cli_read_config(cli, &cli->config, &diag);
    if (err != ERR_OK && !(err == ERR_NOT_FOUND && !cli_flag(cli, "config"))) return cli_fail(err, &diag);
    return cli_flag(cli, "data") ? cli_set(cli, &cli->config, "data", "--data") : EXIT_DONE;
}

static int run_command(struct cli *cli, int argc, char **argv) {
    if (!parse_words(cli, argc, argv)) return EXIT_USAGE;
    if (cli_flag(cli, "help")) {
        cli->words[0] = cli->command->name;
        cli->word_count = 1;
        return command_help.run(cli);
    }
    if (!parse_format(cli)) return EXIT_USAGE;
    if (cli_flag(cli, "url") && !cli->command->by_url)
        return cli_usage(cli, "%s works on a data folder of this machine: --data, not --url", cli->command->name);
    if (cli->word_count < cli->command->words_min || cli->word_count > cli->command->words_max)
        return cli_usage(cli, "%s takes: %s", cli->command->name,
                         cli->command->words[0] ? cli->command->words : "no words");
    int exit_code = read_config(cli);
    return exit_code != EXIT_DONE ? exit_code : cli->command->run(cli);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a full disk: the write says so */
    umask(0077);
    static struct cli cli; /* too large for some stacks */
    cli.sys = sys_real();
    const char *name = argc > 1 ? argv[1] : "help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) {
        cli_print("wick %s\n", WICK_VERSION);
        return EXIT_DONE;
    }
    for (const struct cli_command *const *command = cli_commands; *command != NULL; command++) {
        if (strcmp((*command)->name, name) != 0) continue;
        cli.command = *command;
        return run_command(&cli, argc > 2 ? argc - 2 : 0, argv + 2);
    }
    return cli_no_command(name);
}
