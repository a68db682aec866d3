/* A Provender plug-in in plain C: an offline store over a folder of CSV files.
 *
 * The table `weather` is the file weather.csv. Its first line names the columns and their types, such as
 * `airport:string,at:timestamp,temp:float64`; the types are string, int64, float64 and timestamp (whole
 * microseconds since the epoch, UTC). An empty field is null. There are no quotes.
 *
 * It declares no capability, so it only has to tell schemas and to scan; joins, windows and
 * materialisation are computed by Provender. Everything it needs is provender.h and the C library. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "provender.h"

/* ---- Memory that cannot run out quietly ------------------------------------------------------- */

static void *need(void *memory) {
  if (!memory) abort();
  return memory;
}

static char *copy(const char *text, size_t len) {
  char *out = need(malloc(len + 1));
  memcpy(out, text, len);
  out[len] = 0;
  return out;
}

static char *format(const char *pattern, ...) {
  va_list args;
  va_start(args, pattern);
  int len = vsnprintf(NULL, 0, pattern, args);
  va_end(args);
  char *out = need(malloc((size_t)len + 1));
  va_start(args, pattern);
  vsnprintf(out, (size_t)len + 1, pattern, args);
  va_end(args);
  return out;
}

/* ---- JSON: as much as control bytes need ------------------------------------------------------- */

/* Text that is not read yet. The host writes valid JSON; anything else ends the reading early. */
typedef struct {
  const char *at, *end;
} Json;

static void spaces(Json *json) {
  while (json->at < json->end && strchr(" \t\r\n", *json->at)) json->at++;
}

static int peek(Json *json) {
  spaces(json);
  return json->at < json->end ? (unsigned char)*json->at : 0;
}

static int eat(Json *json, char c) {
  if (peek(json) != c) return 0;
  json->at++;
  return 1;
}

static unsigned hex4(Json *json) {
  unsigned value = 0;
  for (int i = 0; i < 4 && json->at < json->end; i++, json->at++) {
    char c = *json->at;
    value = value * 16 + (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
  }
  return value;
}

static char *utf8(char *out, unsigned c) {
  if (c < 0x80) {
    *out++ = (char)c;
  } else if (c < 0x800) {
    *out++ = (char)(0xc0 | c >> 6);
    *out++ = (char)(0x80 | (c & 63));
  } else if (c < 0x10000) {
    *out++ = (char)(0xe0 | c >> 12);
    *out++ = (char)(0x80 | (c >> 6 & 63));
    *out++ = (char)(0x80 | (c & 63));
  } else {
    *out++ = (char)(0xf0 | c >> 18);
    *out++ = (char)(0x80 | (c >> 12 & 63));
    *out++ = (char)(0x80 | (c >> 6 & 63));
    *out++ = (char)(0x80 | (c & 63));
  }
  return out;
}

/* A string's text, or NULL if there is no string. */
static char *string(Json *json) {
  if (!eat(json, '"')) return NULL;
  char *text = need(malloc((size_t)(json->end - json->at) + 1)), *out = text;
  while (json->at < json->end && *json->at != '"') {
    char c = *json->at++;
    if (c != '\\' || json->at == json->end) {
      *out++ = c;
      continue;
    }
    c = *json->at++;
    if (c == 'u') {
      unsigned code = hex4(json);
      if (code >= 0xd800 && code < 0xdc00 && json->end - json->at >= 6) {
        json->at += 2;
        code = 0x10000 + ((code & 0x3ff) << 10) + (hex4(json) & 0x3ff);
      }
      out = utf8(out, code);
    } else {
      const char *from = "bfnrt", *to = "\b\f\n\r\t", *found = strchr(from, c);
      *out++ = found ? to[found - from] : c;
    }
  }
  if (json->at < json->end) json->at++;
  *out = 0;
  return text;
}

static void skip(Json *json) {
  int c = peek(json);
  if (c == '"') {
    free(string(json));
  } else if (c == '{' || c == '[') {
    json->at++;
    char close = c == '{' ? '}' : ']';
    while (json->at < json->end && !eat(json, close)) {
      skip(json);
      if (!eat(json, ':')) eat(json, ',');
    }
  } else {
    while (json->at < json->end && !strchr(",]}: \t\r\n", *json->at)) json->at++;
  }
}

/* The value of an object's member; empty if there is none. */
static Json member(Json json, const char *name) {
  if (eat(&json, '{'))
    while (json.at < json.end && peek(&json) == '"') {
      char *key = string(&json);
      eat(&json, ':');
      int is_it = strcmp(key, name) == 0;
      free(key);
      if (is_it) return json;
      skip(&json);
      eat(&json, ',');
    }
  json.at = json.end;
  return json;
}

/* ---- Answers ----------------------------------------------------------------------------------- */

static void answer(struct ProvenderCall *call, struct ProvenderAnswer answer) {
  answer.size = sizeof answer;
  call->complete(call->context, call->call_id, &answer);
}

static struct ProvenderBytes bytes(const char *text) {
  struct ProvenderBytes out = {(const uint8_t *)text, strlen(text)};
  return out;
}

static void answer_json(struct ProvenderCall *call, const char *json) {
  struct ProvenderAnswer it = {0};
  it.control = bytes(json);
  answer(call, it);
}

/* Text as a JSON string, with its quotes. */
static char *quoted(const char *text) {
  char *out = need(malloc(strlen(text) * 6 + 3)), *to = out;
  *to++ = '"';
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    if (c < 0x20) {
      to += sprintf(to, "\\u%04x", c);
    } else {
      if (c == '"' || c == '\\') *to++ = '\\';
      *to++ = (char)c;
    }
  }
  *to++ = '"';
  *to = 0;
  return out;
}

