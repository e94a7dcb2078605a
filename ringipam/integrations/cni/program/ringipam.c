/* The CNI program: hands environment and standard input to the daemon, prints its answer. Knows nothing of addresses.
 *
 * Plain POSIX, without standard I/O and without memory to ask for, as a runtime starts it several times for each
 * container, on hosts that may hold nothing else of ringipam. kernel.c is its library where that fits. forwarder.py
 * does the same in Python; what one does the other does, and the tests in tests/cniprogram run against both.
 *
 * The exchange: POST /v1/cni, with every CNI_* variable as KEY=VALUE and a zero byte, one more zero byte, and standard
 * input as it is. The answer's body is what is printed. Status 200 is success, anything else is failure.
 *
 * A DEL may not get lost (CNI SPEC, "DEL": a plugin should complete it without error even if resources are missing), so
 * one that the daemon does not answer is kept as a tombstone: a file with the request's body, which the daemon carries
 * out when it is back.
 */

#define _XOPEN_SOURCE 700 /* POSIX.1-2008 with SIGXFSZ */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h> /* renameat is declared there */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    BODY_SIZE_MAX = 128 * 1024, /* what the daemon takes (ringipam/server/http.py) */
    ANSWER_SIZE_MAX = 1024 * 1024,
    SOCKET_SIZE = sizeof(((struct sockaddr_un *)0)->sun_path),
    DIRECTORY_SIZE = 256,
    MARK_SIZE = 17,
    LONG_S = 60,
    SHORT_S = 10
};

/* `ringipam cni install` writes other paths over these in the copy that it installs, so that the program stays one
 * file that reads no configuration. Each is found by its mark, which stands in the file once. Volatile: what a compiler
 * knows to be constant it may copy to where it is used, and no mark would tell of that. */
static volatile char built_in_socket[MARK_SIZE + SOCKET_SIZE] = "@RINGIPAM-SOCKET@/run/ringipam/ringipam.sock";
static volatile char built_in_directory[MARK_SIZE + DIRECTORY_SIZE] = "@RINGIPAM-CNIDIR@/var/lib/ringipam/cni";

#define VERSION_LETTERS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-+"

extern char **environ;

static char request[BODY_SIZE_MAX + 256];
static char *const body = request + 256; /* the head of the request is put in front of it */
static size_t body_size, input_at;
static char answer[ANSWER_SIZE_MAX];
static char socket_path[SOCKET_SIZE], directory_path[4096];
static struct timespec deadline;

/* ── text ──────────────────────────────────────────────────────────────────────────────────────────────── */

static char text[16 * 1024]; /* more than two paths of which each byte is escaped */
static size_t text_size;

static void add(const char *part)
{
    while (*part && text_size < sizeof text)
        text[text_size++] = *part++;
}

static void add_number(unsigned long long number)
{
    char digits[24], *at = digits + sizeof digits - 1;

    *at = '\0';
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    add(at);
}

/* Inside a JSON string: paths may hold anything but zero bytes. */
static void add_escaped(const char *part)
{
    char one[3] = "\\";

    for (; *part; part++) {
        if (*part == '"' || *part == '\\') {
            one[1] = *part;
            add(one);
        } else {
            char plain[2] = {(unsigned char)*part < 0x20 || (unsigned char)*part > 0x7e ? '?' : *part, '\0'};
            add(plain);
        }
    }
}

/* ── time ──────────────────────────────────────────────────────────────────────────────────────────────── */

static void set_deadline(int seconds)
{
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += seconds;
}

static int remaining_ms(void)
{
    struct timespec now;
    long long ms;

    clock_gettime(CLOCK_MONOTONIC, &now);
    ms = (long long)(deadline.tv_sec - now.tv_sec) * 1000 + (deadline.tv_nsec - now.tv_nsec) / 1000000;
    return ms > 0 ? (int)ms : 0;
}

/* Until something can be done with `fd`; -1 with errno when it is too late. */
static int wait_for(int fd, short events)
{
    struct pollfd one = {fd, events, 0};
    int found;

    while ((found = poll(&one, 1, remaining_ms())) < 0 && errno == EINTR)
        ;
    if (found == 0)
        errno = ETIMEDOUT;
    return found > 0 ? 0 : -1;
}

/* ── input ─────────────────────────────────────────────────────────────────────────────────────────────── */

static int is_first_of_its_name(char **entry, size_t name_size)
{
    char **earlier;

    for (earlier = environ; earlier < entry; earlier++)
        if (strncmp(*earlier, *entry, name_size + 1) == 0)
            return 0;
    return 1;
}

