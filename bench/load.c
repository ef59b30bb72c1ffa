/* An HTTP load generator that makes its own price events: one thread, epoll, keep-alive.
 *
 *   bench-load PORT SECONDS STREAM..     STREAM: KIND:CONNECTIONS:UNITS:RATE | fill:HOURS
 *
 * `post` sends POST /v1/prices of UNITS JSON lines, `read` POST /v1/query of UNITS members, nine latest prices to one
 * history, keys and times skewed to a few series and to now: a history is 1m candles that end ten minutes ago and reach
 * half an hour back on average (both exponential, at most two hours long), one in fifty of them six hours of 5m; `latest` POST /v1/latest of UNITS series, `get`
 * GET /v1/latest of one, always the same; `fill` first posts one event a series and minute of the hours before now. RATE is requests a second, open loop: a latency counts from the moment the request was
 * due, so that a stall shows in every request it delayed. RATE 0 is closed loop: each connection always has one request
 * under way, but for one that was refused (429, 503), which waits as long as Retry-After says; in an open loop it goes on with
 * the next request that is due. Either has the same events, as nobody has them yet. Latencies are those of answers of 200. One
 * JSON object comes out. */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SERIES = 2000, EVENT_MAX = 256, KEY_MAX = 192, STREAMS_MAX = 4, CONNECTIONS_MAX = 4096, ANSWER_MAX = 4 << 20 };
enum { FINE_US = 200000, COARSE_MS = 60000 };

struct stream;

struct connection {
    struct stream *stream;
    int socket;
    bool busy;
    bool refused; /* its last request */
    int64_t rests_until_ns;
    uint8_t *out;
    size_t out_begin, out_size, out_sent;
    uint8_t *in;
    size_t in_size, in_room;
    int64_t due_ns;
    uint64_t units; /* events or keys of the request under way */
};

enum kind { KIND_POST, KIND_READ, KIND_LATEST, KIND_GET };
static const char *const kinds[] = {"post", "read", "latest", "get"};

struct stream {
    enum kind kind;
    uint32_t connection_count, unit_count;
    double rate;
    struct connection *connections;
    int64_t next_ns;
    bool blocked;
    uint64_t requests, good, units, refused, failed, late_starts;
    uint32_t *fine; /* latencies by microsecond */
    uint32_t *coarse;
    int64_t max_ns;
};

static uint64_t random_state = 0x9E3779B97F4A7C15u;
static uint64_t event_counter;
static int event_queue;
static uint16_t server_port;

