// Programs: lists of kernels with their arguments, and the plain C interface.
#include <cstring>
#include <string>
#include <vector>

#include "team.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace sacpipe {

Table& table() {
  static Table t;
  return t;
}

namespace {

struct Call {
  const Kernel* kernel;
  std::vector<int64_t> arguments;
  bool waits;  // for all threads, before it starts
};

struct Program {
  std::vector<Call> calls;
  std::atomic<int> refused{0};
  int threads = 1;
};

const Kernel* find(const char* name, int count) {
  for (int i = 0; i < table().count; i++)
    if (!strcmp(table().kernels[i].name, name) && table().kernels[i].count == count) return &table().kernels[i];
  return nullptr;
}

void run_share(const Call& call, int thread, int threads, Worker& worker) {
  const long units = call.kernel->units(call.arguments.data());
  const long lo = units * thread / threads, hi = units * (thread + 1) / threads;
  if (lo < hi) call.kernel->run(call.arguments.data(), lo, hi, worker);
}

void run_calls(void* context, int thread) {
  Program& program = *(Program*)context;
  Worker worker = {scratch_of(thread), &program.refused, 0};
  for (const Call& call : program.calls) {
    if (call.waits && wait_for_team(program.threads, program.refused)) return;
    worker.index++;
    run_share(call, thread, program.threads, worker);
  }
}

}  // namespace
}  // namespace sacpipe

using namespace sacpipe;

// One line for each kernel: its name, what a unit is, and "name:access" of every argument.
EXPORT const char* sacpipe_kernels() {
  static const std::string text = [] {
    std::string lines;
    for (int i = 0; i < table().count; i++)
      lines += std::string(table().kernels[i].name) + " " + table().kernels[i].partition + " " +
               table().kernels[i].arguments + "\n";
    return lines;
  }();
  return text.c_str();
}

// Number of units of a kernel with these arguments; -1 if there is none of this name with so many arguments.
EXPORT int64_t sacpipe_units(const char* name, const int64_t* arguments, int count) {
  const Kernel* kernel = find(name, count);
  return kernel ? kernel->units(arguments) : -1;
}

EXPORT void* sacpipe_program_new() { return new Program; }

EXPORT void sacpipe_program_free(void* program) { delete (Program*)program; }

// Adds a kernel; returns its number, counted from 1, or 0 if there is none of this name with so many arguments.
EXPORT int sacpipe_program_add(void* program, const char* name, const int64_t* arguments, int count, int waits) {
  const Kernel* kernel = find(name, count);
  if (!kernel) return 0;
  auto& calls = ((Program*)program)->calls;
  calls.push_back({kernel, {arguments, arguments + count}, waits != 0});
  return (int)calls.size();
}

// Runs all kernels in order; returns the number of the kernel that refused a value, or 0.
EXPORT int sacpipe_program_run(void* program, int threads) {
  Program& p = *(Program*)program;
  p.threads = threads;
  p.refused.store(0, std::memory_order_relaxed);
  run_on_team(threads, run_calls, &p);
  return p.refused.load(std::memory_order_relaxed);
}

// As sacpipe_program_run, in one thread: from one wait to the next, the whole share of each of `threads` threads, and
// the last thread's first. Where a wait is missing, a kernel reads what is not yet written.
EXPORT int sacpipe_program_run_shares(void* program, int threads) {
  Program& p = *(Program*)program;
  p.refused.store(0, std::memory_order_relaxed);
  std::vector<float> scratch(SCRATCH);
  FlushDenormals flush;
  const int count = (int)p.calls.size();
  for (int from = 0, to = 0; from < count && !p.refused.load(std::memory_order_relaxed); from = to) {
    for (to = from + 1; to < count && !p.calls[to].waits;) to++;
    for (int thread = threads; thread--;)
      for (int i = from; i < to; i++) {
        Worker worker = {scratch.data(), &p.refused, i + 1};
        run_share(p.calls[i], thread, threads, worker);
      }
  }
  return p.refused.load(std::memory_order_relaxed);
}
