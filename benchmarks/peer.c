/*
 * The other end of what is measured, over loopback and fast enough not to be what is measured.
 *
 *     peer echo   PORT CONNECTIONS DEPTH  SECONDS REQUEST MESSAGES
 *     peer rove   PORT CONNECTIONS FLYING SECONDS REQUEST MESSAGES
 *     peer sink   PORT CONNECTIONS 0      SECONDS REQUEST MESSAGES
 *     peer hold   PORT CONNECTIONS BEFORE 0       REQUEST MESSAGES
 *     peer answer 0    CONNECTIONS 0      SECONDS REQUEST MESSAGES
 *
 * echo keeps DEPTH messages on their way on each connection: it sends another one for each that came back.
 * rove keeps FLYING of them on their way on all connections together: for each that came back, it sends
 * one on the connection whose turn it is. sink sends nothing, and counts what comes. hold opens BEFORE
 * connections and prints "ready", and CONNECTIONS more after the line on stdin. answer is a server instead:
 * it prints its port, and sends a message for each that comes.
 *
 * REQUEST is a file with the opening handshake; if it is empty, bare bytes are spoken instead of
 * WebSocket. MESSAGES is a file with what is sent, taken in turns: whole frames, one per message, as they
 * go over the wire. Of bare bytes, the whole file is one message. Frames that come may be as long and as
 * many as their sender likes. A message must be as long as the first that we send, unless the handshake
 * offers an extension.
 *
 * It waits for a line on stdin, with the number of the process that is measured. After a warm-up (a third
 * of SECONDS, at most 0.3) it counts, and SECONDS later it prints "COUNT ELAPSED CPU": the messages that came
 * in between, the seconds that took, and the seconds of CPU time that the process took meanwhile. For hold
 * it is the connections that were opened.
 *
 * Anything unexpected ends it with a line on stderr and status 1: a refused connection or handshake, the
 * end of a connection, a Close frame, a message of a wrong length, silence. Nothing lasts for ever: not
 * the handshakes, not the silence, not the whole.
 *
 * In the end echo and rove let what is on its way come back, so that nobody is interrupted, and all wait for
 * the end of stdin before they end their connections.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 10         /* seconds without a byte until we give up */
#define LIFETIME 120        /* seconds, whatever happens */
#define READ_SIZE (1 << 20) /* bytes */
#define WRITE_SIZE (1 << 20)
#define MAX_EVENTS 256
#define OPENING 64 /* handshakes at a time: no more than a backlog */

typedef struct {
    int fd;
    size_t due;      /* messages to send */
    size_t next;     /* which of them is the next */
    size_t sent;     /* bytes of it that have left already */
    uint64_t rest;   /* bytes of the present frame that are still to come */
    uint64_t length; /* of the present message, as far as its frames have begun */
    unsigned char head[14];
    unsigned in_head; /* bytes of the present frame's header that have come */
} Connection;

static pid_t measured;
static int speaks_websocket;
static const char *request;
static size_t request_size;

/* What is sent, one message after the other, so that a pipeline is refilled by one system call:
   message i is between starts[i] and starts[i + 1]. */
static char *messages;
static size_t *starts, message_count;

static uint64_t expected; /* length of each message that comes; 0: any */

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("peer: ", stderr);
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

/* The seconds that the process which is measured has been running. */
static double cpu_time(void)
{
    struct timespec t;
    clockid_t clock;
    if (clock_getcpuclockid(measured, &clock) || clock_gettime(clock, &t))
        fail("what is measured has ended");
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void read_process(void)
{
    char line[32];
    if (!fgets(line, sizeof line, stdin))
        exit(0); /* nobody wants anything any more */
    measured = (pid_t)atol(line);
}

/* Parse as much of a frame's header as there is (RFC 6455, section 5.2). Return how long it is, or 0 if
   that can't be told yet; the payload's length is in *length once the header is whole. */
static unsigned parse_head(const unsigned char *head, size_t have, uint64_t *length)
{
    if (have < 2)
        return 0;
    unsigned code = head[1] & 127, extended = code < 126 ? 0 : code == 126 ? 2 : 8;
    unsigned size = 2 + extended + (head[1] & 128 ? 4 : 0);
    if (have < size)
        return 0;
    *length = code;
    if (extended)
        *length = 0;
    for (unsigned i = 0; i < extended; i++)
        *length = *length << 8 | head[2 + i];
    return size;
}

static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        fail("%s: %s", path, strerror(errno));
    *size = ftell(file);
    rewind(file);
    char *content = calloc(*size + 1, 1);
    if (fread(content, 1, *size, file) != *size)
        fail("%s: could not be read", path);
    fclose(file);
    return content;
}

