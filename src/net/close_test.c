/* A server that closes while another thread is about to answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/net_test.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

#define HOST "Host: localhost\r\n"

static struct test_server server;
static atomic_bool slow, closed, outlived;
static atomic_int held_up;

ssize_t __real_write(int fd, const void *bytes, size_t size);  // NOLINT: the linker's name
ssize_t __wrap_write(int fd, const void *bytes, size_t size);  // NOLINT

/* A thread that answers wakes the loop's thread by this, and takes its time over it. */
ssize_t __wrap_write(int fd, const void *bytes, size_t size) {  // NOLINT
    if (size == sizeof(uint64_t) && atomic_exchange(&slow, false)) {
        atomic_fetch_add(&held_up, 1);
        nanosleep(&(struct timespec){0, 300000000}, NULL);
        atomic_store(&outlived, atomic_load(&closed));
    }
    return __real_write(fd, bytes, size);
}

static void test_an_answer_on_its_way(void **state) {
    (void)state;
    static char answer[4096];
    test_server_open(&server, &(struct server_options){0});
    const int fd = connect_tcp(server.port);
    atomic_store(&slow, true);
    assert_int_equal(send_text(fd, "GET /later HTTP/1.1\r\n" HOST "\r\n"), 0);
    for (int i = 0; i < 2000 && atomic_load(&held_up) == 0; i++) nanosleep(&(struct timespec){0, 1000000}, NULL);
    assert_int_equal(atomic_load(&held_up), 1);
    test_server_close(&server);
    atomic_store(&closed, true);
    nanosleep(&(struct timespec){0, 400000000}, NULL);
    assert_false(atomic_load(&outlived)); /* what it then writes to, and gives back, is there */
    assert_int_equal(exchange_text(fd, "", answer, sizeof answer), 200);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_an_answer_on_its_way)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
