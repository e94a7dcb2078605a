/* What ringipam.c needs of a C library, straight on the Linux kernel, for x86-64 and AArch64.
 *
 * glibc looks over the processor when a program starts. In a virtual machine each of those looks is answered by the
 * host, and together they take several times as long as all that ringipam.c does. Compiled without a library
 * (hatch_build.py) there is nothing but the program. Where this file does not fit, a library takes its place.
 */

#define _XOPEN_SOURCE 700

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(void);
void begin(long *stack);

char **environ;

/* ── the start, and the way into the kernel ────────────────────────────────────────────────────────────────── */

#if defined(__x86_64__) && !defined(__ILP32__)

__asm__(".text\n.globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");

static long enter(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__) && !defined(__ILP32__)

__asm__(".text\n.globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tbl begin\n");

static long enter(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;

    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

#else
#error "not for this machine: link a C library"
#endif

int *__errno_location(void)
{
    static int reason;

    return &reason;
}

/* The result, or -1 with errno. */
static long ask(long number, long a, long b, long c, long d, long e, long f)
{
    long result = enter(number, a, b, c, d, e, f);

    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

/* The stack at the start (System V ABI, "Process Initialization"): the count of arguments, they, 0, the environment. */
void begin(long *stack)
{
    environ = (char **)(stack + 1 + stack[0] + 1);
    for (;;)
        enter(SYS_exit_group, main(), 0, 0, 0, 0, 0);
}

/* ── calls of the kernel ───────────────────────────────────────────────────────────────────────────────────── */

ssize_t read(int fd, void *to, size_t size)
{
    return ask(SYS_read, fd, (long)to, (long)size, 0, 0, 0);
}

ssize_t write(int fd, const void *from, size_t size)
{
    return ask(SYS_write, fd, (long)from, (long)size, 0, 0, 0);
}

int close(int fd)
{
    return (int)ask(SYS_close, fd, 0, 0, 0, 0, 0);
}

int fsync(int fd)
{
    return (int)ask(SYS_fsync, fd, 0, 0, 0, 0, 0);
}

int fstat(int fd, struct stat *found)
{
    return (int)ask(SYS_fstat, fd, (long)found, 0, 0, 0, 0);
}

int fchown(int fd, uid_t owner, gid_t group)
{
    return (int)ask(SYS_fchown, fd, (long)owner, (long)group, 0, 0, 0);
}

int openat(int directory, const char *path, int flags, ...)
{
    va_list rest;
    long mode = 0;

    va_start(rest, flags);
    if (flags & O_CREAT)
        mode = (long)va_arg(rest, mode_t);
    va_end(rest);
    return (int)ask(SYS_openat, directory, (long)path, flags, mode, 0, 0);
}

int mkdirat(int directory, const char *path, mode_t mode)
{
    return (int)ask(SYS_mkdirat, directory, (long)path, (long)mode, 0, 0, 0);
}

int renameat(int from, const char *old, int to, const char *fresh)
{
    return (int)ask(SYS_renameat, from, (long)old, to, (long)fresh, 0, 0);
}

int unlinkat(int directory, const char *path, int flags)
{
    return (int)ask(SYS_unlinkat, directory, (long)path, flags, 0, 0, 0);
}

int poll(struct pollfd *list, nfds_t count, int ms)
{
    struct timespec limit = {ms / 1000, ms % 1000 * 1000000L};

    return (int)ask(SYS_ppoll, (long)list, (long)count, (long)&limit, 0, 0, 0);
}

int socket(int domain, int type, int protocol)
{
    return (int)ask(SYS_socket, domain, type, protocol, 0, 0, 0);
}

int connect(int fd, const struct sockaddr *place, socklen_t size)
{
    return (int)ask(SYS_connect, fd, (long)place, (long)size, 0, 0, 0);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    return (int)ask(SYS_setsockopt, fd, level, name, (long)value, (long)size, 0);
}

ssize_t send(int fd, const void *from, size_t size, int flags)
{
    return ask(SYS_sendto, fd, (long)from, (long)size, flags, 0, 0);
}

ssize_t recv(int fd, void *to, size_t size, int flags)
{
    return ask(SYS_recvfrom, fd, (long)to, (long)size, flags, 0, 0);
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    return (int)ask(SYS_clock_gettime, which, (long)now, 0, 0, 0, 0);
}

pid_t getpid(void)
{
    return (pid_t)ask(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

/* To be ignored, or as it was: a handler of one's own would need a way back. The old one is not told. */
void (*signal(int number, void (*handler)(int)))(int)
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } action = {handler, 0, NULL, 0}; /* as the kernel has it, which is not as <signal.h> has it */

    ask(SYS_rt_sigaction, number, (long)&action, 0, sizeof action.mask, 0, 0);
    return handler;
}

/* ── strings, of which compilers call some where the source does not ───────────────────────────────────────── */

void *memcpy(void *to, const void *from, size_t size)
{
    char *target = to;
    const char *source = from;

    while (size--)
        *target++ = *source++;
    return to;
}

void *memset(void *to, int value, size_t size)
{
    char *target = to;

    while (size--)
        *target++ = (char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *one = a, *other = b;

    for (; size--; one++, other++)
        if (*one != *other)
            return *one - *other;
    return 0;
}

size_t strlen(const char *of)
{
    size_t size = 0;

    while (of[size])
        size++;
    return size;
}

int strncmp(const char *a, const char *b, size_t size)
{
    for (; size--; a++, b++)
        if (*a != *b || !*a)
            return (unsigned char)*a - (unsigned char)*b;
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, (size_t)-1);
}

char *strchr(const char *in, int wanted)
{
    for (; *in != (char)wanted; in++)
        if (!*in)
            return NULL;
    return (char *)in;
}

char *getenv(const char *name)
{
    size_t size = strlen(name);
    char **entry;

    for (entry = environ; *entry; entry++)
        if (strncmp(*entry, name, size) == 0 && (*entry)[size] == '=')
            return *entry + size + 1;
    return NULL;
}

/* In glibc's words, for what can happen here. */
char *strerror(int reason)
{
    static const struct {
        int reason;
        const char *text;
    } known[] = {
        {EPERM, "Operation not permitted"},
        {ENOENT, "No such file or directory"},
        {EIO, "Input/output error"},
        {EBADF, "Bad file descriptor"},
        {ENOMEM, "Cannot allocate memory"},
        {EACCES, "Permission denied"},
        {EEXIST, "File exists"},
        {ENOTDIR, "Not a directory"},
        {EISDIR, "Is a directory"},
        {EINVAL, "Invalid argument"},
        {ENFILE, "Too many open files in system"},
        {EMFILE, "Too many open files"},
        {EFBIG, "File too large"},
        {ENOSPC, "No space left on device"},
        {EROFS, "Read-only file system"},
        {EPIPE, "Broken pipe"},
        {ENAMETOOLONG, "File name too long"},
        {ELOOP, "Too many levels of symbolic links"},
        {EPROTOTYPE, "Protocol wrong type for socket"},
        {ECONNRESET, "Connection reset by peer"},
        {ECONNREFUSED, "Connection refused"},
        {ESTALE, "Stale file handle"},
        {EDQUOT, "Disk quota exceeded"},
    };
    static char other[] = "error 0000";
    size_t at;

    for (at = 0; at < sizeof known / sizeof *known; at++)
        if (known[at].reason == reason)
            return (char *)known[at].text;
    for (at = sizeof other - 2; at > 5; at--, reason /= 10)
        other[at] = (char)('0' + reason % 10);
    return other;
}
