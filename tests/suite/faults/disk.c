/* A disk that is full, does not answer or fails, while a file says so. The tests preload it into PostgreSQL or the service:
 * this needs no rights, and they take the same ways as on a real disk. DISK is a directory; `full` in it lets no file grow,
 * and while `stuck` is in it nothing is synced.
 *
 * REGISTER names one file that has a disk of its own. `register-fails` and `register-full` in DISK let no write of it through,
 * `register-torn` a part, and `register-unsynced` all, but not to the disk: as on Linux, what a sync has failed for counts as
 * clean, so that everybody reads it and no later sync writes it. What is on the disk is kept in `platter`: the test puts it in
 * the place of the file, and power has failed. Each failure adds a byte to `failures`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is(const char *fault) {
    const char *directory = getenv("DISK");
    char path[4096];
    int saved = errno, found;
    if (directory == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", directory, fault);
    found = access(path, F_OK) == 0;
    errno = saved;
    return found;
}

/* The first three are pipes, and the server's own log. */
static int cannot_grow(int fd, off_t end) {
    struct stat file;
    return fd > 2 && is("full") && fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && end > file.st_size;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) {
    off_t at = fd > 2 && is("full") ? lseek(fd, 0, SEEK_CUR) : -1;
    if (at >= 0 && cannot_grow(fd, at + (off_t)count)) { errno = ENOSPC; return -1; }
    return REAL(write)(fd, bytes, count);
}

static int is_register(int fd) {
    const char *path = getenv("REGISTER");
    struct stat file, it;
    return path != NULL && fstat(fd, &file) == 0 && stat(path, &it) == 0 && file.st_dev == it.st_dev && file.st_ino == it.st_ino;
}

static int in_disk(const char *name, int flags) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("DISK"), name);
    return open(path, flags, 0600);
}

static int failed(int error) {
    int fd = in_disk("failures", O_WRONLY | O_CREAT | O_APPEND);
    if (fd < 0 || REAL(write)(fd, "x", 1) != 1) abort();
    close(fd);
    errno = error;
    return -1;
}

/* What was written of the register and not synced. Only one thread writes it. */
static struct { off_t at; size_t count; } dirty[64];
static size_t dirties;

static ssize_t write_register(int fd, const void *bytes, size_t count, off_t at) {
    static size_t tears;
    int is_torn = is("register-torn");
    ssize_t written;
    if (is("register-fails")) return failed(EIO);
    if (is("register-full")) return failed(ENOSPC);
    /* Anywhere in a slot's beginning, which holds all that is not blank. */
    if (is_torn) count = ++tears * 167 % 1200 % count;
    written = REAL(pwrite)(fd, bytes, count, at);
    if (written > 0) {
        if (dirties == sizeof dirty / sizeof *dirty) abort();
        dirty[dirties].at = at;
        dirty[dirties++].count = (size_t)written;
    }
    return is_torn ? failed(EIO) : written;
}

static int sync_register(int fd) {
    int from, to;
    if (is("register-unsynced")) { dirties = 0; return failed(EIO); }
    if (REAL(fdatasync)(fd) != 0) return -1;
    from = open(getenv("REGISTER"), O_RDONLY);
    to = in_disk("platter", O_WRONLY | O_CREAT);
    while (dirties > 0) {
        static char bytes[1 << 16];
        off_t at = dirty[--dirties].at;
        ssize_t count = pread(from, bytes, dirty[dirties].count, at);
        if (count < 0 || REAL(pwrite)(to, bytes, (size_t)count, at) != count) abort();
    }
    close(from);
    close(to);
    return 0;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    if (is_register(fd)) return write_register(fd, bytes, count, at);
    if (cannot_grow(fd, at + (off_t)count)) { errno = ENOSPC; return -1; }
    return REAL(pwrite)(fd, bytes, count, at);
}

/* By this name from Rust: an off_t has 64 bits. */
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) { return pwrite(fd, bytes, count, at); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    off_t end = at;
    for (int part = 0; part < count; part++) end += (off_t)parts[part].iov_len;
    if (cannot_grow(fd, end)) { errno = ENOSPC; return -1; }
    return REAL(pwritev)(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t count) {
    return cannot_grow(fd, at + count) ? ENOSPC : REAL(posix_fallocate)(fd, at, count);
}

int fdatasync(int fd) {
    if (is_register(fd)) return sync_register(fd);
    while (is("stuck")) usleep(20000);
    return REAL(fdatasync)(fd);
}

int fsync(int fd) {
    if (is_register(fd)) return sync_register(fd);
    while (is("stuck")) usleep(20000);
    return REAL(fsync)(fd);
}
