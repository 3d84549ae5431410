/* What `ecs-bootstrap run` does with instance metadata, with nothing else: the least that any program needs.
 *
 * Usage: raw-socket FILE PATH...
 * Gets a token, and then all paths at once, each on a connection that was opened while the token was awaited. Writes
 * `ECS_CLUSTER=` and the answer of the last path to FILE, durably: a file beside it, fsync, rename, fsync of the folder. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER 65536
#define MOST 16

static void fail(const char *what) {
    fprintf(stderr, "raw-socket: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int opened(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(80)};
    inet_pton(AF_INET, "169.254.169.254", &address.sin_addr);
    int on = 1, socket_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (socket_ < 0) fail("socket");
    if (connect(socket_, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) fail("connect");
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* The connection is opened meanwhile; reads and writes wait for it. */
    if (fcntl(socket_, F_SETFL, 0) < 0) fail("fcntl");
    return socket_;
}

static void send_all(int socket_, const char *text) {
    size_t length = strlen(text);
    /* A write during the handshake waits for its end. */
    while (length > 0) {
        ssize_t sent = write(socket_, text, length);
        if (sent < 0) fail("write");
        text += sent;
        length -= sent;
    }
}

/* Reads one answer. Returns its body, or NULL if the status is not 200. */
static char *answer(int socket_) {
    static char buffer[ANSWER];
    size_t have = 0;
    for (;;) {
        ssize_t count = read(socket_, buffer + have, sizeof buffer - 1 - have);
        if (count <= 0) fail("read");
        have += count;
        buffer[have] = 0;
        char *body = strstr(buffer, "\r\n\r\n"), *length = strcasestr(buffer, "content-length:");
        if (!body || !length) continue;
        body += 4;
        if (have < (size_t)(body - buffer) + strtoul(length + 15, NULL, 10)) continue;
        return strncmp(buffer, "HTTP/1.1 200", 12) == 0 ? body : NULL;
    }
}

static void replace(const char *path, const char *cluster) {
    char beside[4096], folder[4096];
    snprintf(beside, sizeof beside, "%s.new", path);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    int file = open(beside, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || dprintf(file, "ECS_CLUSTER=%s\n", cluster) < 0 || fsync(file) < 0 || close(file) < 0) fail(beside);
    if (rename(beside, path) < 0) fail(path);
    file = open(folder, O_RDONLY | O_DIRECTORY);
    if (file < 0 || fsync(file) < 0) fail(folder);
}

int main(int count, char **arguments) {
    int paths = count - 2, sockets[MOST];
    char request[2048], token[512], *body = NULL;
    if (paths < 1 || paths > MOST) {
        fprintf(stderr, "usage: raw-socket FILE PATH...\n");
        return 2;
    }
    for (int i = 0; i < paths; i++) sockets[i] = opened();
    send_all(sockets[0], "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nContent-Length: 0\r\n"
                         "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n");
    if (!(body = answer(sockets[0]))) fail("token");
    snprintf(token, sizeof token, "%s", body);
    for (int i = 0; i < paths; i++) {
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token: %s\r\n\r\n",
                 arguments[i + 2], token);
        send_all(sockets[i], request);
    }
    for (int i = 0; i < paths; i++) body = answer(sockets[i]);
    if (!body) fail("the cluster");
    replace(arguments[1], body);
    return 0;
}
