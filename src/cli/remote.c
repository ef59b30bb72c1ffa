#include "cli/remote.h"

#include <stdlib.h>
#include <string.h>

enum { TOKEN_MAX = 4096 };

static const char *from_environment(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Where curl itself looks for certificates: the library leaves its environment alone. A file that does not know the other
 * side does not keep one behind it from being tried, since systems set some of these for all programs. */
static const char *const trusted_files[] = {"CURL_CA_BUNDLE", "SSL_CERT_FILE"};
enum { TRUSTED_FILES = sizeof trusted_files / sizeof *trusted_files };

static bool is_distrust(CURLcode code) {
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
}

/* Nothing has been sent to whom it does not trust. */
static CURLcode perform(struct remote *remote) {
    CURLcode code = CURLE_PEER_FAILED_VERIFICATION;
    remote->trusted = NULL;
    for (unsigned i = 0; i < TRUSTED_FILES && is_distrust(code); i++) {
        const char *file = from_environment(trusted_files[i]);
        if (file == NULL) continue;
        remote->trusted = trusted_files[i];
        remote->error[0] = '\0';
        curl_easy_setopt(remote->curl, CURLOPT_CAINFO, file);
        code = curl_easy_perform(remote->curl);
    }
    return remote->trusted != NULL ? code : curl_easy_perform(remote->curl);
}

static enum err put_token(struct remote *remote, struct diag *diag) {
    char header[TOKEN_MAX + 32];
    const char *token = from_environment("WICK_TOKEN");
    if (token == NULL) return ERR_OK;
    bool good = strlen(token) <= TOKEN_MAX;
    for (const char *c = token; good && *c != '\0'; c++) good = *c > 0x20 && *c < 0x7f;
    if (!good)
        return diag_set(diag, ERR_USAGE, "WICK_TOKEN: a token has no spaces, and at most %d characters", TOKEN_MAX);
    snprintf(header, sizeof header, "Authorization: Bearer %s", token);
    remote->headers = curl_slist_append(remote->headers, header);
    return ERR_OK;
}

enum err remote_open(struct remote *remote, const char *socket_path, struct diag *diag) {
    *remote = (struct remote){.curl = curl_easy_init()};
    if (remote->curl == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for a request");
    remote->headers = curl_slist_append(NULL, "Content-Type: application/json");
    enum err err = ERR_OK;
    if (socket_path != NULL) {
        curl_easy_setopt(remote->curl, CURLOPT_UNIX_SOCKET_PATH, socket_path);
        curl_easy_setopt(remote->curl, CURLOPT_PROXY, "");
    } else {
        err = put_token(remote, diag);
        const char *folder = from_environment("SSL_CERT_DIR");
        if (folder != NULL) curl_easy_setopt(remote->curl, CURLOPT_CAPATH, folder);
    }
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(remote->curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(remote->curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(remote->curl, CURLOPT_HTTPHEADER, remote->headers);
    curl_easy_setopt(remote->curl, CURLOPT_ERRORBUFFER, remote->error);
    curl_easy_setopt(remote->curl, CURLOPT_NOSIGNAL, 1L);
    if (err != ERR_OK) remote_close(remote);
    return err;
}

void remote_close(struct remote *remote) {
    if (remote->curl != NULL) curl_easy_cleanup(remote->curl);
    curl_slist_free_all(remote->headers);
    *remote = (struct remote){0};
}

static enum err say(const struct remote *remote, CURLcode code, struct diag *diag) {
    const bool usage = code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
    diag_set(diag, usage ? ERR_USAGE : ERR_IO, "%s",
             remote->error[0] != '\0' ? remote->error : curl_easy_strerror(code));
    if (usage || code == CURLE_COULDNT_RESOLVE_HOST)
        diag_hint(diag, "such as http://127.0.0.1:8787");
    else if (code == CURLE_COULDNT_CONNECT)
        diag_hint(diag, "is a wick running there? such as http://127.0.0.1:8787");
    else if (code == CURLE_SSL_CACERT_BADFILE && remote->trusted != NULL)
        diag_hint(diag, "%s in the environment names it", remote->trusted);
    else if (code == CURLE_PEER_FAILED_VERIFICATION)
        diag_hint(diag, "SSL_CERT_FILE in the environment names a certificate to trust, in PEM");
    return diag->err;
}

enum err remote_ask(struct remote *remote, const char *url, struct diag *diag, long *ret_status) {
    remote->error[0] = '\0';
    curl_easy_setopt(remote->curl, CURLOPT_URL, url);
    CURLcode code = perform(remote);
    if (code != CURLE_OK) return say(remote, code, diag);
    curl_easy_getinfo(remote->curl, CURLINFO_RESPONSE_CODE, ret_status);
    return ERR_OK;
}