/* Ends the call with an error; frees the message. */
static void fail(struct ProvenderCall *call, const char *code, const char *kind, char *message) {
  char *text = quoted(message);
  char *json = format("{\"code\":\"%s\",\"kind\":\"%s\",\"message\":%s}", code, kind, text);
  struct ProvenderAnswer it = {0};
  it.status = PROVENDER_STATUS_ERROR;
  it.control = bytes(json);
  answer(call, it);
  free(json);
  free(text);
  free(message);
}

/* ---- Tables ------------------------------------------------------------------------------------ */

enum type { STRING, INT64, FLOAT64, TIMESTAMP, N_TYPES };
static const char *const TYPE_NAMES[] = {"string", "int64", "float64", "timestamp"};
static const char *const FORMATS[] = {"u", "l", "g", "tsu:UTC"};

typedef struct {
  char *name;
  enum type type;
  uint8_t *valid;   /* one bit a row */
  int64_t *numbers; /* or the bits of floats */
  int32_t *offsets;
  char *text;
  size_t n_text;
} Column;

typedef struct {
  int n_columns;
  Column *columns;
  int64_t n_rows, room;
} Table;

static void free_table(Table *table) {
  for (int i = 0; i < table->n_columns; i++) {
    Column *column = &table->columns[i];
    free(column->name), free(column->valid), free(column->numbers);
    free(column->offsets), free(column->text);
  }
  free(table->columns);
}

static void push(Table *table, Column *column, const char *field) {
  int64_t row = table->n_rows;
  column->valid = need(realloc(column->valid, (size_t)(table->room / 8 + 1)));
  uint8_t bit = (uint8_t)(1 << row % 8);
  if (row % 8 == 0) column->valid[row / 8] = 0;
  if (*field) column->valid[row / 8] |= bit;
  if (column->type == STRING) {
    size_t len = strlen(field);
    column->offsets = need(realloc(column->offsets, (size_t)(table->room + 1) * sizeof(int32_t)));
    column->text = need(realloc(column->text, column->n_text + len + 1));
    memcpy(column->text + column->n_text, field, len);
    if (row == 0) column->offsets[0] = 0;
    column->n_text += len;
    column->offsets[row + 1] = (int32_t)column->n_text;
    return;
  }
  column->numbers = need(realloc(column->numbers, (size_t)table->room * sizeof(int64_t)));
  if (column->type == FLOAT64) {
    double value = strtod(field, NULL);
    memcpy(&column->numbers[row], &value, sizeof value);
  } else {
    column->numbers[row] = strtoll(field, NULL, 10);
  }
}

/* The next field of a line, which is cut there. */
static char *field(char **rest) {
  char *start = *rest, *comma = start ? strchr(start, ',') : NULL;
  if (comma) *comma = 0;
  *rest = comma ? comma + 1 : NULL;
  return start;
}