/* Every CNI_* variable, then an empty one. Of two of one name the first counts, as it does for getenv. */
static int read_environment(void)
{
    char **entry, *equals;

    for (entry = environ; *entry; entry++) {
        size_t size = strlen(*entry) + 1;

        if (strncmp(*entry, "CNI_", 4) != 0 || !(equals = strchr(*entry, '=')))
            continue;
        if (!is_first_of_its_name(entry, (size_t)(equals - *entry)))
            continue;
        if (size + 1 > BODY_SIZE_MAX - body_size) {
            errno = EFBIG;
            return -1;
        }
        memcpy(body + body_size, *entry, size);
        body_size += size;
    }
    body[body_size++] = '\0';
    input_at = body_size;
    return 0;
}

static int read_input(void)
{
    char beyond;

    for (;;) {
        size_t room = BODY_SIZE_MAX - body_size;
        ssize_t got;

        if (wait_for(STDIN_FILENO, POLLIN) < 0)
            return -1;
        got = room ? read(STDIN_FILENO, body + body_size, room) : read(STDIN_FILENO, &beyond, 1);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return -1;
        if (got > 0 && !room) {
            errno = EFBIG;
            return -1;
        }
        if (got > 0)
            body_size += (size_t)got;
    }
}

/* The cniVersion that standard input names, without reading JSON any further; 1.1.0 if it names none. */
static const char *version(void)
{
    static char found[33];
    const char *key = "\"cniVersion\"", *at = body + input_at, *end = body + body_size;
    size_t size = 0;

    for (; end - at > 12; at++) {
        if (memcmp(at, key, 12) != 0)
            continue;
        for (at += 12; at < end && strchr(" \t\r\n:", *at) && *at; at++)
            ;
        if (at < end && *at++ == '"')
            while (at < end && size < 32 && *at && strchr(VERSION_LETTERS, *at))
                found[size++] = *at++;
        if (at < end && *at == '"' && size)
            return found;
        break;
    }
    return "1.1.0";
}

/* What `variable` says, or else what is built in; -1 if it does not fit, with as much of it as does. */
static int choose_path(char *path, size_t size, const char *variable, const volatile char *built_in, size_t limit)
{
    const char *told = getenv(variable);
    size_t at;

    if (told && *told) {
        size_t length = strlen(told);

        memcpy(path, told, length < size ? length : size - 1);
        return length < size ? 0 : -1;
    }
    for (at = 0; at + 1 < limit && built_in[MARK_SIZE + at]; at++)
        path[at] = built_in[MARK_SIZE + at];
    return 0;
}

/* ── output ────────────────────────────────────────────────────────────────────────────────────────────── */

static int write_all(int fd, const char *from, size_t size)
{
    while (size) {
        ssize_t wrote = write(fd, from, size);

        if (wrote < 0) {
            struct pollfd one = {fd, POLLOUT, 0};

            if (errno == EAGAIN)
                poll(&one, 1, 1000);
            else if (errno != EINTR)
                return -1;
            continue;
        }
        from += wrote;
        size -= (size_t)wrote;
    }
    return 0;
}

/* A CNI error result (SPEC, "Error"): on standard output, as runtimes read it there only. */
static void begin_error(const char *code)
{
    text_size = 0;
    add("{\"cniVersion\":\"");
    add(version());
    add("\",\"code\":");
    add(code);
    add(",\"msg\":\"");
}

static int end_error(void)
{
    add("\"}\n");
    write_all(STDOUT_FILENO, text, text_size);
    return 1;
}

static const char *what_happened(int reason)
{
    return reason == ETIMEDOUT ? "it took too long" : strerror(reason);
}

static int bad_input(int reason)
{
    if (reason == EFBIG) {
        begin_error("7");
        add("standard input and the CNI_* variables are larger than 131072 bytes:"
            " make the network configuration smaller");
    } else {
        begin_error("5");
        add("cannot read standard input: ");
        add(what_happened(reason));
    }
    return end_error();
}

static void add_unanswered(const char *why)
{
    add("no answer from the ringipam daemon at ");
    add_escaped(socket_path);
    add(": ");
    add_escaped(why);
}

static int unanswered(const char *code, const char *why)
{
    begin_error(code);
    add_unanswered(why);
    add("; start it on this host, or look at its log, and try again");
    return end_error();
}

/* The versions that this program can be asked in, if nobody better is there to say it. */
static int print_versions(void)
{
    text_size = 0;
    add("{\"cniVersion\":\"");
    add(version());
    add("\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n");
    return write_all(STDOUT_FILENO, text, text_size) < 0;
}

/* ── the exchange ──────────────────────────────────────────────────────────────────────────────────────── */

