// Workloads whose cost of metering is measured. Each is run(n): n rounds of work.
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned char u8;
#define EXPORT(name) __attribute__((export_name(#name)))
__attribute__((import_module("host"), import_name("noop"))) u64 noop(u64);

#define N (1 << 18)
static u8 from[N], to[N];

EXPORT(arithmetic) u64 arithmetic(u64 n) {
  u64 x = 88172645463325252ull;
  for (u64 i = 0; i < n; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; }
  return x;
}

EXPORT(sieve) u64 sieve(u64 n) {
  u64 count = 0;
  for (u64 r = 0; r < n; r++) {
    for (u32 i = 0; i < N; i++) to[i] = 1;
    for (u32 i = 2; i * i < N; i++)
      if (to[i]) for (u32 k = i * i; k < N; k += i) to[k] = 0;
    for (u32 i = 2; i < N; i++) count += to[i];
  }
  return count;
}

__attribute__((noinline)) static u64 fib(u64 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
EXPORT(recursion) u64 recursion(u64 n) { return fib(n); }

__attribute__((noinline)) static u32 small(u32 x) { return x * 1664525u + 1013904223u; }
EXPORT(calls) u64 calls(u64 n) {
  u32 x = 1;
  for (u64 i = 0; i < n; i++) x = small(x) + small(x ^ 5) + small(x + 3);
  return x;
}

EXPORT(hostcalls) u64 hostcalls(u64 n) {
  u64 a = 0;
  for (u64 i = 0; i < n; i++) a = noop(a);
  return a;
}

EXPORT(copyshort) u64 copyshort(u64 n) {
  for (u64 i = 0; i < n; i++) __builtin_memcpy(to + (i & 1023), from + (i & 255), 16 + (i & 127));
  return to[77];
}

EXPORT(copylong) u64 copylong(u64 n) {
  for (u64 i = 0; i < n; i++) __builtin_memcpy(to, from + (i & 255), N - 256);
  return to[77];
}

// Matrix product: nested loops with long bodies after unrolling by hand.
static double a[64][64], b[64][64], c[64][64];
EXPORT(matrix) u64 matrix(u64 n) {
  for (u64 r = 0; r < n; r++)
    for (int i = 0; i < 64; i++)
      for (int k = 0; k < 64; k++) {
        double s = 0;
        for (int l = 0; l < 64; l += 4)
          s += a[i][l] * b[l][k] + a[i][l + 1] * b[l + 1][k] + a[i][l + 2] * b[l + 2][k] + a[i][l + 3] * b[l + 3][k];
        c[i][k] = s + (double)r;
      }
  return (u64)c[3][5];
}