/* Reads a file. Answers NULL, or what is wrong with it. */
static char *read_table(FILE *file, Table *table, int only_columns) {
  char *line = NULL, *wrong = NULL;
  size_t room = 0;
  ssize_t len;
  for (int n_line = 1; !wrong && (len = getline(&line, &room, file)) >= 0; n_line++) {
    while (len > 0 && strchr("\r\n", line[len - 1])) line[--len] = 0;
    char *rest = line;
    if (n_line == 1) {
      for (char *name; (name = field(&rest));) {
        char *type = strrchr(name, ':');
        int found = 0;
        if (type) *type++ = 0;
        while (type && found < N_TYPES && strcmp(type, TYPE_NAMES[found])) found++;
        if (!type || found == N_TYPES) {
          wrong = format("column \"%s\" has no type that is known", name);
          break;
        }
        size_t size = (size_t)(table->n_columns + 1) * sizeof(Column);
        table->columns = need(realloc(table->columns, size));
        Column column = {0};
        column.name = copy(name, strlen(name));
        column.type = (enum type)found;
        table->columns[table->n_columns++] = column;
      }
      if (only_columns) break;
      continue;
    }
    if (len == 0) continue;
    if (table->n_rows == table->room) table->room = table->room ? table->room * 2 : 64;
    for (int i = 0; i < table->n_columns; i++) {
      char *value = field(&rest);
      if (!value) {
        wrong = format("line %d has fewer fields than the first line", n_line);
        break;
      }
      push(table, &table->columns[i], value);
    }
    if (!wrong) table->n_rows++;
  }
  free(line);
  return wrong;
}

/* ---- Arrow ------------------------------------------------------------------------------------- */

static void release_schema(struct ArrowSchema *schema) {
  for (int64_t i = 0; i < schema->n_children; i++) {
    struct ArrowSchema *child = schema->children[i];
    if (child->release) child->release(child);
    free(child);
  }
  free(schema->children);
  free((char *)schema->name);
  schema->release = NULL;
}

static void make_schema(struct ArrowSchema *out, const char *name, const char *type, int n_children) {
  memset(out, 0, sizeof *out);
  out->name = copy(name, strlen(name));
  out->format = type;
  out->flags = ARROW_FLAG_NULLABLE;
  out->n_children = n_children;
  out->children = need(calloc((size_t)n_children + 1, sizeof *out->children));
  out->release = release_schema;
}

/* The columns of these numbers, or all. */
static void table_schema(const Table *table, const int *which, int n, struct ArrowSchema *out) {
  make_schema(out, "", "+s", n);
  out->flags = 0;
  for (int i = 0; i < n; i++) {
    const Column *column = &table->columns[which ? which[i] : i];
    out->children[i] = need(malloc(sizeof **out->children));
    make_schema(out->children[i], column->name, FORMATS[column->type], 0);
  }
}

static void release_array(struct ArrowArray *array) {
  for (int64_t i = 0; i < array->n_children; i++) {
    struct ArrowArray *child = array->children[i];
    if (child->release) child->release(child);
    free(child);
  }
  free(array->children);
  for (int64_t i = 0; i < array->n_buffers; i++) free((void *)array->buffers[i]);
  free(array->buffers);
  array->release = NULL;
}

static void make_array(struct ArrowArray *out, int64_t length, int n_buffers, int n_children) {
  memset(out, 0, sizeof *out);
  out->length = length;
  out->null_count = n_buffers > 1 ? -1 : 0;
  out->n_buffers = n_buffers;
  out->buffers = need(calloc((size_t)n_buffers, sizeof *out->buffers));
  out->n_children = n_children;
  out->children = need(calloc((size_t)n_children + 1, sizeof *out->children));
  out->release = release_array;
}

/* A buffer of the array's own; never NULL, since empty columns have buffers too. */
static void *buffer(const void *from, size_t n_bytes) {
  void *out = need(calloc(1, n_bytes + 8));
  if (n_bytes) memcpy(out, from, n_bytes);
  return out;
}

