/* An online store that breaks its promises, for the tests: what it does with a read is a word in a file,
 * the option `orders`, so that a test can change it while a server runs. It holds one float64 feature per
 * view, called `value`, which is 1.5 for every key, and takes whatever is written.
 *
 * Built with -DINIT_... it misbehaves when it is loaded. */
#define _POSIX_C_SOURCE 200809L
#include "provender.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char orders[4096];

static void end(const struct ProvenderCall *call, uint32_t status, const void *text, size_t len,
                struct ArrowArray *array, struct ArrowSchema *schema) {
  struct ProvenderAnswer answer;
  memset(&answer, 0, sizeof answer);
  answer.size = sizeof answer;
  answer.status = status;
  answer.control.data = text;
  answer.control.len = len;
  answer.array = array;
  answer.schema = schema;
  call->complete(call->context, call->call_id, &answer);
  /* What the host did not move out is ours. */
  if (array && array->release) array->release(array);
  if (schema && schema->release) schema->release(schema);
}

static void end_text(const struct ProvenderCall *call, uint32_t status, const char *text) {
  end(call, status, text, strlen(text), NULL, NULL);
}

static void free_schema(struct ArrowSchema *schema) {
  for (int64_t i = 0; i < schema->n_children; i++) {
    if (schema->children[i]->release) schema->children[i]->release(schema->children[i]);
    free(schema->children[i]);
  }
  free(schema->children);
  schema->release = NULL;
}

static struct ArrowSchema field(const char *name, const char *format, int64_t n_children) {
  struct ArrowSchema schema;
  memset(&schema, 0, sizeof schema);
  schema.name = name;
  schema.format = format;
  schema.flags = ARROW_FLAG_NULLABLE;
  schema.n_children = n_children;
  schema.release = free_schema;
  if (n_children) schema.children = calloc((size_t)n_children, sizeof *schema.children);
  for (int64_t i = 0; i < n_children; i++) schema.children[i] = calloc(1, sizeof **schema.children);
  return schema;
}

static void free_array(struct ArrowArray *array) {
  for (int64_t i = 0; i < array->n_buffers; i++) free((void *)array->buffers[i]);
  free(array->buffers);
  for (int64_t i = 0; i < array->n_children; i++) {
    if (array->children[i]->release) array->children[i]->release(array->children[i]);
    free(array->children[i]);
  }
  free(array->children);
  array->release = NULL;
}

static struct ArrowArray column(int64_t length, int64_t n_buffers, int64_t n_children) {
  struct ArrowArray array;
  memset(&array, 0, sizeof array);
  array.length = length;
  array.n_buffers = n_buffers;
  array.n_children = n_children;
  array.buffers = calloc((size_t)n_buffers, sizeof *array.buffers);
  if (n_children) array.children = calloc((size_t)n_children, sizeof *array.children);
  for (int64_t i = 0; i < n_children; i++) array.children[i] = calloc(1, sizeof **array.children);
  array.release = free_array;
  return array;
}

/* Rows of an event time that is now and a value. */
static struct ArrowArray rows(int64_t n) {
  struct ArrowArray batch = column(n, 1, 2);
  int64_t *times = malloc((size_t)(n + 1) * sizeof *times);
  double *values = malloc((size_t)(n + 1) * sizeof *values);
  for (int64_t i = 0; i < n; i++) {
    times[i] = INT64_C(1600000000000000);
    values[i] = 1.5;
  }
  *batch.children[0] = column(n, 2, 0);
  batch.children[0]->buffers[1] = times;
  *batch.children[1] = column(n, 2, 0);
  batch.children[1]->buffers[1] = values;
  return batch;
}

/* A call that is answered by another thread, later. */
static void *answer_later(void *kept) {
  struct ProvenderCall *call = kept;
  const struct timespec soon = {0, 2000000};
  nanosleep(&soon, NULL);
  struct ArrowArray batch = rows((int64_t)call->reserved);
  end(call, PROVENDER_STATUS_OK, NULL, 0, &batch, NULL);
  free(call);
  return NULL;
}

static void read_rows(struct ProvenderCall *call) {
  char order[32] = "well";
  FILE *file = fopen(orders, "r");
  if (file) {
    if (!fgets(order, sizeof order, file)) strcpy(order, "well");
    fclose(file);
  }
  int64_t n = call->array ? call->array->length : 0;
  if (!strcmp(order, "hang"))
    for (;;) pause();
  if (!strcmp(order, "never")) return;
  if (!strcmp(order, "text")) {
    static const char text[] = "no\0 good \xff\xfe";
    end(call, PROVENDER_STATUS_ERROR, text, sizeof text - 1, NULL, NULL);
    return;
  }
  if (!strcmp(order, "rows")) n += 3;
  if (!strcmp(order, "twice")) {
    struct ArrowArray batch = rows(n);
    end(call, PROVENDER_STATUS_OK, NULL, 0, &batch, NULL);
  }
  if (!strcmp(order, "thread")) {
    struct ProvenderCall *kept = malloc(sizeof *kept);
    pthread_t thread;
    *kept = *call;
    kept->reserved = (uint32_t)n;
    pthread_create(&thread, NULL, answer_later, kept);
    pthread_detach(thread);
    return;
  }
  struct ArrowArray batch = rows(n);
  end(call, PROVENDER_STATUS_OK, NULL, 0, &batch, NULL);
}