static int connect_to_daemon(void)
{
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    memcpy(place.sun_path, socket_path, sizeof place.sun_path);
    for (;;) {
        /* a daemon that hangs accepts nobody: connecting waits for room in its queue, for so long */
        int ms = remaining_ms();
        struct timeval limit = {ms / 1000, ms % 1000 * 1000 + 1};

        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(fd, (struct sockaddr *)&place, sizeof place) == 0)
            return fd;
        if (errno == EAGAIN)
            errno = ETIMEDOUT;
        if (errno != EINTR) {
            int reason = errno;

            close(fd);
            errno = reason;
            return -1;
        }
    }
}

static int send_request(int fd)
{
    const char *from;
    size_t size;

    text_size = 0;
    add("POST /v1/cni HTTP/1.1\r\nHost: ringipam\r\nConnection: close\r\n"
        "Content-Type: application/octet-stream\r\nContent-Length: ");
    add_number(body_size);
    add("\r\n\r\n");
    from = body - text_size;
    memcpy(body - text_size, text, text_size);
    size = text_size + body_size;
    while (size) {
        ssize_t sent = send(fd, from, size, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && errno == EAGAIN) {
            if (wait_for(fd, POLLOUT) < 0)
                return -1;
        } else if (sent < 0 && errno != EINTR) {
            return -1;
        } else if (sent > 0) {
            from += sent;
            size -= (size_t)sent;
        }
    }
    return 0;
}

/* Where the body of an answer begins; 0: its head is not whole yet. */
static size_t head_size(size_t size)
{
    size_t at;

    for (at = 4; at <= size; at++)
        if (memcmp(answer + at - 4, "\r\n\r\n", 4) == 0)
            return at;
    return 0;
}

static int is_status_line(size_t head)
{
    size_t at;

    if (head < 16 || memcmp(answer, "HTTP/1.", 7) != 0 || answer[8] != ' ')
        return 0;
    for (at = 9; at < 12; at++)
        if (answer[at] < '0' || answer[at] > '9')
            return 0;
    return 1;
}

/* `name`, which is in small letters, stands at `at`, in letters of either size. */
static int is_named(const char *at, const char *name)
{
    for (; *name; at++, name++)
        if (*at != *name && (*at < 'A' || *at > 'Z' || *at - 'A' + 'a' != *name))
            return 0;
    return 1;
}

/* What Content-Length says (RFC 9110, 8.6); -1 if nothing that can be believed. */
static long content_length(size_t head)
{
    const char name[] = "\r\ncontent-length:";
    const char *at, *end = answer + head;
    long length = 0;

    for (at = answer; (size_t)(end - at) > sizeof name; at++)
        if (is_named(at, name))
            break;
    if ((size_t)(end - at) <= sizeof name)
        return -1;
    for (at += sizeof name - 1; *at == ' ' || *at == '\t'; at++)
        ;
    if (*at < '0' || *at > '9')
        return -1;
    for (; *at >= '0' && *at <= '9'; at++)
        if (length <= ANSWER_SIZE_MAX)
            length = length * 10 + (*at - '0');
    return *at == '\r' ? length : -1;
}

struct reply {
    int status; /* 0: there is none */
    const char *body;
    size_t size;
    const char *why; /* there is none */
};

static struct reply no_reply(const char *why)
{
    struct reply none = {0, NULL, 0, why};

    return none;
}

/* An answer that broke off is none: what is announced must have come. */
static struct reply receive_reply(int fd)
{
    size_t size = 0, head = 0;
    long length = 0;

    for (;;) {
        ssize_t got = recv(fd, answer + size, ANSWER_SIZE_MAX - size, MSG_DONTWAIT);

        if (got < 0 && errno == EAGAIN) {
            if (wait_for(fd, POLLIN) < 0)
                return no_reply(what_happened(errno));
            continue;
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return no_reply(what_happened(errno));
        if (got == 0)
            return no_reply("it broke off");
        size += (size_t)got;
        if (!head && (head = head_size(size)) && (!is_status_line(head) || (length = content_length(head)) < 0))
            return no_reply("what answers is not ringipam");
        if ((!head && size == ANSWER_SIZE_MAX) || (head && (size_t)length > ANSWER_SIZE_MAX - head))
            return no_reply("the answer is too long");
        if (head && size - head >= (size_t)length) {
            struct reply whole = {0, NULL, 0, NULL};

            whole.status = (answer[9] - '0') * 100 + (answer[10] - '0') * 10 + (answer[11] - '0');
            whole.body = answer + head;
            whole.size = (size_t)length;
            return whole;
        }
    }
}

static struct reply ask_daemon(void)
{
    struct reply reply;
    int fd = connect_to_daemon();