/* Find the messages in the file, and repeat them until a large write is full of them. */
static void prepare_messages(const char *path)
{
    size_t size;
    char *content = read_file(path, &size);
    size_t copies = size ? 1 + WRITE_SIZE / size : 0;

    messages = malloc(copies * size + 1);
    starts = calloc(copies * size + 2, sizeof *starts);
    for (size_t i = 0; i < copies; i++)
        memcpy(messages + i * size, content, size);
    for (size_t at = 0; at < copies * size; starts[++message_count] = at) {
        uint64_t length = size;
        if (speaks_websocket) {
            unsigned head = parse_head((unsigned char *)messages + at, copies * size - at, &length);
            if (!head || length > copies * size - at - head)
                fail("%s: not whole frames", path);
            at += head;
        }
        if (!expected)
            expected = length;
        at += length;
    }
    free(content);
}

static void set_patience(int fd)
{
    struct timeval patience = {.tv_sec = PATIENCE};
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Read up to an empty line, and nothing beyond it. */
static void read_head(int fd, char *head, size_t limit)
{
    size_t size = 0;
    *head = 0;
    for (;;) {
        ssize_t count = recv(fd, head + size, limit - size - 1, MSG_PEEK);
        if (count <= 0)
            fail("opening handshake: %s", count ? strerror(errno) : "end of stream");
        head[size + count] = 0;
        char *end = strstr(head, "\r\n\r\n");
        size_t take = end ? (size_t)(end + 4 - head) - size : (size_t)count;
        if (recv(fd, head + size, take, 0) != (ssize_t)take)
            fail("opening handshake: %s", strerror(errno));
        size += take;
        head[size] = 0;
        if (end)
            return;
    }
}

static int dial(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    set_patience(fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        fail("connect: %s", strerror(errno));
    if (write(fd, request, request_size) != (ssize_t)request_size)
        fail("opening handshake: could not send the request");
    return fd;
}

static void read_response(int fd)
{
    static const char extensions[] = "Sec-WebSocket-Extensions:";
    char response[4096];

    if (!speaks_websocket)
        return;
    read_head(fd, response, sizeof response);
    if (strncmp(response, "HTTP/1.1 101", 12))
        fail("opening handshake: refused: %s", response);
    if (strcasestr(request, extensions) && !strcasestr(response, extensions))
        fail("opening handshake: the extension was declined: %s", response);
}

/* SHA-1 (RFC 3174) of at most 119 bytes, which is two blocks; the opening handshake needs no more. */
static void sha1(const char *data, size_t size, unsigned char digest[20])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}, w[80];
    unsigned char padded[128] = {0};
    size_t blocks = size < 56 ? 1 : 2;

    memcpy(padded, data, size);
    padded[size] = 0x80;
    padded[64 * blocks - 2] = (unsigned char)(size >> 5);
    padded[64 * blocks - 1] = (unsigned char)(size << 3);
    for (size_t block = 0; block < blocks; block++) {
        for (int i = 0; i < 16; i++) {
            const unsigned char *p = padded + 64 * block + 4 * i;
            w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) {
            uint32_t mixed = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
            w[i] = mixed << 1 | mixed >> 31;
        }
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                  : (b ^ c ^ d) + 0xca62c1d6;
            uint32_t sum = (a << 5 | a >> 27) + f + e + w[i];
            e = d, d = c, c = b << 30 | b >> 2, b = a, a = sum;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++)
        digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* RFC 6455, section 4.2.2: the key and a constant, hashed, in base64. */
static void answer_handshake(int fd)
{
    static const char name[] = "\r\nSec-WebSocket-Key:";
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char head[8192], key[64 + 1], accept[28 + 1] = "", response[256];
    unsigned char digest[21] = {0};

    read_head(fd, head, sizeof head);
    char *field = strcasestr(head, name);
    if (!field || sscanf(field + sizeof name - 1, " %24s", key) != 1)
        fail("opening handshake: no key: %s", head);
    strcat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    sha1(key, strlen(key), digest);
    for (int i = 0; i < 27; i++) {
        unsigned pair = digest[i * 6 / 8] << 8 | digest[i * 6 / 8 + 1];
        accept[i] = alphabet[pair >> (10 - i * 6 % 8) & 63];
    }
    accept[27] = '=';
    int size = snprintf(response, sizeof response,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                        accept);
    if (write(fd, response, size) != size)
        fail("opening handshake: could not send the response");
}

static void open_connections(Connection *all, size_t count, int port)
{
    for (size_t from = 0; from < count; from += OPENING) {
        size_t to = from + OPENING < count ? from + OPENING : count;
        for (size_t i = from; i < to; i++)
            all[i].fd = dial(port);
        for (size_t i = from; i < to; i++)
            read_response(all[i].fd);
    }
}

static void accept_connections(Connection *all, size_t count)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, OPENING) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        fail("listen: %s", strerror(errno));
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    read_process();
    set_patience(listener); /* for accept, too */
    for (size_t i = 0; i < count; i++) {
        all[i].fd = accept(listener, NULL, NULL);
        if (all[i].fd < 0)
            fail("accept: %s", strerror(errno));
        set_patience(all[i].fd);
        answer_handshake(all[i].fd);
    }
}

