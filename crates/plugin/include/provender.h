/* The plug-in interface of the Provender feature store, version 0.
 *
 * A shared library exports one function, provender_plugin_init. Calls carry a method's number, control
 * bytes (JSON) and rows (Arrow C data), and end by a completion. What each method means, and what its
 * control bytes say, is in docs/plugins.md.
 *
 * Ownership. Bytes are borrowed: those of a call until `call` returns, those of an answer until `complete`
 * returns, those of the manifest for ever. Streams, arrays and schemas move: the receiver copies the
 * structure and sets the original's `release` to NULL; what it leaves, its owner releases. A library is
 * never unloaded.
 *
 * Threads. All functions are called from any thread, also at once. A call may be completed from any
 * thread, inside of `call` or later, exactly once. Nothing may be thrown or jumped over the interface.
 */
#ifndef PROVENDER_H
#define PROVENDER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* https://arrow.apache.org/docs/format/CDataInterface.html */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif

/* https://arrow.apache.org/docs/format/CStreamInterface.html */
#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
  int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
  const char *(*get_last_error)(struct ArrowArrayStream *);
  void (*release)(struct ArrowArrayStream *);
  void *private_data;
};

#endif

#define PROVENDER_ABI_VERSION 0u

/* How a call ended. */
#define PROVENDER_STATUS_OK 0u       /* the control bytes are the answer */
#define PROVENDER_STATUS_ERROR 1u    /* the control bytes are an error */
#define PROVENDER_STATUS_POISONED 2u /* as ERROR, and the library must not be called any more */

/* Methods. A number keeps its meaning for ever; one that a library does not know is answered with an error
 * of the kind "unsupported". */
#define PROVENDER_OPEN 1u
#define PROVENDER_CHECK 2u
#define PROVENDER_OFFLINE_SCHEMA 100u
#define PROVENDER_OFFLINE_SCAN 101u
#define PROVENDER_OFFLINE_POINT_IN_TIME_JOIN 102u
#define PROVENDER_OFFLINE_LATEST 103u
#define PROVENDER_OFFLINE_WINDOWS 104u
#define PROVENDER_OFFLINE_WRITE 105u
#define PROVENDER_OFFLINE_DELETE 106u
#define PROVENDER_OFFLINE_EXPLAIN 107u
#define PROVENDER_OFFLINE_PIN 108u
#define PROVENDER_OFFLINE_MAINTAIN 109u
#define PROVENDER_ONLINE_PREPARE 200u
#define PROVENDER_ONLINE_READ 201u
#define PROVENDER_ONLINE_WRITE 202u
#define PROVENDER_ONLINE_DELETE 203u
#define PROVENDER_ONLINE_VIEWS 204u
#define PROVENDER_ONLINE_STATS 205u
#define PROVENDER_ONLINE_DROP_VIEW 206u
#define PROVENDER_ONLINE_CHECKPOINT 207u
#define PROVENDER_ONLINE_HOLDS 208u
#define PROVENDER_REGISTRY_REVISION 300u
#define PROVENDER_REGISTRY_SNAPSHOT 301u
#define PROVENDER_REGISTRY_COMMIT 302u
#define PROVENDER_REGISTRY_HISTORY 303u
#define PROVENDER_REGISTRY_RECORD_INTERVAL 304u
#define PROVENDER_REGISTRY_INTERVALS 305u
#define PROVENDER_REGISTRY_FORGET_INTERVALS 306u
#define PROVENDER_REGISTRY_ACQUIRE_LEASE 307u
#define PROVENDER_REGISTRY_RENEW_LEASE 308u
#define PROVENDER_REGISTRY_RELEASE_LEASE 309u

/* Bytes that belong to somebody else. `data` may be NULL if `len` is 0. */
struct ProvenderBytes {
  const uint8_t *data;
  size_t len;
};

/* The end of a call. */
struct ProvenderAnswer {
  size_t size;                     /* sizeof(struct ProvenderAnswer) */
  uint32_t status;                 /* PROVENDER_STATUS_... */
  uint32_t reserved;               /* 0 */
  struct ProvenderBytes control;   /* the answer or the error */
  struct ArrowArrayStream *streams; /* streams of rows, to be moved out by the host */
  size_t n_streams;
  struct ArrowArray *array;   /* a short answer's rows as a struct array, or NULL */
  struct ArrowSchema *schema; /* a schema, where the method answers one, or NULL */
};

/* One call of the host. */
struct ProvenderCall {
  size_t size;                     /* sizeof(struct ProvenderCall) of the host */
  uint64_t call_id;                /* names the call; never used twice */
  uint64_t instance;               /* what `open` or `prepare` answered; 0 for the library itself */
  uint32_t method;                 /* PROVENDER_... */
  uint32_t reserved;               /* 0 */
  uint64_t timeout_us;             /* until the host stops waiting; UINT64_MAX is without a deadline */
  struct ProvenderBytes control;   /* the arguments */
  struct ArrowArrayStream *streams; /* streams of rows, to be moved out by the library */
  size_t n_streams;
  struct ArrowArray *array; /* rows that need no stream, to be moved out, or NULL */
  void *context;            /* the host's own; given to `complete` */
  void (*complete)(void *context, uint64_t call_id, struct ProvenderAnswer *answer);
};

/* What a library gives when it is loaded; valid as long as the process lives. */
struct ProvenderPlugin {
  size_t size;          /* set by the host before, by the library after */
  uint32_t abi_version; /* PROVENDER_ABI_VERSION */
  uint32_t prompt;      /* not 0 if `call` returns at once whatever the method */
  void *state;          /* the library's own; given to each of its functions */
  struct ProvenderBytes manifest; /* who the library is and what it offers */
  void (*call)(void *state, struct ProvenderCall *call);
  void (*cancel)(void *state, uint64_t call_id); /* nobody waits for the call any more */
  void (*close)(void *state, uint64_t instance); /* the instance gets no further calls */
};

/* Fills `out`, whose `size` the host has set. Answers 0, or the wanted ABI version plus one. */
uint32_t provender_plugin_init(uint32_t host_abi, struct ProvenderPlugin *out);

#ifdef __cplusplus
}
#endif

#endif
