// The test guest in C: freestanding, or with wasi-libc when WASI is defined.
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned char u8;

#define ENV(name) __attribute__((import_module("extism:host/env"), import_name(#name)))
#define USER(name) __attribute__((import_module("extism:host/user"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

ENV(input_length) u64 input_length(void);
ENV(input_load_u64) u64 input_load_u64(u64);
ENV(input_load_u8) u32 input_load_u8(u64);
ENV(alloc) u64 x_alloc(u64);
ENV(free) void x_free(u64);
ENV(length) u64 x_length(u64);
ENV(length_unsafe) u64 x_length_unsafe(u64);
ENV(load_u64) u64 load_u64(u64);
ENV(load_u8) u32 load_u8(u64);
ENV(store_u64) void store_u64(u64, u64);
ENV(store_u8) void store_u8(u64, u32);
ENV(output_set) void output_set(u64, u64);
ENV(error_set) void error_set(u64);
ENV(config_get) u64 config_get(u64);
ENV(var_get) u64 var_get(u64);
ENV(var_set) void var_set(u64, u64);
ENV(log_trace) void log_trace(u64);
ENV(log_debug) void log_debug(u64);
ENV(log_info) void log_info(u64);
ENV(log_warn) void log_warn(u64);
ENV(log_error) void log_error(u64);
ENV(get_log_level) int get_log_level(void);
ENV(http_request) u64 http_request(u64, u64);
ENV(http_status_code) int http_status_code(void);
ENV(http_headers) u64 http_headers(void);
USER(tool_call) u64 tool_call(u64);

static u8 buf[1 << 21];
static u32 used; // bytes of buf in use

static void take_input(void) {
  u64 n = input_length(), i = 0;
  for (; i + 8 <= n; i += 8) *(u64 *)(buf + i) = input_load_u64(i);
  for (; i < n; i++) buf[i] = (u8)input_load_u8(i);
  used = n;
}

static u64 put(const u8 *p, u64 n) {
  u64 off = x_alloc(n), i = 0;
  for (; i + 8 <= n; i += 8) {
    u64 v;
    __builtin_memcpy(&v, p + i, 8);
    store_u64(off + i, v);
  }
  for (; i < n; i++) store_u8(off + i, p[i]);
  return off;
}

static void append_block(u64 off) {
  u64 n = x_length(off);
  for (u64 i = 0; i < n; i++) buf[used++] = (u8)load_u8(off + i);
}

static void take_block(u64 off) {
  u64 n = x_length(off), i = 0;
  for (; i + 8 <= n; i += 8) *(u64 *)(buf + i) = load_u64(off + i);
  for (; i < n; i++) buf[i] = (u8)load_u8(off + i);
  used = n;
}

static void append_text(const char *s) {
  while (*s) buf[used++] = *s++;
}

static void append_number(u32 n) {
  char digits[11];
  int i = 10;
  digits[i] = 0;
  do digits[--i] = '0' + n % 10; while (n /= 10);
  append_text(digits + i);
}

static void append_u64(u64 v) {
  __builtin_memcpy(buf + used, &v, 8);
  used += 8;
}

static int done(void) {
  output_set(put(buf, used), used);
  return 0;
}

EXPORT(echo) int echo(void) { take_input(); return done(); }

EXPORT(work) int work(void) {
  take_input();
  take_block(tool_call(put(buf, used)));
  return done();
}

EXPORT(config) int config(void) {
  take_input();
  take_block(config_get(put(buf, used)));
  return done();
}

EXPORT(remember) int remember(void) {
  u64 old = var_get(put((const u8 *)"last", 4)), value = 0;
  take_input();
  if (used) value = put(buf, used);
  var_set(put((const u8 *)"last", 4), value);
  take_block(old);
  return done();
}

EXPORT(logs) int logs(void) {
  take_input();
  log_trace(put(buf, used));
  log_debug(put(buf, used));
  log_info(put(buf, used));
  log_warn(put(buf, used));
  log_error(put(buf, used));
  used = 0;
  append_number(get_log_level());
  return done();
}

EXPORT(fail) int fail(void) { take_input(); error_set(put(buf, used)); return 1; }
EXPORT(softfail) int softfail(void) { take_input(); error_set(put(buf, used)); return 0; }
EXPORT(code) int code(void) { return 7; }

static u32 calls;
EXPORT(state) int state(void) { used = 0; append_number(++calls); return done(); }

EXPORT(fetch) int fetch(void) {
  take_input();
  u64 body = http_request(put(buf, used), put((const u8 *)"ping", 4));
  used = 0;
  append_number(http_status_code());
  append_text(" ");
  append_block(http_headers());
  append_text(" ");
  append_block(body);
  return done();
}

