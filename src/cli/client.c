#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/remote.h"
#include "codec/json.h"

enum { ANSWER_MAX = 1024 * 1024 * 1024, URL_MAX = 1024 * 1024, TIMEOUT_S = 120 };

void cli_put_argument(struct buf *target, const char *name, const char *value) {
    if (value == NULL) return;
    bool first = target->size == 0 || memchr(target->data, '?', target->size) == NULL;
    buf_printf(target, "%c%s=", first ? '?' : '&', name);
    for (const char *c = value; *c != '\0'; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                     strchr("-._~:/", *c) != NULL;
        buf_printf(target, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
}

const char *cli_target(struct buf *target) {
    uint8_t *end = buf_reserve(target, 1);
    if (end == NULL) return "";
    *end = '\0';
    return (const char *)target->data;
}

bool cli_server_runs(const struct cli *cli) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    engine_socket_path(cli->config.data, address.sun_path);
    if (address.sun_path[0] == '\0') return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool runs = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return runs;
}

static size_t take_answer(char *data, size_t size, size_t count, void *context) {
    struct buf *body = context;
    buf_put(body, slice_of(data, size * count));
    return buf_err(body) == ERR_OK ? size * count : 0;
}

static struct slice member_of(const struct json_value *error, const char *name) {
    const struct json_value *value = json_member(error, name);
    return value != NULL && json_type_of(value) == JSON_STRING ? json_text(value) : SLICE_NONE;
}

/* What the API says of an argument, it says of the option or word that the command made it from: that is wrong usage. A
 * series is a name, which may or may not be there. */
static enum err of_argument(const struct cli *cli, struct slice place, enum err err, struct diag *diag) {
    char name[32];
    if (err_class(err) != ERR_CLASS_INPUT || place.size == 0 || place.size >= sizeof name) return err;
    for (size_t i = 0; i < place.size; i++) name[i] = place.data[i] == '_' ? '-' : (char)place.data[i];
    name[place.size] = '\0';
    bool option = false;
    for (const struct cli_option *o = cli->command->options; o->name != NULL; o++) option |= strcmp(o->name, name) == 0;
    if (!option && strcmp(name, "time") != 0) return err;
    diag->where[0] = '\0';
    diag_where(diag, "%s%s", option ? "--" : "", name);
    return ERR_USAGE;
}

enum err cli_error_of(const struct json_value *error, enum err otherwise, struct diag *diag) {
    struct slice code = member_of(error, "code"), message = member_of(error, "message");
    struct slice place = member_of(error, "at"), hint = member_of(error, "hint");
    enum err err = otherwise;
    for (unsigned i = 1; i < ERR_COUNT; i++)
        if (slice_equal(code, slice_text(err_name((enum err)i)))) err = (enum err)i;
    diag_set(diag, err, "%.*s", SLICE_PRINT(message));
    if (place.size > 0) diag_where(diag, "%.*s", SLICE_PRINT(place));
    if (hint.size > 0) diag_hint(diag, "%.*s", SLICE_PRINT(hint));
    return err;
}

/* An error answer carries {"error":{"code","message","at"}}. */
static enum err error_of(const struct cli *cli, struct slice body, long status, struct diag *diag) {
    struct json_parser *parser = NULL;
    const struct json_value *root = NULL;
    enum err err = diag_set(diag, status >= 500 ? ERR_IO : ERR_SYNTAX, "the server answered HTTP status %ld", status);
    if (json_parser_open(NULL, &parser) != ERR_OK) return err;
    struct diag unread = {0};
    const struct json_value *error = NULL;
    if (json_parse(parser, body, &unread, &root) == ERR_OK && json_type_of(root) == JSON_OBJECT)
        error = json_member(root, "error");
    if (error != NULL && json_type_of(error) == JSON_OBJECT) {
        err = cli_error_of(error, err, diag);
        err = of_argument(cli, member_of(error, "at"), err, diag);
    }
    json_parser_close(&parser);
    return err;
}

/* `base` is --url; NULL: the server on the folder's socket. */
static enum err ask_server(struct cli *cli, const char *base, enum http_method method, const char *target,
                           struct slice body, struct diag *diag, struct buf *ret_body) {
    struct remote remote;
    struct buf url;
    char socket_path[108];
    engine_socket_path(cli->config.data, socket_path);
    enum err err = remote_open(&remote, base == NULL ? socket_path : NULL, diag);
    if (err != ERR_OK) return err;
    buf_init(&url, URL_MAX);
    buf_put_text(&url, base != NULL ? base : "http://wick");
    if (url.size > 0 && url.data[url.size - 1] == '/') url.size--; /* a target begins with one */
    buf_put_text(&url, target);
    curl_easy_setopt(remote.curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(remote.curl, CURLOPT_WRITEDATA, ret_body);
    curl_easy_setopt(remote.curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    if (method == HTTP_POST) {
        curl_easy_setopt(remote.curl, CURLOPT_POST, 1L);
        curl_easy_setopt(remote.curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.size);
        curl_easy_setopt(remote.curl, CURLOPT_POSTFIELDS, body.size > 0 ? (const char *)body.data : "");
    }
    long status = 0;
    err = remote_ask(&remote, cli_target(&url), diag, &status);
    remote_close(&remote);
    buf_deinit(&url);
    if (err != ERR_OK) {
        diag_where(diag, "%s", base != NULL ? base : socket_path);
        return err;
    }
    if (status < 400) return ERR_OK;
    err = error_of(cli, buf_slice(ret_body), status, diag);
    if (status == 401) diag_hint(diag, "WICK_TOKEN in the environment is the token");
    return err;
}

static enum err ask_folder(struct cli *cli, enum http_method method, const char *target, struct slice body,
                           struct diag *diag, struct buf *ret_body) {
    struct engine *engine = NULL;
    enum err err = engine_open(cli->sys, &cli->config, ENGINE_LOOK, diag, &engine);
    if (err == ERR_OK) err = engine_catch_up(engine, diag);
    unsigned status = 0;
    char type[64];
    if (err == ERR_OK)
        err = http_local(api_handler(engine_parts(engine)->api), method, target, body, engine_pump, engine, &status,
                         ret_body, type);
    if (err == ERR_OK && status >= 400) err = error_of(cli, buf_slice(ret_body), (long)status, diag);
    engine_close(&engine);
    return err;
}

enum err cli_ask_socket(struct cli *cli, enum http_method method, const char *target, struct slice body,
                        struct diag *diag, struct buf *ret_body) {
    buf_init(ret_body, ANSWER_MAX);
    return ask_server(cli, NULL, method, target, body, diag, ret_body);
}

enum err cli_ask(struct cli *cli, enum http_method method, const char *target, struct slice body, struct diag *diag,
                 struct buf *ret_body) {
    buf_init(ret_body, ANSWER_MAX);
    const char *url = cli_value(cli, "url");
    if (url != NULL) return ask_server(cli, url, method, target, body, diag, ret_body);
    if (cli_server_runs(cli)) return ask_server(cli, NULL, method, target, body, diag, ret_body);
    return ask_folder(cli, method, target, body, diag, ret_body);
}
