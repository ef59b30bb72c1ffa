#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"
#include "codec/json.h"

enum { ANSWER_MAX = 1024 * 1024 * 1024, TIMEOUT_S = 120 };

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

/* An error answer carries {"error":{"code","message","at"}}: it becomes the diag it once was. */
static enum err error_of(struct slice body, long status, struct diag *diag) {
    struct json_parser *parser = NULL;
    const struct json_value *root = NULL;
    enum err err = status >= 500 ? ERR_IO : ERR_SYNTAX;
    if (json_parser_open(NULL, &parser) != ERR_OK) return diag_set(diag, err, "HTTP status %ld", status);
    const struct json_value *error = NULL;
    if (json_parse(parser, body, NULL, &root) == ERR_OK) error = json_member(root, "error");
    const struct json_value *code = error != NULL ? json_member(error, "code") : NULL;
    const struct json_value *message = error != NULL ? json_member(error, "message") : NULL;
    const struct json_value *place = error != NULL ? json_member(error, "at") : NULL;
    for (unsigned i = 1; code != NULL && i < ERR_COUNT; i++)
        if (slice_equal(json_text(code), slice_text(err_name((enum err)i)))) err = (enum err)i;
    if (message != NULL && json_type_of(message) == JSON_STRING)
        diag_set(diag, err, "%.*s", SLICE_PRINT(json_text(message)));
    else
        diag_set(diag, err, "the server answered HTTP status %ld", status);
    if (place != NULL && json_type_of(place) == JSON_STRING && json_text(place).size > 0)
        diag_where(diag, "%.*s", SLICE_PRINT(json_text(place)));
    json_parser_close(&parser);
    return err;
}

static enum err ask_server(struct cli *cli, const char *base, bool by_socket, enum http_method method,
                           const char *target, struct slice body, struct diag *diag, struct buf *ret_body) {
    CURL *curl = curl_easy_init();
    if (curl == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for a request");
    char url[8192], socket_path[108], token[600];
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    snprintf(url, sizeof url, "%s%s", base, target);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, ret_body);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (by_socket) {
        engine_socket_path(cli->config.data, socket_path);
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_path);
    } else if (getenv("WICK_TOKEN") != NULL) {
        snprintf(token, sizeof token, "Authorization: Bearer %s", getenv("WICK_TOKEN"));
        headers = curl_slist_append(headers, token);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (method == HTTP_POST) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.size);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.size > 0 ? (const char *)body.data : "");
    }
    CURLcode code = curl_easy_perform(curl);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK) {
        diag_set(diag, ERR_IO, "%s", curl_easy_strerror(code));
        diag_where(diag, "%s", by_socket ? socket_path : url);
        return ERR_IO;
    }
    return status < 400 ? ERR_OK : error_of(buf_slice(ret_body), status, diag);
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
    if (err == ERR_OK && status >= 400) err = error_of(buf_slice(ret_body), (long)status, diag);
    engine_close(&engine);
    return err;
}

enum err cli_ask(struct cli *cli, enum http_method method, const char *target, struct slice body, struct diag *diag,
                 struct buf *ret_body) {
    buf_init(ret_body, ANSWER_MAX);
    const char *url = cli_value(cli, "url");
    if (url != NULL) return ask_server(cli, url, false, method, target, body, diag, ret_body);
    if (cli_server_runs(cli)) return ask_server(cli, "http://wick", true, method, target, body, diag, ret_body);
    return ask_folder(cli, method, target, body, diag, ret_body);
}
