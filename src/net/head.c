#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>

#include "net/server_internal.h"

/* --- reading --- */

/* RFC 9110 section 5.6.2. */
static const bool token_bytes[256] = {
    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['!'] = true, ['#' ... '\''] = true,
    ['*'] = true,         ['+'] = true,         ['-'] = true,         ['.'] = true, ['^'] = true,
    ['_'] = true,         ['`'] = true,         ['|'] = true,         ['~'] = true,
};

static bool name_is_token(struct slice name) {
    for (size_t i = 0; i < name.size; i++)
        if (!token_bytes[name.data[i]]) return false;
    return name.size > 0;
}

static bool value_is_clean(struct slice value) {
    for (size_t i = 0; i < value.size; i++)
        if ((value.data[i] < 0x20 && value.data[i] != '\t') || value.data[i] == 0x7f) return false;
    return true;
}

/* libmicrohttpd takes the first Cookie field apart, in memory that the rest of the request needs, and where that ends answers
 * twice. So it finds one of ours. */
static const char no_cookie[] = "-";

void request_head_begin(struct MHD_Connection *mhd) {
    (void)MHD_set_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_COOKIE, no_cookie);
}

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

static struct slice without_blanks(struct slice text) {
    for (; text.size > 0 && is_blank(text.data[0]); text.size--) text.data++;
    while (text.size > 0 && is_blank(text.data[text.size - 1])) text.size--;
    return text;
}

/* RFC 9110 section 8.4: a list of codings; identity is none. */
static bool is_identity(struct slice codings) {
    for (size_t at = 0; at < codings.size;) {
        const uint8_t *comma = memchr(codings.data + at, ',', codings.size - at);
        const size_t end = comma != NULL ? (size_t)(comma - codings.data) : codings.size;
        const struct slice coding = without_blanks(slice_of(codings.data + at, end - at));
        if (coding.size > 0 && !slice_equal_nocase(coding, SLICE("identity"))) return false;
        at = end + 1;
    }
    return true;
}

/* The fields that are looked at; of some it matters how often they came. */
static const struct head_field {
    struct slice name;
    size_t value, count; /* where in struct request_head; count 0: nowhere */
} head_fields[] = {
#define FIELD(name, member) \
    { SLICE(name), offsetof(struct request_head, member), 0 }
#define COUNTED(name, member) \
    { SLICE(name), offsetof(struct request_head, member), offsetof(struct request_head, member##_count) }
    COUNTED("host", host),
    FIELD("accept", accept),
    FIELD("content-type", content_type),
    COUNTED("content-length", content_length),
    COUNTED("content-encoding", content_encoding),
    COUNTED("transfer-encoding", transfer_encoding),
    FIELD("idempotency-key", idempotency_key),
    FIELD("if-none-match", if_none_match),
    FIELD("authorization", authorization),
    FIELD("origin", origin),
    FIELD("upgrade", upgrade),
    FIELD("sec-websocket-key", websocket_key),
    FIELD("sec-websocket-version", websocket_version),
#undef FIELD
#undef COUNTED
};

static void take_field(struct request_head *head, struct slice name, struct slice value) {
    for (size_t i = 0; i < sizeof head_fields / sizeof *head_fields; i++) {
        const struct head_field *field = &head_fields[i];
        if (field->name.size != name.size || !slice_equal_nocase(field->name, name)) continue;
        memcpy((char *)head + field->value, &value, sizeof value);
        if (field->count > 0) (*(uint32_t *)(void *)((char *)head + field->count))++;
        return;
    }
}

static enum MHD_Result visit_field(void *context, enum MHD_ValueKind kind, const char *key, size_t key_size,
                                   const char *text, size_t text_size) {
    (void)kind;
    struct request_head *head = context;
    if (text == no_cookie) return MHD_YES;
    const struct slice name = slice_of(key, key_size), value = slice_of(text != NULL ? text : "", text_size);
    head->field_count++;
    if (!name_is_token(name) || !value_is_clean(value)) head->malformed = true;
    /* Of a field that goes on in another line, libmicrohttpd puts that line behind the name, and both elsewhere. */
    if (text != NULL && key > text) head->folded = true;
    take_field(head, name, value);
    return MHD_YES;
}

void request_head_read(struct MHD_Connection *mhd, struct request_head *ret_head) {
    *ret_head = (struct request_head){0};
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, visit_field, ret_head);
    const size_t bytes = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size +
                         (size_t)ret_head->field_count * SERVER_FIELD_BYTES;
    ret_head->too_large = bytes > SERVER_HEAD_MAX || ret_head->field_count > SERVER_FIELDS_MAX;
}

/* --- judging --- */

static bool all_digits(struct slice text) {
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] < '0' || text.data[i] > '9') return false;
    return text.size > 0;
}

static const char large_head[] =
    "the head of the request has more than 100 fields, or than 14 KiB with 64 bytes more for each field";
static const char bad_length[] = "Content-Length is one number of bytes, in decimal digits";
static const char too_large[] = "the body is larger than this server takes";

const char *request_head_reason(unsigned status) {
    return status == 413 ? too_large : status == 431 ? large_head : bad_length;
}

static struct slice without_port(struct slice host) {
    if (host.size > 0 && host.data[0] == '[') {
        const uint8_t *close = memchr(host.data, ']', host.size);
        return close == NULL ? host : slice_of(host.data, (size_t)(close - host.data) + 1);
    }
    const uint8_t *colon = memchr(host.data, ':', host.size);
    return colon == NULL ? host : slice_of(host.data, (size_t)(colon - host.data));
}