/* Take a frame that has come to its end; return whether a message has, too. */
static int end_frame(Connection *connection)
{
    uint64_t length = connection->length;
    int opcode = connection->head[0] & 15, fin = connection->head[0] & 128;

    connection->in_head = 0;
    if (opcode > 8) /* a ping or a pong */
        return 0;
    if (!fin)
        return 0;
    connection->length = 0;
    if (expected && length != expected)
        fail("a message of %llu bytes instead of %llu", (unsigned long long)length,
             (unsigned long long)expected);
    return 1;
}

/* Take bytes that have come; return how many messages ended in them. */
static long take(Connection *connection, const char *data, size_t size)
{
    long count = 0;
    while (size) {
        if (connection->rest) {
            size_t here = size < connection->rest ? size : connection->rest;
            connection->rest -= here, data += here, size -= here;
            if (connection->rest)
                break;
            count += end_frame(connection);
        } else if (!speaks_websocket) {
            connection->head[0] = 0x82; /* as if it were a frame */
            connection->rest = connection->length = expected;
        } else {
            uint64_t length;
            connection->head[connection->in_head++] = *data++, size--;
            if (!parse_head(connection->head, connection->in_head, &length))
                continue;
            if ((connection->head[0] & 15) == 8)
                fail("the server closes a connection");
            connection->rest = length;
            if (!(connection->head[0] & 8))
                connection->length += length;
            if (!length)
                count += end_frame(connection);
        }
    }
    return count;
}

/* Read what has come; return how many messages are whole now. */
static long receive_messages(Connection *connection, char *buffer)
{
    long count = 0;
    for (;;) {
        ssize_t size = read(connection->fd, buffer, READ_SIZE);
        if (size < 0 && errno == EAGAIN)
            break;
        if (size < 0)
            fail("read: %s", strerror(errno));
        if (size == 0)
            fail("the other side ended a connection");
        count += take(connection, buffer, size);
        if (size < READ_SIZE) /* edge-triggered: what comes after this is a new event */
            break;
    }
    return count;
}

/* Send until nothing is due, or the kernel takes no more. */
static void send_messages(Connection *connection)
{
    while (connection->due) {
        size_t last = connection->next + connection->due;
        size_t from = starts[connection->next] + connection->sent;
        size_t to = starts[last < message_count ? last : message_count];
        ssize_t sent = write(connection->fd, messages + from, to - from);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            fail("write: %s", strerror(errno));
        for (from += sent; connection->next < message_count; connection->due--) {
            if (starts[connection->next + 1] > from)
                break;
            connection->next++;
        }
        connection->sent = from - starts[connection->next];
        connection->next %= message_count;
    }
}

static void report(long count, double elapsed, double cpu)
{
    printf("%ld %.6f %.6f\n", count, elapsed, cpu);
    fflush(stdout);
}

