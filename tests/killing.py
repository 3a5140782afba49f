"""Kills luxcli at any of its file operations, and records them: the harness of `test_kill`.

A small library, compiled when the tests run and preloaded into worker processes, stands between
luxcli (Python and SQLite alike) and the C library. In a child that a worker forks for a command it
counts every call that changes a file below one directory: write, pwrite, fsync, fdatasync, rename,
ftruncate, truncate, unlink, mkdir, and open where it creates or empties a file. It can

* end the process by SIGKILL at the Nth of them: ``before`` the call, or after ``half`` of the
  bytes of a write are in the file (a kill between two pages of a long write does that);
* note each with its data, for `powerloss`;
* shift the clock, so that days end when a test wants them to.

A worker has imported luxcli already, which a new process would need most of its time for; the
child it forks runs `luxcli.__main__.main` with arguments, environment, output and working
directory of its own. fsync is left out where nothing is recorded: it means nothing to a kill.
"""

import ctypes
import functools
import json
import logging
import os
import pickle
import queue
import shutil
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import luxcli

PROJECT = Path(luxcli.__file__).parent.parent
KILLED = -9
_WORKERS = 2

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char base[PATH_MAX];
static size_t base_length;
static long calls, kill_at, half, sync_really = 1, clock_shift_s;
static int notes = -1;

#define NEXT(name) static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name)

static ssize_t plain_write(int fd, const void *data, size_t size) {
    NEXT(write);
    return next(fd, data, size);
}

void fault_arm(const char *directory, long nth, int torn, const char *log, int sync, long shift) {
    calls = 0; kill_at = nth; half = torn; sync_really = sync; clock_shift_s = shift;
    notes = log[0] ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    snprintf(base, sizeof base, "%s/", directory);
    base_length = strlen(base);
}

static int within(const char *path) {
    return base_length && !strncmp(path, base, base_length);
}

static int place(int fd, char *path) {
    char link[64];
    if (!base_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return within(path) || (n == (ssize_t)base_length - 1 && !strncmp(path, base, n));
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* One more call; returns 1 when it shall be done by half before the end. */
static int count(int is_write) {
    calls++;
    if (calls != kill_at) return 0;
    if (!half || !is_write) die();
    return 1;
}

struct head { char kind; char pad[7]; unsigned long long inode; long long offset, size, one, two; };

static void note(char kind, unsigned long long inode, long long offset, const char *one,
                 const char *two, const void *data, long long size, int has_data) {
    if (notes < 0) return;
    int saved = errno;
    struct head h = {kind, "", inode, offset, size, strlen(one), strlen(two)};
    struct iovec parts[4] = {{&h, sizeof h}, {(void *)one, strlen(one)},
                             {(void *)two, strlen(two)}, {(void *)data, has_data ? size : 0}};
    if (writev(notes, parts, 4) < 0) die();
    errno = saved;
}

static unsigned long long inode_of(int fd) {
    struct stat s;
    return fstat(fd, &s) ? 0 : s.st_ino;
}

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_MAX];
    if (!place(fd, path)) return plain_write(fd, data, size);
    if (count(1)) { plain_write(fd, data, size / 2); die(); }
    struct stat s;
    fstat(fd, &s);
    off_t offset = fcntl(fd, F_GETFL) & O_APPEND ? s.st_size : lseek(fd, 0, SEEK_CUR);
    ssize_t done = plain_write(fd, data, size);
    if (done > 0) note('w', s.st_ino, offset, path, "", data, done, 1);
    return done;
}

