/* The peer of the HTTP figures: libmicrohttpd and nothing else, doing the least that the same promise needs.
 *
 *   bench-bare FILE      prints its port; ends with its standard input
 *
 * GET answers a fixed line. POST appends the body to FILE and answers after fdatasync: connections are suspended, one
 * committer writes whatever came while the last sync ran and resumes them. Nothing is parsed, checked or folded. It waits
 * by itself (poll, then MHD_run), because libmicrohttpd's own epoll thread sleeps on ready answers with more than 128
 * connections. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BODY_MAX = 4096, GROUP_MAX = 1024, ALLOCATED_BYTES = 1 << 30 };

struct request {
    struct MHD_Connection *connection;
    struct request *next;
    bool synced;
    size_t size;
    char body[BODY_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static struct request *waiting, *answered;
static struct MHD_Response *answer;
static int file, bell;

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "bench-bare: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct request *write_group(struct request *group) {
    struct iovec parts[GROUP_MAX];
    int count = 0;
    for (; group != NULL && count < GROUP_MAX; group = group->next)
        parts[count++] = (struct iovec){group->body, group->size};
    if (writev(file, parts, count) < 0) fail("writev");
    return group;
}

static void give_back(struct request *group) {
    const uint64_t one = 1;
    struct request *last = group;
    while (last->next != NULL) last = last->next;
    pthread_mutex_lock(&lock);
    last->next = answered;
    answered = group;
    pthread_mutex_unlock(&lock);
    if (write(bell, &one, sizeof one) < 0) fail("write");
}

static void *commit(void *unused) {
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (waiting == NULL) pthread_cond_wait(&arrived, &lock);
        struct request *group = waiting;
        waiting = NULL;
        pthread_mutex_unlock(&lock);
        for (struct request *rest = group; rest != NULL;) rest = write_group(rest);
        if (fdatasync(file) != 0) fail("fdatasync");
        give_back(group);
    }
    return NULL;
}

static void resume_all(void) {
    pthread_mutex_lock(&lock);
    struct request *request = answered;
    answered = NULL;
    pthread_mutex_unlock(&lock);
    while (request != NULL) {
        struct request *next = request->next;
        request->synced = true;
        MHD_resume_connection(request->connection);
        request = next;
    }
}

static void submit(struct request *request) {
    MHD_suspend_connection(request->connection);
    pthread_mutex_lock(&lock);
    request->next = waiting;
    waiting = request;
    pthread_cond_signal(&arrived);
    pthread_mutex_unlock(&lock);
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *data, size_t *size, void **own) {
    (void)context, (void)url, (void)version;
    if (method[0] == 'G') return MHD_queue_response(connection, 200, answer);
    struct request *request = *own;
    if (request == NULL) {
        if ((request = malloc(sizeof *request)) == NULL) return MHD_NO;
        request->connection = connection;
        request->size = 0;
        request->synced = false;
        *own = request;
        return MHD_YES;
    }
    if (*size > 0) {
        if (request->size + *size > BODY_MAX) return MHD_NO;
        memcpy(request->body + request->size, data, *size);
        request->size += *size;
        *size = 0;
        return MHD_YES;
    }
    if (request->synced) return MHD_queue_response(connection, 200, answer);
    submit(request);
    return MHD_YES;
}

static void completed(void *context, struct MHD_Connection *connection, void **own,
                      enum MHD_RequestTerminationCode code) {
    (void)context, (void)connection, (void)code;
    free(*own);
    *own = NULL;
}

static void run(struct MHD_Daemon *daemon) {
    struct pollfd waits[] = {{MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, POLLIN, 0},
                             {bell, POLLIN, 0},
                             {STDIN_FILENO, POLLIN, 0}};
    while (waits[2].revents == 0) {
        MHD_UNSIGNED_LONG_LONG timeout_ms = 1000;
        if (MHD_get_timeout(daemon, &timeout_ms) != MHD_YES || timeout_ms > 1000) timeout_ms = 1000;
        uint64_t rung;
        if (poll(waits, 3, (int)timeout_ms) > 0 && waits[1].revents != 0 && read(bell, &rung, sizeof rung) < 0)
            fail("read");
        resume_all();
        (void)MHD_run(daemon);
    }
}

int main(int argc, char **argv) {
    static char text[] = "{\"accepted\":1,\"duplicate\":0,\"invalid\":[]}";
    if (argc != 2) return 2;
    file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || posix_fallocate(file, 0, ALLOCATED_BYTES) != 0) fail(argv[1]);
    answer = MHD_create_response_from_buffer(sizeof text - 1, text, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(answer, "Content-Type", "application/json");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO, 0, NULL, NULL, handle, NULL, MHD_OPTION_SOCK_ADDR,
        &address, MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_END);
    pthread_t committer;
    bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (daemon == NULL || pthread_create(&committer, NULL, commit, NULL) != 0) fail("start");
    printf("%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    run(daemon);
    unlink(argv[1]);
    _exit(0); /* the committer waits for ever */
}
