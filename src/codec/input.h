/* A file as lines, whatever it is wrapped in: plain, gzip (several members), zstd (several frames), or a zip of one file.
 *
 * The wrapping is told by the first bytes, not the name. Reads ahead in pieces of 128 KiB, which stay in the cache; memory
 * stays under 1 MiB plus twice the longest line, and the window of a zstd frame (8 MiB of its usual levels, at most
 * 128 MiB). Nothing is ever unpacked as a whole, so a small file that unpacks to a large one costs time only. One thread. */
#ifndef CODEC_INPUT_H
#define CODEC_INPUT_H

#include "sys/sys.h"

enum { INPUT_LINE_MAX = 16 * 1024 * 1024, INPUT_PADDING_BYTES = 64 };

struct input;
enum input_wrapping { INPUT_PLAIN, INPUT_GZIP, INPUT_ZSTD, INPUT_ZIP };

/* ERR_NOT_FOUND, ERR_DENIED, ERR_IO; ERR_CORRUPT for a zip without exactly one file. "-" is standard input. */
enum err input_open(const struct sys *sys, const char *path, struct diag *diag, struct input **ret_input) MUST_USE;
/* Over bytes in memory (tests, fuzzing, request bodies), unwrapped alike. */
enum err input_open_memory(struct slice bytes, struct diag *diag, struct input **ret_input) MUST_USE;
void input_close(struct input **input);

/* As many whole lines as are at hand (at least one, up to about 128 KiB): *ret_lines ends with a newline, except at the end of a
 * file without one. INPUT_PADDING_BYTES behind it are readable. Lives until the next call. ERR_END; ERR_TOO_LARGE for a line
 * past INPUT_LINE_MAX (it is skipped; go on); ERR_CORRUPT where the wrapping is damaged or ends early (what came before was
 * handed out); ERR_IO. */
enum err input_lines(struct input *input, struct diag *diag, struct slice *ret_lines) MUST_USE;
/* The next `size` raw bytes, for binary formats; ERR_END at a clean end, ERR_CORRUPT if fewer are left. */
enum err input_bytes(struct input *input, size_t size, struct diag *diag, struct slice *ret_bytes) MUST_USE;

/* What the next call will start with, as far as it is at hand (up to about 128 KiB), without taking it; to guess formats.
 * Ends what was handed out before, as every call here does; lives as long. */
struct slice input_peek(struct input *input);
/* Why nothing more comes: ERR_END, or the damage that it ends with; ERR_OK while there may be more. */
enum err input_stopped(const struct input *input, struct diag *diag);
/* Text may begin with a byte order mark (UTF-8): the same without it, and passing over it, before anything is taken. Lines and
 * places in them count from behind it; the identity has it. */
struct slice input_unmarked(struct slice head);
void input_skip_mark(struct input *input);
enum input_wrapping input_wrapping_of(const struct input *input);
/* Counted by whoever takes the lines apart, for the progress. */
void input_add_lines(struct input *input, uint64_t count);

struct input_progress {
    uint64_t read_bytes;  /* of the file as it is stored */
    uint64_t total_bytes; /* 0: not known */
    uint64_t plain_bytes; /* handed out, unwrapped */
    uint64_t lines;
};
void input_progress(const struct input *input, struct input_progress *ret_progress);
/* XXH3-128 of the unwrapped content so far (all of it after ERR_END): the identity of an import. */
void input_identity(const struct input *input, uint8_t ret_identity[static 16]);

#endif