static void take_rows(struct ProvenderCall *call) {
  unsigned long long n_rows = 0;
  for (size_t i = 0; i < call->n_streams; i++) {
    struct ArrowArrayStream stream = call->streams[i];
    call->streams[i].release = NULL;
    for (;;) {
      struct ArrowArray batch;
      memset(&batch, 0, sizeof batch);
      if (stream.get_next(&stream, &batch) || !batch.release) break;
      n_rows += (unsigned long long)batch.length;
      batch.release(&batch);
    }
    stream.release(&stream);
  }
  char text[160];
  snprintf(text, sizeof text, "{\"n_rows\": %llu, \"n_applied\": %llu, \"version\": null}", n_rows, n_rows);
  end_text(call, PROVENDER_STATUS_OK, text);
}

static void open_store(struct ProvenderCall *call) {
  /* "orders":"/a/path" in the arguments. */
  char *text = calloc(1, call->control.len + 1);
  memcpy(text, call->control.data, call->control.len);
  char *found = strstr(text, "\"orders\":\"");
  if (found) {
    found += strlen("\"orders\":\"");
    size_t len = strcspn(found, "\"");
    if (len < sizeof orders) memcpy(orders, found, len), orders[len] = 0;
  }
  free(text);
  end_text(call, PROVENDER_STATUS_OK,
           "{\"instance\": 1, \"info\": {\"scheme\": \"hostile\", \"version\": \"0\", "
           "\"display_name\": \"a hostile store\"}, \"online\": {\"expiry\": false, \"shared\": false}}");
}

static void call(void *state, struct ProvenderCall *call) {
  (void)state;
  switch (call->method) {
    case PROVENDER_OPEN:
      open_store(call);
      break;
    case PROVENDER_ONLINE_PREPARE: {
      struct ArrowSchema schema = field("", "+s", 2);
      *schema.children[0] = field("0:event", "tsu:UTC", 0);
      *schema.children[1] = field("0:value", "g", 0);
      end(call, PROVENDER_STATUS_OK, "{\"instance\": 2}", 15, NULL, &schema);
      break;
    }
    case PROVENDER_ONLINE_READ:
      read_rows(call);
      break;
    case PROVENDER_ONLINE_WRITE:
      take_rows(call);
      break;
    case PROVENDER_ONLINE_STATS:
      end_text(call, PROVENDER_STATUS_OK, "{\"n_rows\": null, \"n_bytes\": null}");
      break;
    case PROVENDER_CHECK:
    case PROVENDER_ONLINE_VIEWS:
      end_text(call, PROVENDER_STATUS_OK, "[]");
      break;
    default:
      end_text(call, PROVENDER_STATUS_OK, "{}");
  }
}

static void cancel(void *state, uint64_t call_id) {
  (void)state;
  (void)call_id;
}

static void close_instance(void *state, uint64_t instance) {
  (void)state;
  (void)instance;
}

/* Would hold up the end of a process that lets libraries tear themselves down. */
__attribute__((destructor)) static void never_done(void) {
  for (;;) pause();
}

uint32_t provender_plugin_init(uint32_t host_abi, struct ProvenderPlugin *out) {
  static const char manifest[] =
#ifdef INIT_NONSENSE
      "{\"name\": 7}";
#elif defined INIT_TAKEN
      "{\"name\": \"taken\", \"version\": \"0\", \"providers\": [{\"scheme\": \"delta\", \"description\": \"\", "
      "\"roles\": [\"offline_store\"], \"options_schema\": {}}]}";
#else
      "{\"name\": \"hostile\", \"version\": \"0.3\", \"providers\": [{\"scheme\": \"hostile\", "
      "\"description\": \"Breaks its promises\", \"roles\": [\"online_store\"], \"options_schema\": {"
      "\"type\": \"object\", \"properties\": {\"orders\": {\"type\": \"string\"}}, "
      "\"additionalProperties\": false}}]}";
#endif
#ifdef INIT_OTHER_VERSION
  return 8;
#endif
  if (host_abi != PROVENDER_ABI_VERSION || out->size < sizeof *out) return PROVENDER_ABI_VERSION + 1;
  memset(out, 0, sizeof *out);
  out->size = sizeof *out;
  out->abi_version = PROVENDER_ABI_VERSION;
#ifdef INIT_SAYS_OTHER_VERSION
  out->abi_version = 9;
#endif
  /* A lie: it hangs when it is told to. */
  out->prompt = 1;
  out->manifest.data = (const uint8_t *)manifest;
  out->manifest.len = sizeof manifest - 1;
  out->call = call;
  out->cancel = cancel;
  out->close = close_instance;
#ifdef INIT_FAILS
  return UINT32_MAX;
#endif
  return 0;
}
