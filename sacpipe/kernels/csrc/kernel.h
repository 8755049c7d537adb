// What a kernel is: a function over a range of units of work, with named arguments.
//
// A program is a list of kernels with their arguments, cut into as many slices as there are threads: slice s of S is
// the units [units * s / S, units * (s + 1) / S) of every kernel. No unit is split and no reduction crosses units, so
// the number of threads changes no byte. The composer (program.py) says where all slices must be done first.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "vector.h"

namespace sacpipe {

constexpr int BLOCK = 8;    // rows of a unit of rows
constexpr int PANEL = 32;   // features of a panel: matrices are stored panel by panel, [panels][rows][width]
constexpr long SCRATCH = 1 << 20;  // floats of memory that each thread has for itself

// Where a number that changes with every update is read: the program's caller writes it.
typedef const float* Scalar;

// Rows of float32 numbers in the caller's memory, which may differ with every update.
struct Rows {
  const char* data;
  int64_t stride;  // bytes from row to row
};
INLINE const float* row(const Rows* rows, long m) { return (const float*)(rows->data + m * rows->stride); }

struct Worker {
  float* scratch;
  std::atomic<int>* refused;  // number of the first kernel, counted from 1, that found a value that is not finite
  int index;                  // number of the present kernel, counted from 1
};

struct Kernel {
  const char* name;
  const char* partition;  // rows, panels or once: what a unit is
  const char* arguments;  // "name:access " each; the access is one of the words below
  int count;
  long (*units)(const int64_t*);
  void (*run)(const int64_t*, long, long, Worker&);
};

// How a kernel uses an argument, for the composer:
//   own     array, read at the rows (or panels) of the unit alone
//   all     array, read at any place
//   out     array, written at the unit's place alone
//   number  whole number
#define SACPIPE_MEMBER(type, name, access) type name;
#define SACPIPE_NAME(type, name, access) #name ":" #access " "
#define SACPIPE_COUNT(type, name, access) +1

// Defines the struct of a kernel's arguments and enters the kernel, whose functions `units` and `run` follow, into the
// table. Each member has eight bytes.
#define KERNEL(Name, text, partition, FIELDS)                                                                      \
  namespace {                                                                                             \
  struct Name {                                                                                           \
    FIELDS(SACPIPE_MEMBER)                                                                                \
    long units() const;                                                                                   \
    void run(long lo, long hi, Worker& worker) const;                                                     \
  };                                                                                                      \
  static_assert(sizeof(Name) == 8 * (0 FIELDS(SACPIPE_COUNT)));                                           \
  const Enter enter_##Name({text, #partition, FIELDS(SACPIPE_NAME), 0 FIELDS(SACPIPE_COUNT),              \
                            [](const int64_t* a) { return ((const Name*)a)->units(); },                   \
                            [](const int64_t* a, long lo, long hi, Worker& w) { ((const Name*)a)->run(lo, hi, w); }}); \
  }

constexpr int MAX_KERNELS = 64;
struct Table {
  Kernel kernels[MAX_KERNELS];
  int count = 0;
};
Table& table();
struct Enter {
  explicit Enter(Kernel kernel) {
    if (table().count == MAX_KERNELS) std::abort();  // while the library is loaded: raise MAX_KERNELS
    table().kernels[table().count++] = kernel;
  }
};

INLINE long blocks(long rows) { return (rows + BLOCK - 1) / BLOCK; }
INLINE long padded(long rows) { return blocks(rows) * BLOCK; }

// Splits a range of units, counted over members of `each` units, and calls f(member, first unit, last unit).
template <class F>
INLINE void each_member(long lo, long hi, long each, F f) {
  while (lo < hi) {
    long member = lo / each, first = lo - member * each, last = hi - member * each;
    last = last < each ? last : each;
    f(member, first, last);
    lo = member * each + last;
  }
}

// Rows of every member: `rows` of each, or as many as a list has.
struct Listed {
  const int32_t* counts;  // of each member; null where every member has all rows
  long members, rows;
  INLINE_MEMBER long count(long member) const { return counts ? counts[member] : rows; }
  INLINE_MEMBER long units() const {
    long n = 0;
    for (long c = 0; c < members; c++) n += blocks(count(c));
    return n;
  }
  template <class F>
  INLINE_MEMBER void each(long lo, long hi, F f) const {  // f(member, first row, last row), whole blocks
    for (long c = 0, before = 0; c < members; c++) {
      long n = blocks(count(c)), first = lo - before, last = hi - before;
      first = first > 0 ? first : 0, last = last < n ? last : n;
      if (first < last) f(c, first * BLOCK, last * BLOCK);
      before += n;
    }
  }
};

}  // namespace sacpipe
