/* The measuring end of the benchmarks: what is timed happens in here, so that no figure has the start of a shell or
 * of Node in it. Prints one JSON object. Compiled by probe.mjs.
 *
 *   probe run CMD ARG...        starts CMD, reads its standard output and drops it
 *   probe stat LIST PASSES      lstat of every path in LIST (NUL-separated, relative to the working directory)
 *   probe read FILE             the whole file, in reads of 1 MiB
 *   probe random FILE COUNT     COUNT reads of 4 KiB at aligned random offsets, fewer after two seconds
 *   probe mmap FILE COUNT       one byte of COUNT random pages of a private mapping, fewer after two seconds
 *   probe readers LIST COUNT    reads every file in LIST once, by COUNT threads, and drops the bytes
 *   probe drop FILE             drops the file's own pages from the page cache (what backs a mount keeps its own)
 *
 * Random offsets are a fixed sequence: every contestant reads the same ones.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, BUFFER = 1 << 20, CLOCK_EVERY = 16 };

/* A contestant that is a thousand times slower than another is not given a thousand times as long. */
static const double TIME_LIMIT = 2;

static _Noreturn void fail(const char *what, const char *name) {
  fprintf(stderr, "probe: %s %s: %s\n", what, name, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int is_late(double started, long at) {
  return at % CLOCK_EVERY == 0 && now() - started > TIME_LIMIT;
}

static uint64_t next_random(uint64_t *state) { /* xorshift64* */
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545F4914F6CDD1DULL;
}

static int open_file(const char *name, uint64_t *size) {
  struct stat status;
  int file = open(name, O_RDONLY | O_CLOEXEC);
  if (file < 0 || fstat(file, &status) != 0) fail("opening", name);
  *size = (uint64_t)status.st_size;
  return file;
}

static char *buffer_of(size_t size) {
  char *buffer = NULL;
  if (posix_memalign((void **)&buffer, PAGE, size) != 0) fail("allocating", "a buffer");
  memset(buffer, 0, size); /* no page fault of the buffer is timed */
  return buffer;
}

static void run(char **words) {
  char *buffer = buffer_of(BUFFER);
  uint64_t bytes = 0;
  int ends[2], status;
  struct rusage usage;
  if (pipe2(ends, O_CLOEXEC) != 0) fail("making", "a pipe");
  fcntl(ends[1], F_SETPIPE_SZ, BUFFER);
  double started = now();
  pid_t child = vfork();
  if (child < 0) fail("starting", words[0]);
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    execvp(words[0], words);
    _exit(127);
  }
  close(ends[1]);
  for (ssize_t got; (got = read(ends[0], buffer, BUFFER)) != 0;) {
    if (got < 0 && errno != EINTR) fail("reading from", words[0]);
    if (got > 0) bytes += (uint64_t)got;
  }
  if (wait4(child, &status, 0, &usage) < 0) fail("waiting for", words[0]);
  double seconds = now() - started;
  double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  printf("{\"seconds\":%.9f,\"cpu\":%.6f,\"peakBytes\":%llu,\"bytes\":%llu,\"status\":%d}\n", seconds, cpu,
         (unsigned long long)usage.ru_maxrss * 1024, (unsigned long long)bytes,
         WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* The names in LIST, one behind the other; `size`: their bytes, the NUL of each included. */
static char *names_of(const char *list, uint64_t *size) {
  int file = open_file(list, size);
  char *names = buffer_of(*size + 1);
  for (uint64_t have = 0; have < *size;) {
    ssize_t got = read(file, names + have, *size - have);
    if (got <= 0) fail("reading", list);
    have += (uint64_t)got;
  }
  return names;
}

static void stat_all(const char *list, long passes) {
  uint64_t size, count = 0;
  char *names = names_of(list, &size);
  printf("{\"passes\":[");
  for (long pass = 0; pass < passes; pass += 1) {
    struct stat status;
    count = 0;
    double started = now();
    for (const char *name = names; name < names + size; name += strlen(name) + 1, count += 1) {
      if (lstat(name, &status) != 0) fail("lstat", name);
    }
    printf("%s%.9f", pass == 0 ? "" : ",", now() - started);
  }
  printf("],\"count\":%llu}\n", (unsigned long long)count);
}

static void read_all(const char *name) {
  uint64_t size, bytes = 0;
  char *buffer = buffer_of(BUFFER);
  double started = now();
  int file = open_file(name, &size);
  for (ssize_t got; (got = read(file, buffer, BUFFER)) != 0; bytes += (uint64_t)got) {
    if (got < 0) fail("reading", name);
  }
  printf("{\"seconds\":%.9f,\"bytes\":%llu}\n", now() - started, (unsigned long long)bytes);
}

static void read_random(const char *name, long count) {
  uint64_t size, state = 88172645463325252ULL;
  char *buffer = buffer_of(PAGE);
  int file = open_file(name, &size);
  posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
  double started = now();
  long at = 0;
  for (; at < count && !is_late(started, at); at += 1) {
    off_t offset = (off_t)(next_random(&state) % (size / PAGE)) * PAGE;
    if (pread(file, buffer, PAGE, offset) != PAGE) fail("reading at random from", name);
  }
  printf("{\"seconds\":%.9f,\"count\":%ld}\n", now() - started, at);
}

static void map_random(const char *name, long count) {
  uint64_t size, state = 88172645463325252ULL;
  int file = open_file(name, &size);
  const volatile char *pages = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
  if (pages == MAP_FAILED) fail("mapping", name);
  unsigned sum = 0;
  double started = now();
  long at = 0;
  for (; at < count && !is_late(started, at); at += 1) {
    sum += (unsigned char)pages[(next_random(&state) % (size / PAGE)) * PAGE];
  }
  printf("{\"seconds\":%.9f,\"count\":%ld,\"sum\":%u}\n", now() - started, at, sum);
}

static struct {
  char **names;
  size_t count;
  atomic_size_t next;
  atomic_ullong bytes;
} shared;

static void *reader(void *none) {
  char *buffer = buffer_of(BUFFER);
  uint64_t size;
  for (size_t at; (at = atomic_fetch_add(&shared.next, 1)) < shared.count;) {
    int file = open_file(shared.names[at], &size);
    for (ssize_t got; (got = read(file, buffer, BUFFER)) != 0; atomic_fetch_add(&shared.bytes, (uint64_t)got)) {
      if (got < 0) fail("reading", shared.names[at]);
    }
    close(file);
  }
  free(buffer);
  return none;
}

static void read_by_many(const char *list, long count) {
  uint64_t size;
  char *names = names_of(list, &size);
  pthread_t *threads = calloc((size_t)count, sizeof *threads);
  shared.names = calloc(size, sizeof *shared.names); /* no name is shorter than its NUL */
  if (threads == NULL || shared.names == NULL) fail("allocating", "names and threads");
  for (char *name = names; name < names + size; name += strlen(name) + 1) shared.names[shared.count++] = name;
  double started = now();
  for (long at = 0; at < count; at += 1) {
    errno = pthread_create(&threads[at], NULL, reader, NULL);
    if (errno != 0) fail("starting", "a reader");
  }
  for (long at = 0; at < count; at += 1) pthread_join(threads[at], NULL);
  printf("{\"seconds\":%.9f,\"bytes\":%llu}\n", now() - started, (unsigned long long)shared.bytes);
}

static void drop(const char *name) {
  uint64_t size;
  int file = open_file(name, &size);
  errno = posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  if (errno != 0) fail("dropping pages of", name);
  printf("{}\n");
}

int main(int argc, char **argv) {
  const char *what = argc > 2 ? argv[1] : "";
  long number = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
  if (strcmp(what, "run") == 0) run(argv + 2);
  else if (strcmp(what, "read") == 0) read_all(argv[2]);
  else if (strcmp(what, "drop") == 0) drop(argv[2]);
  else if (strcmp(what, "stat") == 0 && number > 0) stat_all(argv[2], number);
  else if (strcmp(what, "random") == 0 && number > 0) read_random(argv[2], number);
  else if (strcmp(what, "readers") == 0 && number > 0) read_by_many(argv[2], number);
  else if (strcmp(what, "mmap") == 0 && number > 0) map_random(argv[2], number);
  else {
    fprintf(stderr, "usage: probe run CMD... | stat LIST PASSES | read FILE | random|mmap FILE COUNT | readers LIST COUNT | drop FILE\n");
    return 2;
  }
  return 0;
}
