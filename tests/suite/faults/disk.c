/* A disk that is full, or does not answer, while a file says so. The tests preload it into PostgreSQL: this needs no
 * rights, and the server takes the same ways as on a real disk. DISK is a directory; `full` in it lets no file grow, and
 * while `stuck` is in it nothing is synced. */
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

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    if (cannot_grow(fd, at + (off_t)count)) { errno = ENOSPC; return -1; }
    return REAL(pwrite)(fd, bytes, count, at);
}

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
    while (is("stuck")) usleep(20000);
    return REAL(fdatasync)(fd);
}

int fsync(int fd) {
    while (is("stuck")) usleep(20000);
    return REAL(fsync)(fd);
}