static void table_rows(const Table *table, const int *which, int n, struct ArrowArray *out) {
  size_t rows = (size_t)table->n_rows;
  make_array(out, table->n_rows, 1, n);
  for (int i = 0; i < n; i++) {
    const Column *column = &table->columns[which ? which[i] : i];
    struct ArrowArray *child = out->children[i] = need(malloc(sizeof *child));
    make_array(child, table->n_rows, column->type == STRING ? 3 : 2, 0);
    child->buffers[0] = buffer(column->valid, column->valid ? (rows + 7) / 8 : 0);
    if (column->type == STRING) {
      child->buffers[1] = buffer(column->offsets, rows ? (rows + 1) * sizeof(int32_t) : 0);
      child->buffers[2] = buffer(column->text, column->n_text);
    } else {
      child->buffers[1] = buffer(column->numbers, rows * sizeof(int64_t));
    }
  }
}

/* A stream of one batch: the table, and which of its columns in which order. */
typedef struct {
  Table table;
  int *which, n, is_done;
} Stream;

static int stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  Stream *it = stream->private_data;
  table_schema(&it->table, it->which, it->n, out);
  return 0;
}

static int stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
  Stream *it = stream->private_data;
  memset(out, 0, sizeof *out);
  if (!it->is_done) table_rows(&it->table, it->which, it->n, out);
  it->is_done = 1;
  return 0;
}

static const char *stream_error(struct ArrowArrayStream *stream) {
  (void)stream;
  return NULL;
}

static void release_stream(struct ArrowArrayStream *stream) {
  Stream *it = stream->private_data;
  free_table(&it->table);
  free(it->which);
  free(it);
  stream->release = NULL;
}

/* ---- Methods ----------------------------------------------------------------------------------- */

/* An open store: where its files are. Its address is its number. */
typedef struct {
  char *folder;
} Store;

static void open_store(struct ProvenderCall *call, Json arguments) {
  Json config = member(arguments, "config"), path = member(member(config, "options"), "path");
  Json base = member(config, "base_path");
  char *folder = string(&path), *from = string(&base);
  if (!folder) {
    free(from);
    fail(call, "P203", "invalid_argument", format("the option path is missing"));
    return;
  }
  Store *store = need(malloc(sizeof *store));
  store->folder = *folder == '/' || !from ? format("%s", folder) : format("%s/%s", from, folder);
  char *name = format("CSV files in %s", store->folder), *display_name = quoted(name);
  char *json = format(
      "{\"instance\":%llu,\"info\":{\"scheme\":\"csvdir\",\"version\":\"0.1.0\",\"display_name\":%s},"
      "\"offline\":{\"sql_sources\":false,\"point_in_time_join\":false,\"point_in_time_windows\":false,"
      "\"sql_spine\":false,\"latest\":false,\"windows\":false,\"write\":false,\"delete\":false,"
      "\"versions\":false}}",
      (unsigned long long)(uintptr_t)store, display_name);
  answer_json(call, json);
  free(json), free(display_name), free(name), free(folder), free(from);
}

static void check_store(struct ProvenderCall *call, const Store *store) {
  struct stat found;
  if (stat(store->folder, &found) != 0 || !S_ISDIR(found.st_mode)) {
    fail(call, "P503", "unavailable", format("the folder %s cannot be read", store->folder));
    return;
  }
  answer_json(call, "[\"CSV files are read whole, with each scan\"]");
}

/* Reads the table of a source. Answers 1, or ends the call with an error and answers 0. */
static int open_table(struct ProvenderCall *call, const Store *store, Json source, Table *table,
                      int only_columns) {
  Json relation = member(source, "relation"), version = member(source, "version");
  Json filter = member(source, "filter"), name = member(relation, "table");
  if (peek(&version) == '{' || peek(&filter) == '"' || peek(&name) != '"') {
    char *message = format("CSV files have no versions, filters and queries");
    fail(call, "P801", "unsupported", message);
    return 0;
  }
  char *text = string(&name), *path = format("%s/%s.csv", store->folder, text);
  FILE *file = strchr(text, '/') ? NULL : fopen(path, "r");
  char *wrong = NULL;
  if (file) {
    wrong = read_table(file, table, only_columns);
    fclose(file);
    if (wrong) {
      char *message = format("table \"%s\" (%s): %s", text, path, wrong);
      fail(call, "P504", "data_loss", message);
      free_table(table);
    }
  } else {
    char *message = format("there is no table \"%s\": %s is not there", text, path);
    fail(call, "P120", "not_found", message);
  }
  int is_read = file && !wrong;
  free(wrong), free(path), free(text);
  return is_read;
}

