/* A thread around one libmicrohttpd daemon.
 *
 * libmicrohttpd 0.9.75 could run the thread itself, but its epoll loop, having got a full array of 128 events, waits for
 * more with the same timeout before it acts on any: with more than 128 connections it sleeps on answers that are ready.
 * MHD_run never waits, so the waiting is done here. It also lets a committer hand over a whole group of answers with one
 * wake-up. */
#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "net/server_internal.h"

enum { LOOP_IDLE_MS = 1000 };

static void ring(struct server_loop *loop) {
    const uint64_t one = 1;
    if (loop->event_fd >= 0) (void)!write(loop->event_fd, &one, sizeof one);
}

void loop_resume(struct exchange *exchange) {
    struct server_loop *loop = exchange->loop;
    struct exchange *head = atomic_load_explicit(&loop->resumed, memory_order_relaxed);
    do exchange->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->resumed, &head, exchange, memory_order_release,
                                                  memory_order_relaxed));
    if (head == NULL) ring(loop);
}

static void resume_all(struct server_loop *loop) {
    struct exchange *exchange = atomic_exchange_explicit(&loop->resumed, NULL, memory_order_acquire);
    while (exchange != NULL) {
        struct exchange *next = exchange->next;
        MHD_resume_connection(exchange->mhd);
        exchange = next;
    }
}

static void quiesce(struct server_loop *loop) {
    const MHD_socket fd = MHD_quiesce_daemon(loop->daemon);
    if (fd != MHD_INVALID_SOCKET) close(fd);
    atomic_store(&loop->quiesce, false);
}

static bool is_full(struct server_loop *loop) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(loop->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info != NULL && info->num_connections >= loop->connections_max;
}

static int64_t wait_ms(struct server_loop *loop) {
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    if (MHD_get_timeout(loop->daemon, &timeout_ms) != MHD_YES || timeout_ms > LOOP_IDLE_MS) return LOOP_IDLE_MS;
    return (int64_t)timeout_ms;
}

static void *loop_main(void *context) {
    struct server_loop *loop = context;
    bool room_again = false;
    sys_thread_take_turns();
    while (!atomic_load_explicit(&loop->stop, memory_order_relaxed)) {
        const int64_t timeout_ms = room_again ? 0 : wait_ms(loop);
        const int ready = poll(loop->waiting, LOOP_OWN_FDS + loop->lingering_count, (int)timeout_ms);
        if (ready > 0 && (loop->waiting[1].revents & POLLIN) != 0) {
            uint64_t rung;
            (void)!read(loop->event_fd, &rung, sizeof rung);
        }
        if (ready >= 0 && loop->lingering_count > 0) linger_turn(loop);
        if (atomic_load_explicit(&loop->quiesce, memory_order_acquire)) quiesce(loop);
        resume_all(loop);
        const bool was_full = is_full(loop);
        (void)MHD_run(loop->daemon);
        room_again = was_full && !is_full(loop); /* it listens again from the next run on */
    }
    return NULL;
}

enum err loop_start(struct server_loop *loop, struct diag *diag) {
    const struct sys *sys = loop->server->options.sys;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(loop->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL) return diag_set(diag, ERR_IO, "libmicrohttpd has no epoll here");
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->event_fd < 0) return diag_set(diag, ERR_LIMIT, "no descriptors for the HTTP server: %s", strerror(errno));
    loop->waiting[0] = (struct pollfd){.fd = info->epoll_fd, .events = POLLIN};
    loop->waiting[1] = (struct pollfd){.fd = loop->event_fd, .events = POLLIN};
    return sys->thread_start(sys->context, "http", loop_main, loop, &loop->thread);
}

/* On its own thread: libmicrohttpd takes the listening descriptor out of its epoll and puts it back while it runs. */
void loop_quiesce(struct server_loop *loop) {
    const struct timespec pause = {0, 1000000};
    if (loop->daemon == NULL || loop->thread == NULL) return;
    atomic_store(&loop->quiesce, true);
    ring(loop);
    while (atomic_load(&loop->quiesce)) nanosleep(&pause, NULL);
}

void loop_stop(struct server_loop *loop) {
    const struct sys *sys = loop->server->options.sys;
    atomic_store(&loop->stop, true);
    ring(loop);
    if (loop->thread != NULL) sys->thread_join(sys->context, &loop->thread);
    linger_stop(loop);
    if (loop->daemon != NULL) {
        resume_all(loop);
        MHD_stop_daemon(loop->daemon);
        answers_forget(loop);
    }
    loop->daemon = NULL;
    if (loop->event_fd >= 0) close(loop->event_fd);
    loop->event_fd = -1;
}