    if (fd < 0)
        return no_reply(what_happened(errno));
    /* whoever turns a request away may answer before it is sent whole: what came is looked at all the same */
    if (send_request(fd) < 0 && errno != EPIPE && errno != ECONNRESET)
        reply = no_reply(what_happened(errno));
    else
        reply = receive_reply(fd);
    close(fd);
    if (reply.status && reply.status != 200 && (!reply.size || reply.body[0] != '{'))
        return no_reply("it turns requests away"); /* in words for no runtime: nothing that speaks CNI said it */
    return reply;
}

/* ── tombstones ────────────────────────────────────────────────────────────────────────────────────────── */

/* One directory further, made if it is not there. It belongs to whom its parent belongs, as the daemon, which may run
 * as another user, is to take out of it what is put there. */
static int enter_directory(int parent, const char *name)
{
    struct stat owner;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (mkdirat(parent, name, 0700) < 0)
        return errno == EEXIST ? openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fsync(parent) < 0)
        return -1;
    if (fstat(parent, &owner) == 0 && fchown(fd, owner.st_uid, owner.st_gid) < 0)
        return fd; /* it is not ours to give */
    return fd;
}

static int open_directory(void)
{
    char path[sizeof directory_path], *name = path, *end;
    int fd = openat(AT_FDCWD, directory_path[0] == '/' ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    memcpy(path, directory_path, sizeof path);
    for (; fd >= 0 && name; name = end) {
        int next;

        if ((end = strchr(name, '/')))
            *end++ = '\0';
        if (!*name)
            continue;
        next = enter_directory(fd, name);
        if (next < 0)
            return -1; /* with errno as it is: this process ends soon */
        close(fd);
        fd = next;
    }
    return fd;
}

/* The request's body as a file in `directory`, on the disk when this returns 0; if not, errno says why. */
static int write_tombstone(int directory)
{
    struct timespec now;
    struct stat owner;
    const char *hidden = text, *name = text + 1;
    int fd, reason;

    clock_gettime(CLOCK_REALTIME, &now);
    text_size = 0;
    add(".del-");
    add_number((unsigned long long)getpid());
    add("-");
    add_number((unsigned long long)now.tv_sec * 1000000000ULL + (unsigned long long)now.tv_nsec);
    text[text_size] = '\0';
    fd = openat(directory, hidden, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    if (fstat(directory, &owner) == 0 && fchown(fd, owner.st_uid, owner.st_gid) < 0)
        errno = 0; /* it is not ours to give */
    if (write_all(fd, body, body_size) == 0 && fsync(fd) == 0 && renameat(directory, hidden, directory, name) == 0)
        return fsync(directory);
    reason = errno;
    unlinkat(directory, hidden, 0);
    errno = reason;
    return -1;
}

static int bury(const char *why)
{
    int directory = -1;
    const char *failed;

    if (choose_path(directory_path, sizeof directory_path, "RINGIPAM_CNI_DIR", built_in_directory, DIRECTORY_SIZE) < 0)
        errno = ENAMETOOLONG;
    else
        directory = open_directory();
    if (directory >= 0 && write_tombstone(directory) == 0)
        return 0;
    failed = strerror(errno);
    begin_error("11");
    add_unanswered(why);
    add("; nor could the release be kept in ");
    add_escaped(directory_path);
    add(": ");
    add_escaped(failed);
    add("; mend one of the two, and try again");
    return end_error();
}

/* ── the program ───────────────────────────────────────────────────────────────────────────────────────── */

static int about(void)
{
    text_size = 0;
    add("ringipam, a CNI IPAM plugin: addresses from the ringipam daemon of this host.\n"
        "A container runtime starts it. CNI protocol versions supported:"
        " 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n");
    write_all(STDERR_FILENO, text, text_size);
    return 0;
}

int main(void)
{
    const char *command = getenv("CNI_COMMAND");
    struct reply reply;

    if (!command || !*command)
        return about();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a tombstone beyond a limit on files is an error like that of a full disk */
    /* of allocations, of what compares, and of what may release thousands there can be a wait */
    set_deadline(strcmp(command, "ADD") && strcmp(command, "CHECK") && strcmp(command, "GC") ? SHORT_S : LONG_S);
    if (read_environment() < 0 || read_input() < 0)
        return bad_input(errno);
    if (choose_path(socket_path, sizeof socket_path, "RINGIPAM_SOCKET", built_in_socket, SOCKET_SIZE) < 0)
        reply = no_reply("RINGIPAM_SOCKET is longer than the path of a socket can be");
    else
        reply = ask_daemon();
    if (strcmp(command, "DEL") == 0 && (reply.status == 0 || reply.status == 503))
        return bury(reply.why ? reply.why : "it cannot do it now");
    if (reply.status)
        return write_all(STDOUT_FILENO, reply.body, reply.size) < 0 || reply.status != 200;
    if (strcmp(command, "VERSION") == 0)
        return print_versions();
    return unanswered(strcmp(command, "STATUS") == 0 ? "50" : "11", reply.why);
}