static void schema(struct ProvenderCall *call, const Store *store, Json source) {
  Table table = {0};
  if (!open_table(call, store, source, &table, 1)) return;
  struct ArrowSchema out;
  table_schema(&table, NULL, table.n_columns, &out);
  struct ProvenderAnswer it = {0};
  it.control = bytes("{}");
  it.schema = &out;
  answer(call, it);
  if (out.release) out.release(&out);
  free_table(&table);
}

static void scan(struct ProvenderCall *call, const Store *store, Json arguments) {
  Stream *it = need(calloc(1, sizeof *it));
  if (!open_table(call, store, member(arguments, "source"), &it->table, 0)) {
    free(it);
    return;
  }
  Json columns = member(arguments, "columns");
  it->n = it->table.n_columns;
  if (eat(&columns, '[')) {
    it->n = 0;
    while (peek(&columns) == '"') {
      char *name = string(&columns);
      int found = 0;
      while (found < it->table.n_columns && strcmp(it->table.columns[found].name, name)) found++;
      if (found == it->table.n_columns) {
        fail(call, "P121", "invalid_argument", format("there is no column \"%s\"", name));
        free(name), free_table(&it->table), free(it->which), free(it);
        return;
      }
      it->which = need(realloc(it->which, (size_t)(it->n + 1) * sizeof(int)));
      it->which[it->n++] = found;
      free(name);
      eat(&columns, ',');
    }
  }
  struct ArrowArrayStream stream = {stream_schema, stream_next, stream_error, release_stream, it};
  struct ProvenderAnswer out = {0};
  out.control = bytes("{}");
  out.streams = &stream;
  out.n_streams = 1;
  answer(call, out);
  if (stream.release) stream.release(&stream);
}

static void call_method(void *state, struct ProvenderCall *call) {
  (void)state;
  const char *text = (const char *)call->control.data;
  Json control = {text, text + call->control.len}, arguments = member(control, "arguments");
  const Store *store = (const Store *)(uintptr_t)call->instance;
  /* Streams that a call brings and nobody moves out are released by the host. */
  if (call->method == PROVENDER_OPEN)
    open_store(call, arguments);
  else if (call->method == PROVENDER_CHECK)
    check_store(call, store);
  else if (call->method == PROVENDER_OFFLINE_SCHEMA)
    schema(call, store, arguments);
  else if (call->method == PROVENDER_OFFLINE_SCAN)
    scan(call, store, arguments);
  else
    fail(call, "P801", "unsupported", format("CSV files are only read: method %u", call->method));
}

static void cancel_call(void *state, uint64_t call_id) {
  /* Every call is completed before `call` returns, so there is nothing to cancel. */
  (void)state, (void)call_id;
}

static void close_store(void *state, uint64_t instance) {
  (void)state;
  Store *store = (Store *)(uintptr_t)instance;
  free(store->folder);
  free(store);
}

static const char MANIFEST[] =
    "{\"name\":\"csvdir\",\"version\":\"0.1.0\",\"providers\":[{\"scheme\":\"csvdir\","
    "\"description\":\"CSV files in a folder, read only\",\"roles\":[\"offline_store\"],"
    "\"options_schema\":{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\","
    "\"description\":\"The folder of the CSV files\"}},\"required\":[\"path\"],"
    "\"additionalProperties\":false}}]}";

uint32_t provender_plugin_init(uint32_t host_abi, struct ProvenderPlugin *out) {
  if (host_abi != PROVENDER_ABI_VERSION || out->size < sizeof *out) return PROVENDER_ABI_VERSION + 1;
  memset(out, 0, sizeof *out);
  out->size = sizeof *out;
  out->abi_version = PROVENDER_ABI_VERSION;
  out->prompt = 0; /* reading a file may take its time */
  out->manifest = bytes(MANIFEST);
  out->call = call_method;
  out->cancel = cancel_call;
  out->close = close_store;
  return 0;
}
