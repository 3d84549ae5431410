/* Runs a program and measures it. It is small, because the kernel counts the memory of the process that calls exec as
 * that of the program (ru_maxrss, getrusage(2)), and takes the time as close to exec as possible.
 *
 * Usage: stopwatch RESULT FOLDER NAME ROOT PROGRAM [ARGUMENT...]
 * PROGRAM, a path of this process, runs with the root directory ROOT (chroot(2)).
 * Writes one JSON document to the file RESULT: `wall` and `cpu` in seconds (cpu: user and system time, also of the children
 * that the program waited for), `written` in seconds from exec until the file NAME of FOLDER was closed after writing or
 * moved there (null: never), `memory` in bytes, page faults, and the exit code. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    fprintf(stderr, "stopwatch: %s: %s\n", what, strerror(errno));
    exit(125);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Whether one of the events in the buffer is of this file. */
static int has_event(int watch, const char *name) {
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t length;
    int found = 0;
    while ((length = read(watch, buffer, sizeof buffer)) > 0)
        for (char *at = buffer; at < buffer + length;) {
            struct inotify_event *event = (struct inotify_event *)at;
            found |= event->len > 0 && strcmp(event->name, name) == 0;
            at += sizeof *event + event->len;
        }
    return found;
}

static double seconds(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

int main(int count, char **arguments) {
    if (count < 6) {
        fprintf(stderr, "usage: stopwatch RESULT FOLDER NAME ROOT PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    const char *name = arguments[3];
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch < 0 || inotify_add_watch(watch, arguments[2], IN_MOVED_TO | IN_CLOSE_WRITE) < 0) fail(arguments[2]);
    double *start = mmap(NULL, sizeof *start, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) fail("mmap");
    const char *root = arguments[4], *path = arguments[5];
    int program = open(path, O_RDONLY | O_CLOEXEC);
    if (program < 0) fail(path);
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        if (strcmp(root, "/") != 0 && (chroot(root) < 0 || chdir("/") < 0)) fail(root);
        *start = now();
        fexecve(program, arguments + 5, environ);
        fail(path);
    }
    int end = syscall(SYS_pidfd_open, child, 0);
    if (end < 0) fail("pidfd_open");
    double written = -1, ended = 0;
    while (!ended) {
        struct pollfd files[] = {{watch, POLLIN, 0}, {end, POLLIN, 0}};
        if (poll(files, 2, -1) < 0) fail("poll");
        double time = now();
        if (files[0].revents && has_event(watch, name) && written < 0) written = time - *start;
        if (files[1].revents) ended = time;
    }
    int status;
    struct rusage usage;
    if (wait4(child, &status, 0, &usage) < 0) fail("wait4");
    FILE *result = fopen(arguments[1], "w");
    if (!result) fail(arguments[1]);
    fprintf(result, "{\"wall\": %.6f, \"cpu\": %.6f, \"written\": ", ended - *start,
            seconds(usage.ru_utime) + seconds(usage.ru_stime));
    if (written < 0) fprintf(result, "null");
    else fprintf(result, "%.6f", written);
    fprintf(result, ", \"memory\": %ld, \"minor_faults\": %ld, \"major_faults\": %ld, \"code\": %d}\n",
            usage.ru_maxrss * 1024, usage.ru_minflt, usage.ru_majflt,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return fclose(result) ? 125 : 0;
}