#define PWRITE(name, type) \
ssize_t name(int fd, const void *data, size_t size, type offset) { \
    NEXT(name); \
    char path[PATH_MAX]; \
    if (!place(fd, path)) return next(fd, data, size, offset); \
    if (count(1)) { next(fd, data, size / 2, offset); die(); } \
    ssize_t done = next(fd, data, size, offset); \
    if (done > 0) note('w', inode_of(fd), offset, path, "", data, done, 1); \
    return done; \
}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC(name) \
int name(int fd) { \
    NEXT(name); \
    char path[PATH_MAX]; \
    if (!place(fd, path)) return next(fd); \
    count(0); \
    int done = sync_really ? next(fd) : 0; \
    if (!done) note('s', inode_of(fd), 0, path, "", "", 0, 0); \
    return done; \
}
SYNC(fsync)
SYNC(fdatasync)

#define FTRUNCATE(name, type) \
int name(int fd, type size) { \
    NEXT(name); \
    char path[PATH_MAX]; \
    if (!place(fd, path)) return next(fd, size); \
    count(0); \
    int done = next(fd, size); \
    if (!done) note('t', inode_of(fd), 0, path, "", "", size, 0); \
    return done; \
}
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define TRUNCATE(name, type) \
int name(const char *path, type size) { \
    NEXT(name); \
    if (!within(path)) return next(path, size); \
    count(0); \
    struct stat s; \
    int known = stat(path, &s), done = next(path, size); \
    if (!done && !known) note('t', s.st_ino, 0, path, "", "", size, 0); \
    return done; \
}
TRUNCATE(truncate, off_t)
TRUNCATE(truncate64, off64_t)

static int renamed(const char *old, const char *new, int done) {
    if (!done) note('r', 0, 0, old, new, "", 0, 0);
    return done;
}

int rename(const char *old, const char *new) {
    NEXT(rename);
    if (!within(new)) return next(old, new);
    count(0);
    return renamed(old, new, next(old, new));
}

int renameat(int from, const char *old, int to, const char *new) {
    NEXT(renameat);
    if (!within(new)) return next(from, old, to, new);
    count(0);
    return renamed(old, new, next(from, old, to, new));
}

int unlink(const char *path) {
    NEXT(unlink);
    if (!within(path) || access(path, F_OK)) return next(path);
    count(0);
    int done = next(path);
    if (!done) note('u', 0, 0, path, "", "", 0, 0);
    return done;
}

int unlinkat(int fd, const char *path, int flags) {
    NEXT(unlinkat);
    if (!within(path) || access(path, F_OK)) return next(fd, path, flags);
    count(0);
    int done = next(fd, path, flags);
    if (!done) note('u', 0, 0, path, "", "", 0, 0);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    NEXT(mkdir);
    if (!within(path) || !access(path, F_OK)) return next(path, mode);
    count(0);
    int done = next(path, mode);
    if (!done) note('m', 0, 0, path, "", "", 0, 0);
    return done;
}

static int opened(int fd, const char *path, int flags, int is_new) {
    if (fd >= 0 && is_new) note('c', inode_of(fd), 0, path, "", "", 0, 0);
    else if (fd >= 0 && flags & O_TRUNC) note('t', inode_of(fd), 0, path, "", "", 0, 0);
    return fd;
}

#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    NEXT(name); \
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest); \
    int is_new = within(path) && flags & O_CREAT && access(path, F_OK); \
    if (is_new || (within(path) && flags & O_TRUNC)) count(0); else return next(path, flags, mode); \
    return opened(next(path, flags, mode), path, flags, is_new); \
}
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
int name(int at, const char *path, int flags, ...) { \
    NEXT(name); \
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest); \
    int is_new = within(path) && flags & O_CREAT && access(path, F_OK); \
    if (is_new || (within(path) && flags & O_TRUNC)) count(0); \
    else return next(at, path, flags, mode); \
    return opened(next(at, path, flags, mode), path, flags, is_new); \
}
OPENAT(openat)
OPENAT(openat64)

int clock_gettime(clockid_t which, struct timespec *now) {
    NEXT(clock_gettime);
    int done = next(which, now);
    if (!done && which == CLOCK_REALTIME) now->tv_sec += clock_shift_s;
    return done;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
"""