static uint64_t next_random(void) {
    uint64_t z = (random_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static double uniform(void) { return (double)(next_random() >> 11) * 0x1p-53; }

static int64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "bench-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* --- requests --- */

static const char *const exchanges[] = {"binance", "huobi", "kraken", "coinbase"};

/* A price that no other event of the run has: duplicates would be cheaper than events. */
static size_t put_event(uint8_t *out, uint32_t series, int64_t time_ms) {
    uint64_t n = event_counter++;
    return (size_t)snprintf(
        (char *)out, EVENT_MAX,
        "{\"baseCurrency\":\"B%03u\",\"quoteCurrency\":\"USDT\",\"exchange\":\"%s\",\"price\":\"%u.%06u\","
        "\"baseVolumeLast24h\":\"9728.9513\",\"quoteVolumeLast24h\":\"5203723.61\","
        "\"timestampInMs\":%lld}\n",
        series / 4, exchanges[series % 4], 100 + (unsigned)(n / 1000000 % 90000), (unsigned)(n % 1000000),
        (long long)time_ms);
}

static double exponential(double mean) { return -log(1 - uniform()) * mean; }

static size_t put_key(uint8_t *out, uint32_t number, int64_t now_ms) {
    double u = uniform();
    uint32_t series = (uint32_t)(u * u * u * SERIES);
    char name[64];
    snprintf(name, sizeof name, "%s:B%03u/USDT", exchanges[series % 4], series / 4);
    const char *comma = number > 0 ? "," : "";
    if (number % 10 != 9) return (size_t)snprintf((char *)out, KEY_MAX, "%s{\"latest\":\"%s\"}", comma, name);
    const int64_t end_ms = now_ms - (int64_t)(exponential(10) * 60000);
    double minutes = 1 + exponential(30);
    if (minutes > 120) minutes = 120;
    const bool far = next_random() % 50 == 0;
    if (far) minutes = 360;
    return (size_t)snprintf(
        (char *)out, KEY_MAX,
        "%s{\"candles\":{\"series\":\"%s\",\"kind\":\"price\",\"interval\":\"%s\",\"from\":%lld,\"to\":%lld,"
        "\"limit\":120}}",
        comma, name, far ? "5m" : "1m", (long long)end_ms - (int64_t)(minutes * 60000), (long long)end_ms);
}

static size_t put_name(uint8_t *out, uint32_t series, bool first) {
    return (size_t)snprintf((char *)out, KEY_MAX, "%s\"%s:B%03u/USDT\"", first ? "" : ",", exchanges[series % 4],
                            series / 4);
}

static void finish_request(struct connection *c, const char *path, size_t head_room, size_t body_size) {
    char head[256];
    int size = snprintf(head, sizeof head,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        path, body_size);
    /* The head goes right before the body, whose place is fixed. */
    memcpy(c->out + head_room - (size_t)size, head, (size_t)size);
    c->out_begin = c->out_sent = head_room - (size_t)size;
    c->out_size = head_room + body_size;
}

static void make_get(struct connection *c) {
    c->out_begin = c->out_sent = 0;
    c->out_size = (size_t)snprintf((char *)c->out, EVENT_MAX,
                                   "GET /v1/latest?series=binance:B001/USDT HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
}

static size_t put_unit(uint8_t *out, enum kind kind, uint32_t number, int64_t now_ms) {
    switch (kind) {
        case KIND_READ: return put_key(out, number, now_ms);
        case KIND_LATEST: return put_name(out, number % SERIES, number == 0);
        default: return put_event(out, (uint32_t)(event_counter % SERIES), now_ms);
    }
}

static void make_request(struct connection *c) {
    enum { HEAD_ROOM = 256 };
    static const char *const paths[] = {"/v1/prices", "/v1/query", "/v1/latest"};
    const struct stream *s = c->stream;
    const bool array = s->kind == KIND_READ || s->kind == KIND_LATEST;
    int64_t now_ms = clock_ns(CLOCK_REALTIME) / 1000000;
    size_t at = HEAD_ROOM;
    c->units = s->unit_count;
    if (c->out_size > 0 && (c->refused || s->kind == KIND_GET || s->kind == KIND_LATEST)) {
        c->out_sent = c->out_begin; /* the same as before */
        return;
    }
    if (s->kind == KIND_GET) {
        make_get(c);
        return;
    }
    if (array) c->out[at++] = '[';
    for (uint32_t i = 0; i < s->unit_count; i++) at += put_unit(c->out + at, s->kind, i, now_ms);
    if (array) c->out[at++] = ']';
    finish_request(c, paths[s->kind], HEAD_ROOM, at - HEAD_ROOM);
}

/* --- connections --- */

static int open_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(server_port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    return fd;
}

/* A server may close what lies idle, and what it has refused. */
static void reopen(struct connection *c) {
    close(c->socket);
    c->socket = open_socket();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(event_queue, EPOLL_CTL_ADD, c->socket, &event);
}

static void send_some(struct connection *c) {
    while (c->out_sent < c->out_size) {
        ssize_t sent = send(c->socket, c->out + c->out_sent, c->out_size - c->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) break;
        if (sent < 0) c->out_sent = c->out_size; /* it is closed: an answer may be there */
        if (sent > 0) c->out_sent += (size_t)sent;
    }
    struct epoll_event event = {.events = EPOLLIN | (c->out_sent < c->out_size ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(event_queue, EPOLL_CTL_MOD, c->socket, &event);
}

static void start_request(struct connection *c, int64_t due_ns) {
    make_request(c);
    c->busy = true;
    c->due_ns = due_ns;
    c->in_size = 0;
    send_some(c);
}

static void record_latency(struct stream *s, int64_t ns) {
    int64_t us = ns / 1000;
    if (us < FINE_US)
        s->fine[us]++;
    else
        s->coarse[us / 1000 < COARSE_MS ? us / 1000 : COARSE_MS - 1]++;
    if (ns > s->max_ns) s->max_ns = ns;
}

struct answer {
    int status;
    int retry_after_s;
    bool last; /* the server closes */
};

/* True once it is whole. */
static bool answer_is_whole(const struct connection *c, struct answer *ret_answer) {
    const uint8_t *end = memmem(c->in, c->in_size, "\r\n\r\n", 4);
    if (end == NULL) return false;
    const char *length = memmem(c->in, (size_t)(end - c->in), "ontent-Length: ", 15);
    if (length == NULL) length = memmem(c->in, (size_t)(end - c->in), "ontent-length: ", 15);
    if (length == NULL) fail("an answer without Content-Length");
    ret_answer->status = (int)strtol((const char *)c->in + 9, NULL, 10);
    const char *retry = memmem(c->in, (size_t)(end - c->in), "etry-After: ", 12);
    ret_answer->retry_after_s = retry != NULL ? (int)strtol(retry + 12, NULL, 10) : 0;
    ret_answer->last = memmem(c->in, (size_t)(end - c->in), "onnection: close", 16) != NULL;
    return c->in_size >= (size_t)(end + 4 - c->in) + strtoul(length + 15, NULL, 10);
}

static void count_failed(struct connection *c, const char *what) {
    if (c->stream->failed++ == 0) fprintf(stderr, "bench-load: %.300s\n", what);
}

static void end_request(struct connection *c, const struct answer *answer, int64_t now_ns) {
    struct stream *s = c->stream;
    s->requests++;
    c->busy = false;
    c->refused = answer->status == 429 || answer->status == 503;
    if (answer->status == 200) {
        record_latency(s, now_ns - c->due_ns);
        s->good++;
        s->units += c->units;
    } else if (c->refused) {
        s->refused++;
        if (s->rate == 0) c->rests_until_ns = now_ns + answer->retry_after_s * 1000000000LL;
    } else {
        count_failed(c, (const char *)c->in);
    }
    if (answer->last) reopen(c);
}

static void receive_some(struct connection *c, int64_t now_ns) {
    for (;;) {
        if (c->in_size + 1 >= c->in_room) {
            c->in_room *= 2;
            if (c->in_room > ANSWER_MAX || (c->in = realloc(c->in, c->in_room)) == NULL) fail("an answer too large");
        }
        ssize_t got = recv(c->socket, c->in + c->in_size, c->in_room - c->in_size - 1, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            if (c->busy) count_failed(c, "the server closed a connection that waited for an answer");
            c->busy = c->refused = false;
            reopen(c);
            return;
        }
        c->in_size += (size_t)got;
        c->in[c->in_size] = '\0';
        struct answer answer;
        if (!answer_is_whole(c, &answer)) continue;
        end_request(c, &answer, now_ns);
        return;
    }
}

static void open_stream(struct stream *s) {
    s->connections = calloc(s->connection_count, sizeof *s->connections);
    s->fine = calloc(FINE_US, sizeof *s->fine);
    s->coarse = calloc(COARSE_MS, sizeof *s->coarse);
    if (s->connections == NULL || s->fine == NULL || s->coarse == NULL) fail("calloc");
    for (uint32_t i = 0; i < s->connection_count; i++) {
        struct connection *c = &s->connections[i];
        *c = (struct connection){.stream = s, .socket = open_socket(), .in_room = 16384};
        c->out = malloc(512 + (size_t)s->unit_count * EVENT_MAX);
        c->in = malloc(c->in_room);
        if (c->out == NULL || c->in == NULL) fail("malloc");
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(event_queue, EPOLL_CTL_ADD, c->socket, &event);
    }
}

/* --- pacing --- */

static void start_due(struct stream *s, int64_t now_ns) {
    uint32_t next = 0;
    s->blocked = false;
    while (s->rate == 0 || s->next_ns <= now_ns) {
        while (next < s->connection_count &&
               (s->connections[next].busy || s->connections[next].rests_until_ns > now_ns))
            next++;
        if (next == s->connection_count) {
            if (s->rate > 0) s->late_starts++;
            s->blocked = true;
            return;
        }
        int64_t due = s->rate > 0 ? s->next_ns : now_ns;
        if (s->rate > 0) s->next_ns += (int64_t)(1e9 / s->rate);
        start_request(&s->connections[next], due);
    }
}

static void wait_for_events(const struct stream *streams, uint32_t count, int64_t now_ns) {
    int64_t wait_ns = 100000000;
    /* A stream whose connections are all busy waits for an answer, not for the clock. */
    for (uint32_t i = 0; i < count; i++)
        if (streams[i].rate > 0 && !streams[i].blocked && streams[i].next_ns - now_ns < wait_ns)
            wait_ns = streams[i].next_ns - now_ns;
    if (wait_ns < 0) wait_ns = 0;
    const struct timespec wait = {.tv_nsec = wait_ns};
    struct epoll_event events[256];
    int ready = epoll_pwait2(event_queue, events, 256, &wait, NULL);
    int64_t woken_ns = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < ready; i++) {
        struct connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) send_some(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive_some(c, woken_ns);
    }
}

static void run(struct stream *streams, uint32_t count, double seconds) {
    int64_t now_ns = clock_ns(CLOCK_MONOTONIC), end_ns = now_ns + (int64_t)(seconds * 1e9);
    for (uint32_t i = 0; i < count; i++) streams[i].next_ns = now_ns;
    while (now_ns < end_ns) {
        for (uint32_t i = 0; i < count; i++) start_due(&streams[i], now_ns);
        wait_for_events(streams, count, clock_ns(CLOCK_MONOTONIC));
        now_ns = clock_ns(CLOCK_MONOTONIC);
    }
}

/* --- one event a series and minute of the hours before now --- */

static void fill(uint32_t hours) {
    struct stream s = {.connection_count = 1, .unit_count = SERIES};
    open_stream(&s);
    struct connection *c = &s.connections[0];
    int64_t now_ms = clock_ns(CLOCK_REALTIME) / 1000000;
    for (int64_t at = now_ms - hours * 3600000LL; at < now_ms - 60000; at += 60000) {
        size_t size = 256;
        for (uint32_t i = 0; i < SERIES; i++) size += put_event(c->out + size, i, at);
        finish_request(c, "/v1/prices", 256, size - 256);
        c->busy = true;
        c->in_size = 0;
        send_some(c);
        while (c->busy) wait_for_events(&s, 1, clock_ns(CLOCK_MONOTONIC));
    }
    if (s.failed + s.refused > 0) fail("fill");
    close(c->socket);
}

/* --- result --- */

static double percentile_ms(const struct stream *s, double part) {
    uint64_t wanted = (uint64_t)(part * (double)s->good), seen = 0;
    for (uint32_t i = 0; i < FINE_US; i++)
        if ((seen += s->fine[i]) > wanted) return i / 1000.0;
    for (uint32_t i = 0; i < COARSE_MS; i++)
        if ((seen += s->coarse[i]) > wanted) return i;
    return (double)s->max_ns / 1e6;
}

static void print_stream(const struct stream *s, double seconds) {
    printf(
        "{\"kind\":\"%s\",\"requests_per_s\":%.1f,\"%s_per_s\":%.0f,\"refused\":%llu,\"failed\":%llu,\"late_starts\":%"
        "llu,"
        "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f}",
        kinds[s->kind], (double)s->requests / seconds, s->kind == KIND_POST ? "events" : "keys",
        (double)s->units / seconds, (unsigned long long)s->refused, (unsigned long long)s->failed,
        (unsigned long long)s->late_starts, percentile_ms(s, 0.5), percentile_ms(s, 0.99), percentile_ms(s, 0.999),
        (double)s->max_ns / 1e6);
}

static bool parse_stream(const char *text, struct stream *ret_stream) {
    const size_t size = strcspn(text, ":");
    uint32_t kind = 0;
    while (kind < sizeof kinds / sizeof *kinds && (strlen(kinds[kind]) != size || memcmp(kinds[kind], text, size) != 0))
        kind++;
    if (kind == sizeof kinds / sizeof *kinds || text[size] != ':') return false;
    char *at = NULL;
    struct stream s = {.kind = kind, .connection_count = (uint32_t)strtoul(text + size + 1, &at, 10)};
    if (*at != ':') return false;
    s.unit_count = (uint32_t)strtoul(at + 1, &at, 10);
    if (*at != ':') return false;
    s.rate = strtod(at + 1, &at);
    if (*at != '\0' || s.connection_count == 0 || s.connection_count > CONNECTIONS_MAX || s.unit_count == 0)
        return false;
    *ret_stream = s;
    return true;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc - 3 > STREAMS_MAX) {
        fprintf(stderr, "usage: bench-load PORT SECONDS post|read|latest|get:CONNECTIONS:UNITS:RATE|fill:HOURS ..\n");
        return 2;
    }
    server_port = (uint16_t)strtoul(argv[1], NULL, 10);
    double seconds = strtod(argv[2], NULL);
    event_queue = epoll_create1(EPOLL_CLOEXEC);
    event_counter = (uint64_t)(clock_ns(CLOCK_REALTIME) / 1000) * 7;
    struct stream streams[STREAMS_MAX];
    uint32_t count = 0;
    for (int i = 3; i < argc; i++) {
        if (strncmp(argv[i], "fill:", 5) == 0) {
            fill((uint32_t)strtoul(argv[i] + 5, NULL, 10));
        } else if (parse_stream(argv[i], &streams[count])) {
            open_stream(&streams[count++]);
        } else {
            fprintf(stderr, "bench-load: \"%s\" is no stream\n", argv[i]);
            return 2;
        }
    }
    run(streams, count, seconds);
    printf("[");
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) printf(",");
        print_stream(&streams[i], seconds);
    }
    printf("]\n");
    return 0;
}