/* Wait for events without sleeping, for PATIENCE seconds at most. To wake somebody who sleeps takes as long as the
 * rest of a system call. It is charged to the sender, who would have to pay the more often the slower it is. */
static int wait_busily(int epoll, struct epoll_event *events)
{
    double until = now() + PATIENCE;
    int ready, sleeps = sysconf(_SC_NPROCESSORS_ONLN) < 2;

    do {
        ready = epoll_wait(epoll, events, MAX_EVENTS, sleeps ? PATIENCE * 1000 : 0);
    } while (ready == 0 && now() < until);
    return ready;
}

/* Send and receive for SECONDS. *flying*: the messages that are on their way, or due, at any time. */
static void exchange(Connection *all, size_t count, long flying, int roves, int answers, double seconds)
{
    char *buffer = malloc(READ_SIZE);
    int epoll = epoll_create1(0);
    size_t turn = 0;

    for (size_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &all[i]};
        fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event); /* writable: the first sending */
    }
    double began = now(), warm_up = seconds < 0.9 ? seconds / 3 : 0.3, measured_from = 0, time;
    long total = 0;
    double cpu = 0;
    int ending = 0;
    while (!ending || flying > 0) {
        struct epoll_event events[MAX_EVENTS];
        int ready = wait_busily(epoll, events);
        if (ready == 0 && ending)
            break;
        if (ready == 0)
            fail("silence for %d s, after %ld messages", PATIENCE, total);
        time = now();
        if (!measured_from && time - began > warm_up) {
            cpu = cpu_time();
            total = 0;
            measured_from = time;
        }
        if (total && measured_from && !ending && time - measured_from > seconds) {
            report(total, time - measured_from, cpu_time() - cpu);
            ending = 1;
        }
        for (int i = 0; i < ready; i++) {
            Connection *connection = events[i].data.ptr;
            long came = 0;
            if (events[i].events & ~EPOLLOUT)
                came = receive_messages(connection, buffer);
            total += came;
            if (ending) {
                flying -= came;
            } else if (roves) {
                for (; came; came--) {
                    all[turn].due++;
                    send_messages(&all[turn]);
                    turn = (turn + 1) % count;
                }
            } else if (answers) {
                connection->due += came;
            }
            send_messages(connection);
        }
    }
}

static void wait_for_end_of_stdin(void)
{
    char line[16];
    while (fgets(line, sizeof line, stdin))
        continue;
}

static void hold(Connection *all, size_t before, size_t count, int port)
{
    open_connections(all, before, port);
    puts("ready");
    fflush(stdout);
    read_process();
    double began = now(), cpu = cpu_time();
    open_connections(all + before, count, port);
    report((long)count, now() - began, cpu_time() - cpu);
}

int main(int argc, char **argv)
{
    if (argc != 8)
        fail("usage: peer echo|rove|sink|hold|answer PORT CONNECTIONS NUMBER SECONDS REQUEST MESSAGES");
    const char *mode = argv[1];
    int port = atoi(argv[2]), echoes = !strcmp(mode, "echo"), roves = !strcmp(mode, "rove");
    int answers = !strcmp(mode, "answer"), holds = !strcmp(mode, "hold");
    size_t connections = strtoul(argv[3], NULL, 10), number = strtoul(argv[4], NULL, 10);
    double seconds = atof(argv[5]);
    if (connections < 1 || (!holds && seconds <= 0))
        fail("there must be a connection, and some time");

    alarm(LIFETIME);
    request = read_file(argv[6], &request_size);
    speaks_websocket = request_size > 0;
    prepare_messages(argv[7]);
    if (strcasestr(request, "Sec-WebSocket-Extensions:"))
        expected = 0;

    Connection *all = calloc(connections + number + 1, sizeof *all);
    long flying = 0;
    if (holds) {
        hold(all, number, connections, port);
    } else if (answers) {
        accept_connections(all, connections);
    } else {
        read_process();
        open_connections(all, connections, port);
    }
    for (size_t i = 0; i < connections && !holds; i++) {
        all[i].due = echoes ? number : roves ? number / connections + (i < number % connections) : 0;
        flying += (long)all[i].due;
    }
    if (!holds)
        exchange(all, connections, flying, roves, echoes || answers, seconds);
    wait_for_end_of_stdin();
    return 0;
}