EXPORT(widths) int widths(void) {
  u64 off = x_alloc(17);
  store_u64(off + 1, 0x0807060504030201ull);
  store_u8(off + 9, 0x1ff);
  store_u64(off, load_u64(off) ^ load_u64(off + 2));
  used = 0;
  for (int i = 0; i < 17; i++) buf[used++] = (u8)load_u8(off + i);
  append_u64(x_length(off));
  append_u64(x_length_unsafe(off));
  append_u64(x_length(off + 1));
  append_u64(x_length(0));
  append_u64(x_alloc(0));
  x_free(off);
  x_free(off);
  append_u64(x_length(off));
  return done();
}

EXPORT(churn) int churn(void) {
  u64 n = input_load_u64(0);
  for (u64 i = 0; i < n; i++) {
    u64 off = x_alloc(100 + i % 1000);
    if (!off) return 1;
    x_free(off);
  }
  return 0;
}

EXPORT(grow) int grow(void) {
  u64 n = input_load_u64(0);
  u32 page = __builtin_wasm_memory_grow(0, (n + 65535) / 65536);
  used = 0;
  if (page == (u32)-1) {
    append_text("no");
    return done();
  }
  u8 *m = (u8 *)(page * 65536u);
  for (u64 i = 0; i < n; i += 4096) m[i] = 1;
  append_text("ok");
  return done();
}

// turn changes a list, a table of functions, numbers and the memory's size, and
// returns what they look like.
struct item { struct item *next; u32 key, hits; };
static struct item *items;
static u8 *heap, *heap_end;
static double mean = 1.0;
static u32 turns, hash = 2166136261u;

static u32 mix(u32 v) { return hash = (hash ^ v) * 16777619u; }
static u32 turn_left(u32 v) { return mix(v << 3 | v >> 29); }
static u32 (*steps[3])(u32) = {mix, turn_left, mix};

static void *take(u32 n) {
  if ((u32)(heap_end - heap) < n) {
    u32 page = __builtin_wasm_memory_grow(0, 1);
    if (page == (u32)-1) __builtin_trap();
    heap = (u8 *)(page * 65536u);
    heap_end = heap + 65536;
  }
  heap += n;
  return heap - n;
}

EXPORT(turn) int turn(void) {
  take_input();
  turns++;
  for (u32 i = 0; i < 64; i++) {
    u32 key = steps[(turns + i) % 3](i + (used ? buf[i % used] : 0)) % 512;
    struct item *p = items;
    while (p && p->key != key) p = p->next;
    if (!p) {
      p = take(sizeof *p + key);
      p->key = key, p->hits = 0, p->next = items, items = p;
    }
    p->hits++;
    mean = mean * 0.99 + p->hits * 0.01;
  }
  if (turns % 7 == 0) steps[turns % 3] = steps[(turns + 1) % 3];
  take_block(tool_call(put(buf, used)));
  append_u64(hash);
  append_u64(*(u64 *)&mean);
  append_number(turns);
  for (struct item *p = items; p; p = p->next) mix(p->hits + p->key);
  append_u64(hash);
  return done();
}

EXPORT(spin) int spin(void) {
  volatile u32 x = 1;
  for (;;) x = x * 1664525u + 1013904223u;
}

EXPORT(trap) int trap(void) { __builtin_trap(); }

static int deeper(volatile int n) {
  volatile int pad[64];
  pad[n & 63] = n;
  return deeper(n + 1) + pad[(n + 1) & 63];
}
EXPORT(recurse) int recurse(void) { return deeper(0); }

#ifdef WASI
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

EXPORT(exit) int x_exit(void) {
  take_input();
  int code = buf[0] - '0';
  used = 0;
  append_text("bye");
  done();
  exit(code);
}

EXPORT(say) int say(void) {
  take_input();
  printf("out %.*s\n", (int)used, buf);
  fflush(stdout);
  fprintf(stderr, "err %.*s\n", (int)used, buf);
  return 0;
}

EXPORT(clock) int x_clock(void) {
  struct timespec start, end, nap = {3, 0};
  u8 r[8];
  clock_gettime(CLOCK_REALTIME, &start);
  nanosleep(&nap, 0);
  clock_gettime(CLOCK_REALTIME, &end);
  getentropy(r, sizeof r);
  used = snprintf((char *)buf, sizeof buf, "%lld %lld", (long long)start.tv_sec, (long long)(end.tv_sec - start.tv_sec));
  for (int i = 0; i < 8; i++) used += sprintf((char *)buf + used, " %d", r[i]);
  return done();
}
#endif
