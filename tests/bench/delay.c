/* A link with a delay between two network namespaces, for kernels without netem. It delays IP packets, so TCP and TLS
 * handshakes take as many round trips as on a real network.
 *
 * Usage: delay NAME PID
 * Makes a TUN device NAME in its own network namespace and one in that of process PID. Passes packets between them, each
 * after the delay of one direction, in their order. Each line of stdin is a new delay in microseconds; it prints the
 * line when the delay is in effect. Ends with stdin; the devices end with it. (Linux, Documentation/networking/tuntap.rst) */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PACKETS 4096 /* in flight in one direction; more are dropped, as by a full queue */
#define LARGEST 2048 /* bytes; the MTU is 1500 */
#define SECOND 1000000000LL

struct packet {
    long long due; /* ns of CLOCK_MONOTONIC */
    ssize_t length;
    char bytes[LARGEST];
};

struct direction {
    int from, to;
    unsigned first, count;
    struct packet *queue;
};

static void fail(const char *what) {
    fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static int tun(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int file = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (file < 0) fail("/dev/net/tun");
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (ioctl(file, TUNSETIFF, &request) < 0) fail("TUNSETIFF");
    return file;
}

static void receive(struct direction *way, long long delay) {
    char bytes[LARGEST];
    ssize_t length;
    while ((length = read(way->from, bytes, sizeof bytes)) > 0) {
        if (way->count == PACKETS) continue;
        struct packet *last = &way->queue[(way->first + way->count++) % PACKETS];
        last->due = now() + delay;
        last->length = length;
        memcpy(last->bytes, bytes, length);
    }
}

static void deliver(struct direction *way) {
    while (way->count > 0 && way->queue[way->first].due <= now()) {
        struct packet *first = &way->queue[way->first];
        /* A device that is down has no receiver; the packet is lost, as on a network. */
        if (write(way->to, first->bytes, first->length) < 0 && errno != EIO && errno != EAGAIN) fail("write");
        way->first = (way->first + 1) % PACKETS;
        way->count--;
    }
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: delay NAME PID\n");
        return 2;
    }
    int near = tun(arguments[1]);
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/ns/net", arguments[2]);
    int namespace = open(path, O_RDONLY);
    if (namespace < 0) fail(path);
    if (setns(namespace, CLONE_NEWNET) < 0) fail("setns");
    int far = tun(arguments[1]);
    /* A link does not become slower when the machine is busy. */
    struct sched_param priority = {.sched_priority = 10};
    if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0) fail("sched_setscheduler");
    if (prctl(PR_SET_TIMERSLACK, 1UL) < 0) fail("PR_SET_TIMERSLACK");
    struct direction ways[] = {{.from = near, .to = far}, {.from = far, .to = near}};
    for (int i = 0; i < 2; i++)
        if (!(ways[i].queue = calloc(PACKETS, sizeof(struct packet)))) fail("calloc");
    long long delay = 0;
    puts("up");
    fflush(stdout);
    for (;;) {
        long long next = -1;
        for (int i = 0; i < 2; i++) {
            long long due = ways[i].count ? ways[i].queue[ways[i].first].due : -1;
            if (due >= 0 && (next < 0 || due < next)) next = due;
        }
        long long left = next < 0 ? 0 : next - now();
        if (left < 0) left = 0;
        struct timespec wait = {left / SECOND, left % SECOND};
        struct pollfd files[] = {{near, POLLIN, 0}, {far, POLLIN, 0}, {0, POLLIN, 0}};
        if (ppoll(files, 3, next < 0 ? NULL : &wait, NULL) < 0 && errno != EINTR) fail("ppoll");
        for (int i = 0; i < 2; i++) {
            receive(&ways[i], delay);
            deliver(&ways[i]);
        }
        if (files[2].revents) {
            char line[64];
            ssize_t length = read(0, line, sizeof line - 1);
            if (length <= 0) return 0;
            line[length] = 0;
            delay = atoll(line) * 1000;
            printf("%lld\n", delay / 1000);
            fflush(stdout);
        }
    }
}