/* A page from elsewhere can make a browser ask us under its own name (DNS rebinding); an address or localhost it cannot
 * choose. */
static bool host_is_own(struct slice host) {
    char text[64];
    struct slice name = without_port(host);
    static const struct slice suffix = SLICE(".localhost");
    if (slice_equal_nocase(name, SLICE("localhost"))) return true;
    if (name.size > suffix.size &&
        slice_equal_nocase(slice_of(name.data + name.size - suffix.size, suffix.size), suffix))
        return true;
    if (name.size == 0 || name.size >= sizeof text) return false;
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    struct in_addr four;
    return name.data[0] == '[' || inet_pton(AF_INET, text, &four) == 1;
}

static bool origin_is_host(struct slice origin, struct slice host) {
    static const struct slice mark = SLICE("://");
    const uint8_t *at = origin.size > 0 ? memmem(origin.data, origin.size, mark.data, mark.size) : NULL;
    if (at == NULL) return false;
    at += mark.size;
    return slice_equal_nocase(slice_of(at, (size_t)(origin.data + origin.size - at)), host);
}

static unsigned check_framing(const struct request_head *head, const char *version, const char **ret_reason) {
    const bool old = strcmp(version, "HTTP/1.0") == 0;
    *ret_reason = "the framing of the request is malformed or ambiguous";
    if (head->malformed || head->folded || head->host_count > 1) return 400;
    *ret_reason = bad_length;
    if (head->content_length_count > 1 || (head->content_length_count == 1 && !all_digits(head->content_length)))
        return 400;
    *ret_reason = "a request needs a Host field (RFC 9112, section 3.2)";
    if (head->host_count == 0 && !old) return 400;
    *ret_reason = "the framing of the request is malformed or ambiguous";
    if (head->transfer_encoding_count == 0) return 0;
    if (head->content_length_count > 0 || old) return 400;
    *ret_reason = "the only transfer coding understood is chunked";
    return head->transfer_encoding_count > 1 || !slice_equal_nocase(head->transfer_encoding, SLICE("chunked")) ? 501
                                                                                                               : 0;
}

/* libmicrohttpd hands over a target as a C string, which a NUL in it would cut: in its memory the version stands right behind
 * the whole of it. */
static unsigned check_target_end(const struct exchange *exchange, const char *version, const char **ret_reason) {
    *ret_reason = "the target of the request has a NUL in it";
    return version == exchange->target_end + 1 ? 0 : 400;
}

static unsigned check_size(const struct exchange *exchange, const struct request_head *head, const char **ret_reason) {
    *ret_reason = "the target of the request is longer than 8 KiB";
    if (exchange->target_err == ERR_TOO_LARGE) return 414;
    *ret_reason = large_head;
    if (head->too_large) return 431;
    *ret_reason = "the target of the request has a broken escape, a space or a control byte";
    if (exchange->target_err != ERR_OK) return http_status_of(exchange->target_err);
    *ret_reason = too_large;
    uint64_t length = 0;
    if (head->content_length_count == 1 &&
        (!slice_to_u64(head->content_length, &length) || length > exchange->server->options.body_max_bytes))
        return 413;
    *ret_reason = "a body is taken as it is, without a Content-Encoding such as gzip: send it uncompressed";
    const bool encoded = head->content_encoding_count > 1 || !is_identity(head->content_encoding);
    return encoded && head->content_length_count + head->transfer_encoding_count > 0 ? 415 : 0;
}

/* A browser cannot set headers on a websocket, so there alone the token may be an argument, `access_token`. */
static bool token_given(const struct exchange *exchange, const struct request_head *head) {
    static const struct slice scheme = SLICE("Bearer ");
    struct http_handler *handler = exchange->server->options.handler;
    const struct slice given = head->authorization;
    if (handler->open != NULL && handler->open(handler, exchange->http.path)) return true;
    if (given.size > scheme.size && slice_equal_nocase(slice_of(given.data, scheme.size), scheme))
        return token_matches(exchange->server, slice_of(given.data + scheme.size, given.size - scheme.size));
    return head->upgrade.size > 0 && token_matches(exchange->server, http_argument(&exchange->http, "access_token"));
}

static unsigned check_access(const struct exchange *exchange, const struct request_head *head, const char *method,
                             const char **ret_reason) {
    const struct server *server = exchange->server;
    *ret_reason = "a request needs \"Authorization: Bearer\" with a token of this server";
    if (!exchange->connection->local && server_secrets(server)->token_count > 0 && !token_given(exchange, head))
        return 401;
    *ret_reason = "on a loopback address the host must be localhost or an address";
    if (!exchange->connection->local && server->loopback && server_secrets(server)->token_count == 0 &&
        head->host_count == 1 && !host_is_own(head->host))
        return 403;
    *ret_reason = "requests from pages of other origins are refused";
    const bool harmless = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
    if (head->origin.size > 0 && (!harmless || head->upgrade.size > 0) && !origin_is_host(head->origin, head->host))
        return 403;
    return 0;
}

unsigned request_head_check(const struct exchange *exchange, const struct request_head *head, const char *method,
                            const char *version, const char **ret_reason) {
    unsigned status = check_framing(head, version, ret_reason);
    if (status == 0) status = check_target_end(exchange, version, ret_reason);
    if (status == 0) status = check_size(exchange, head, ret_reason);
    if (status == 0) status = check_access(exchange, head, method, ret_reason);
    return status;
}
