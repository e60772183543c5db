/*
 * A closed-loop echo load over loopback, fast enough not to be what is measured.
 *
 *     loadgen PORT raw|ws CONNECTIONS DEPTH SIZE SECONDS [OPCODE]
 *
 * Each of CONNECTIONS keeps DEPTH messages of SIZE bytes on their way: it sends another one for each
 * that came back. "ws" speaks just enough WebSocket (masked frames, one per message, OPCODE 2 by
 * default) for a server that answers in the same way: a message that comes back in several frames is
 * not understood, which limits SIZE to 1 MiB with anyio_ws. "raw" sends bare bytes.
 *
 * After a warm-up it prints "measuring", and SECONDS later "MESSAGES ELAPSED": what came back in
 * between, and the seconds that took. Whoever reads both lines can see what the server did meanwhile.
 *
 * Anything unexpected ends it with a line on stderr and status 1: a refused connection or handshake, the
 * end of a connection, a reply that doesn't start like an echo (such as a Close frame), silence. Nothing
 * lasts for ever: not the handshakes, not the silence, not the whole.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP 0.3         /* seconds */
#define PATIENCE 5          /* seconds without a byte until we give up */
#define READ_SIZE (1 << 20) /* bytes */
#define BATCH_SIZE (1 << 20)
#define MAX_EVENTS 256

typedef struct {
    int fd;
    size_t to_send; /* messages */
    size_t sent;    /* bytes of the next message that have left already */
    size_t partial; /* bytes of the next reply that have come already */
} Connection;

/* What every message and every reply is. */
static char *message;
static size_t message_size;
static unsigned char reply_start;
static size_t reply_size;

/* As many messages as fit, one after the other: a pipeline is refilled by one system call. */
static char *batch;
static size_t batch_count;

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void build_raw(size_t size)
{
    message = malloc(size);
    memset(message, 'x', size);
    message_size = reply_size = size;
    reply_start = 'x';
}

/* RFC 6455, section 5.2: FIN and the opcode, MASK and the length, the masking key, the payload. */
static void build_frame(size_t size, int opcode)
{
    static const char key[4] = {0x11, 0x22, 0x33, 0x44};
    size_t at = 2, length_bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;

    message = malloc(size + 14);
    message[0] = (char)(0x80 | opcode);
    message[1] = (char)(0x80 | (length_bytes == 0 ? size : length_bytes == 2 ? 126 : 127));
    for (size_t i = length_bytes; i-- > 0;)
        message[at++] = (char)((unsigned long long)size >> (8 * i));
    reply_size = at + size; /* a server's frame has no masking key */
    reply_start = (unsigned char)message[0];
    memcpy(message + at, key, 4);
    at += 4;
    for (size_t i = 0; i < size; i++)
        message[at++] = 'x' ^ key[i & 3];
    message_size = at;
}

static void build_batch(size_t depth)
{
    batch_count = BATCH_SIZE / message_size;
    if (batch_count > depth)
        batch_count = depth;
    if (batch_count == 0)
        batch_count = 1;
    batch = malloc(batch_count * message_size);
    for (size_t i = 0; i < batch_count; i++)
        memcpy(batch + i * message_size, message, message_size);
}

static int open_connection(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_sec = PATIENCE};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        fail("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void shake_hands(int fd)
{
    static const char request[] = "GET / HTTP/1.1\r\n"
                                  "Host: 127.0.0.1\r\n"
                                  "Upgrade: websocket\r\n"
                                  "Connection: Upgrade\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                  "Sec-WebSocket-Version: 13\r\n\r\n";
    char response[4096] = "";
    size_t size = 0;

    if (write(fd, request, sizeof request - 1) != sizeof request - 1)
        fail("opening handshake: could not send the request");
    while (!strstr(response, "\r\n\r\n")) {
        ssize_t count = read(fd, response + size, sizeof response - size - 1);
        if (count <= 0)
            fail("opening handshake: no response: %s", count ? strerror(errno) : "end of stream");
        size += count;
        response[size] = 0;
    }
    if (strncmp(response, "HTTP/1.1 101", 12))
        fail("opening handshake: refused: %s", response);
}

/* Take what has come; return how many replies are whole now. */
static long take_replies(Connection *connection, char *buffer)
{
    long replies = 0;
    for (;;) {
        ssize_t count = read(connection->fd, buffer, READ_SIZE);
        if (count < 0 && errno == EAGAIN)
            break;
        if (count < 0)
            fail("read: %s", strerror(errno));
        if (count == 0)
            fail("the server ended a connection");
        for (size_t at = 0; at < (size_t)count;) {
            size_t rest = reply_size - connection->partial, here = count - at;
            if (connection->partial == 0 && (unsigned char)buffer[at] != reply_start)
                fail("a reply starts with 0x%02x instead of 0x%02x",
                     (unsigned char)buffer[at], reply_start);
            if (here < rest) {
                connection->partial += here;
                break;
            }
            connection->partial = 0;
            connection->to_send++;
            replies++;
            at += rest;
        }
        if (count < READ_SIZE) /* edge-triggered: what comes after this is a new event */
            break;
    }
    return replies;
}

/* Send until nothing is due, or the kernel takes no more. */
static void send_messages(Connection *connection)
{
    while (connection->to_send) {
        size_t count = connection->to_send < batch_count ? connection->to_send : batch_count;
        const char *start = batch + connection->sent;
        ssize_t sent = write(connection->fd, start, count * message_size - connection->sent);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            fail("write: %s", strerror(errno));
        connection->sent += sent;
        connection->to_send -= connection->sent / message_size;
        connection->sent %= message_size;
    }
}

int main(int argc, char **argv)
{
    if (argc < 7)
        fail("usage: loadgen PORT raw|ws CONNECTIONS DEPTH SIZE SECONDS [OPCODE]");
    int port = atoi(argv[1]), ws = !strcmp(argv[2], "ws"), connections = atoi(argv[3]);
    size_t depth = strtoul(argv[4], NULL, 10), size = strtoul(argv[5], NULL, 10);
    double seconds = atof(argv[6]);
    int opcode = argc > 7 ? atoi(argv[7]) : 2;
    if (connections < 1 || depth < 1 || (size < 1 && !ws) || seconds <= 0)
        fail("there must be a connection, a message in flight, a byte, and some time");

    alarm((unsigned)seconds + 4 * PATIENCE); /* whatever happens */
    if (ws)
        build_frame(size, opcode);
    else
        build_raw(size);
    build_batch(depth);

    Connection *all = calloc(connections, sizeof *all);
    char *buffer = malloc(READ_SIZE);
    int epoll = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &all[i]};
        all[i].fd = open_connection(port);
        all[i].to_send = depth;
        if (ws)
            shake_hands(all[i].fd);
        fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event); /* writable: the first sending */
    }

    double began = now(), measured_from = 0, time;
    long messages = 0;
    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int count = epoll_wait(epoll, events, MAX_EVENTS, PATIENCE * 1000);
        if (count == 0)
            fail("silence for %d s, after %ld messages", PATIENCE, messages);
        time = now();
        if (!measured_from && time - began > WARM_UP) {
            puts("measuring");
            fflush(stdout);
            messages = 0;
            measured_from = time;
        }
        if (measured_from && time - measured_from > seconds)
            break;
        for (int i = 0; i < count; i++) {
            Connection *connection = events[i].data.ptr;
            if (events[i].events & ~EPOLLOUT)
                messages += take_replies(connection, buffer);
            send_messages(connection);
        }
    }
    printf("%ld %.6f\n", messages, time - measured_from);
    return 0;
}
