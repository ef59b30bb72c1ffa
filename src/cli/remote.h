/* Requests to a wick elsewhere. What they need to know is in the environment: the token in WICK_TOKEN, and certificates to
 * trust in the files CURL_CA_BUNDLE and SSL_CERT_FILE and the folder SSL_CERT_DIR. */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include <curl/curl.h>

#include "base/buf.h"

struct remote {
    CURL *curl; /* on which the caller sets what is its own: body, answer, time */
    struct curl_slist *headers;
    const char *trusted; /* the variable that named the file tried last; NULL: none did */
    char error[CURL_ERROR_SIZE];
};

/* `socket_path`: of the wick on a folder, which asks for no token; NULL: by TCP. */
enum err remote_open(struct remote *remote, const char *socket_path, struct diag *diag) MUST_USE;
void remote_close(struct remote *remote);
/* Whatever is answered is ERR_OK, with its HTTP status. */
enum err remote_ask(struct remote *remote, const char *url, struct diag *diag, long *ret_status) MUST_USE;

#endif
