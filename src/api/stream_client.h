/* A small client of the stream, for its tests. */
#ifndef API_STREAM_CLIENT_H
#define API_STREAM_CLIENT_H

#include <stdbool.h>

extern char message[1024 * 1024]; /* the last one that came */

int stream_open(int port);
void stream_send(int fd, const char *text);
/* The next text that is no heartbeat, in `message`; false: none within the time. */
bool stream_next(int fd, int timeout_ms);
/* The next one has this in it. */
void expect(int fd, const char *part);
/* And so has the last one. */
void and_expect(const char *part);
void read_cursor(char cursor[static 64]);

#endif
