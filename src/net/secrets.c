/* Tokens and certificate, and how they change while the server runs.
 *
 * A set is never changed, only replaced. Whoever has begun with one, a request for as long as a comparison takes and a TLS
 * handshake for at most the time a head may take, goes on with it: so a set that was replaced is freed with the first reload
 * a while later, or with the server. */
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <stdlib.h>

#include "net/server_internal.h"

enum { PEM_MAX_BYTES = 1024 * 1024, CHAIN_MAX = 16, SETS_MAX = 64 };

/* --- tokens: only their SHA-256 is known here; compared in constant time, all of them every time --- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool digest_read(const char *text, uint8_t digest[static TOKEN_BYTES]) {
    if (strlen(text) != 2 * TOKEN_BYTES) return false;
    for (int i = 0; i < TOKEN_BYTES; i++) {
        const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        digest[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static enum err read_tokens(const struct server_secrets_options *options, struct diag *diag, struct secrets *secrets) {
    if (options->token_count == 0) return ERR_OK;
    secrets->tokens = calloc(options->token_count, sizeof *secrets->tokens);
    if (secrets->tokens == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the tokens");
    secrets->token_count = options->token_count;
    for (uint32_t i = 0; i < options->token_count; i++)
        if (!digest_read(options->token_sha256[i], secrets->tokens[i]))
            return diag_set(diag, ERR_USAGE, "token %u is not a SHA-256 digest of 64 hex digits", i + 1);
    return ERR_OK;
}

bool token_matches(const struct server *server, struct slice token) {
    const struct secrets *secrets = server_secrets(server);
    uint8_t digest[TOKEN_BYTES];
    if (token.size == 0 || gnutls_hash_fast(GNUTLS_DIG_SHA256, token.data, token.size, digest) != 0) return false;
    unsigned found = 0;
    for (uint32_t i = 0; i < secrets->token_count; i++)
        found |= gnutls_memcmp(secrets->tokens[i], digest, TOKEN_BYTES) == 0;
    return found != 0;
}

/* --- certificate --- */

static enum err read_pem(const struct sys *sys, const char *path, struct diag *diag, gnutls_datum_t *ret_pem) {
    size_t size;
    uint8_t *data = NULL;
    enum err err = sys_read_file(sys, path, PEM_MAX_BYTES, diag, &data, &size);
    if (err == ERR_OK) *ret_pem = (gnutls_datum_t){data, (unsigned)size};
    return err;
}

static bool import_chain(struct secrets *secrets, const gnutls_datum_t *pem) {
    secrets->chain = calloc(CHAIN_MAX, sizeof *secrets->chain);
    unsigned count = CHAIN_MAX;
    if (secrets->chain == NULL ||
        gnutls_pcert_list_import_x509_raw(secrets->chain, &count, pem, GNUTLS_X509_FMT_PEM, 0) < 0)
        return false;
    secrets->chain_count = count;
    return count > 0;
}

static bool import_key(struct secrets *secrets, const gnutls_datum_t *pem) {
    return gnutls_privkey_init(&secrets->key) == 0 &&
           gnutls_privkey_import_x509_raw(secrets->key, pem, GNUTLS_X509_FMT_PEM, NULL, 0) == 0;
}

static bool key_fits(const struct secrets *secrets) {
    uint8_t own[64], wanted[64];
    size_t own_size = sizeof own, wanted_size = sizeof wanted;
    gnutls_pubkey_t public = NULL;
    bool fits =
        gnutls_pubkey_init(&public) == 0 && gnutls_pubkey_import_privkey(public, secrets->key, 0, 0) == 0 &&
        gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, own, &own_size) == 0 &&
        gnutls_pubkey_get_key_id(secrets->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, wanted, &wanted_size) == 0 &&
        own_size == wanted_size && memcmp(own, wanted, own_size) == 0;
    if (public != NULL) gnutls_pubkey_deinit(public);
    return fits;
}

static enum err no_pem(const char *path, const char *what, struct diag *diag) {
    diag_set(diag, ERR_SYNTAX, "this does not hold %s in PEM", what);
    diag_where(diag, "%s", path);
    return ERR_SYNTAX;
}

