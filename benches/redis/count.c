// Counts what a program allocates, without the program knowing: preloaded before the C library, it adds one
// line to the file that PROVENDER_COUNT_FILE names: allocations, and the bytes that they asked for. glibc alone.
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static atomic_ulong n_allocations, n_bytes;

void *malloc(size_t size) {
  n_allocations++;
  n_bytes += size;
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  n_allocations++;
  n_bytes += count * size;
  return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
  n_allocations++;
  n_bytes += size;
  return __libc_realloc(old, size);
}

// Programs that this one starts bring allocators of their own.
__attribute__((constructor)) static void alone(void) { unsetenv("LD_PRELOAD"); }

__attribute__((destructor)) static void tell(void) {
  const char *path = getenv("PROVENDER_COUNT_FILE");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (file) {
    fprintf(file, "%lu %lu\n", (unsigned long)n_allocations, (unsigned long)n_bytes);
    fclose(file);
  }
}