static enum err read_certificate(const struct sys *sys, const struct server_secrets_options *options, struct diag *diag,
                                 struct secrets *secrets) {
    if (options->certificate == NULL && options->key == NULL) return ERR_OK;
    if (options->certificate == NULL || options->key == NULL)
        return diag_set(diag, ERR_USAGE, "TLS needs a certificate and its key");
    gnutls_datum_t certificate = {0}, key = {0};
    enum err err = read_pem(sys, options->certificate, diag, &certificate);
    if (err == ERR_OK) err = read_pem(sys, options->key, diag, &key);
    if (err == ERR_OK && !import_chain(secrets, &certificate))
        err = no_pem(options->certificate, "a certificate", diag);
    if (err == ERR_OK && !import_key(secrets, &key)) err = no_pem(options->key, "a private key", diag);
    if (err == ERR_OK && !key_fits(secrets))
        err =
            diag_set(diag, ERR_CONFLICT, "certificate and key do not fit: %s, %s", options->certificate, options->key);
    if (key.data != NULL) gnutls_memset(key.data, 0, key.size);
    free(certificate.data);
    free(key.data);
    return err;
}

int secrets_certificate(gnutls_session_t session, const gnutls_datum_t *issuers, int issuer_count,
                        const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_chain,
                        unsigned *ret_chain_count, gnutls_privkey_t *ret_key) {
    (void)issuers, (void)issuer_count, (void)algorithms, (void)algorithm_count;
    struct MHD_Connection *mhd = gnutls_session_get_ptr(session);
    if (mhd == NULL) return -1;
    const struct connection *connection =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (connection == NULL) return -1;
    const struct secrets *secrets = server_secrets(connection->server);
    *ret_chain = secrets->chain;
    *ret_chain_count = secrets->chain_count;
    *ret_key = secrets->key;
    return 0;
}

/* --- sets --- */

static void secrets_free(struct secrets *secrets) {
    if (secrets == NULL) return;
    for (unsigned i = 0; i < secrets->chain_count; i++) gnutls_pcert_deinit(&secrets->chain[i]);
    if (secrets->key != NULL) gnutls_privkey_deinit(secrets->key);
    free(secrets->chain);
    free(secrets->tokens);
    free(secrets);
}

static enum err secrets_read(const struct server *server, const struct server_secrets_options *options,
                             struct diag *diag, struct secrets **ret_secrets) {
    struct secrets *secrets = calloc(1, sizeof *secrets);
    if (secrets == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for tokens and certificate");
    enum err err = read_tokens(options, diag, secrets);
    if (err == ERR_OK) err = read_certificate(server->options.sys, options, diag, secrets);
    if (err != ERR_OK) {
        secrets_free(secrets);
        return err;
    }
    *ret_secrets = secrets;
    return ERR_OK;
}

enum err secrets_open(struct server *server, struct diag *diag) {
    struct secrets *secrets = NULL;
    enum err err = secrets_read(server, &server->options.secrets, diag, &secrets);
    if (err == ERR_OK) atomic_store(&server->secrets, secrets);
    return err;
}

void secrets_close(struct server *server) {
    for (struct secrets *at = atomic_load(&server->secrets), *older; at != NULL; at = older) {
        older = at->older;
        secrets_free(at);
    }
}

/* Frees what was replaced a while ago; how many are left. */
static uint32_t free_old(const struct server *server, struct secrets *newest) {
    const uint32_t now_tick = atomic_load(&server->tick);
    const uint32_t grace_ticks = 2 * server->options.head_timeout_ms / SERVER_TICK_MS + 1;
    uint32_t count = 1;
    for (struct secrets **at = &newest->older; *at != NULL;) {
        struct secrets *old = *at;
        if (now_tick - old->replaced_tick <= grace_ticks) {
            at = &old->older;
            count++;
            continue;
        }
        *at = old->older;
        secrets_free(old);
    }
    return count;
}

enum err server_reload(struct server *server, const struct server_secrets_options *options, struct diag *diag) {
    struct secrets *old = atomic_load(&server->secrets), *secrets = NULL;
    if (free_old(server, old) == SETS_MAX)
        return diag_set(diag, ERR_BUSY, "too many reloads in a short time; try again in a minute");
    enum err err = secrets_read(server, options, diag, &secrets);
    if (err != ERR_OK) return err;
    if ((secrets->chain != NULL) != (old->chain != NULL))
        err = diag_set(diag, ERR_CONFLICT, "HTTPS begins and ends with a restart");
    else if (secrets->token_count == 0 && !server->loopback && !server->options.allow_public)
        err = diag_set(diag, ERR_DENIED, "without a token anyone on the network could read and write");
    if (err != ERR_OK) {
        secrets_free(secrets);
        return err;
    }
    secrets->older = old;
    old->replaced_tick = atomic_load(&server->tick);
    atomic_store(&server->secrets, secrets);
    return ERR_OK;
}
