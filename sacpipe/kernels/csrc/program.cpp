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
};

// A phase is the kernels between two waits.
struct Program : Job {
  std::vector<Call> calls;
  std::vector<int> starts;  // first kernel of each phase
  int phases() const override { return (int)starts.size(); }
  int run(int phase, int slice, int slices, float* scratch) override {
    const int end = phase + 1 < phases() ? starts[phase + 1] : (int)calls.size();
    std::atomic<int> refused{0};
    Worker worker = {scratch, &refused, starts[phase]};
    for (int i = starts[phase]; i < end; i++) {
      const Call& call = calls[i];
      worker.index = i + 1;
      const long units = call.kernel->units(call.arguments.data());
      const long lo = units * slice / slices, hi = units * (slice + 1) / slices;
      if (lo < hi) call.kernel->run(call.arguments.data(), lo, hi, worker);
    }
    return refused.load(std::memory_order_relaxed);
  }
};

const Kernel* find(const char* name, int count) {
  for (int i = 0; i < table().count; i++)
    if (!strcmp(table().kernels[i].name, name) && table().kernels[i].count == count) return &table().kernels[i];
  return nullptr;
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

EXPORT void sacpipe_program_free(void* program) { free_job((Program*)program); }

// Adds a kernel, which waits for all threads before it starts or does not; returns its number, counted from 1, or 0 if there is none of this name with so many arguments.
EXPORT int sacpipe_program_add(void* program, const char* name, const int64_t* arguments, int count, int waits) {
  const Kernel* kernel = find(name, count);
  if (!kernel) return 0;
  Program& p = *(Program*)program;
  if (waits || p.calls.empty()) p.starts.push_back((int)p.calls.size());
  p.calls.push_back({kernel, {arguments, arguments + count}});
  return (int)p.calls.size();
}

// Runs all kernels in order; returns the number of the kernel that refused a value, or 0.
EXPORT int sacpipe_program_run(void* program, int threads) {
  return run_on_team(*(Program*)program, threads);
}

// As sacpipe_program_run, in one thread: of every phase each of `threads` slices, the last one first. Where a wait is
// missing, a kernel reads what is not yet written.
EXPORT int sacpipe_program_run_shares(void* program, int threads) {
  Program& p = *(Program*)program;
  std::vector<float> scratch(SCRATCH);
  FlushDenormals flush;
  int refused = 0;
  for (int phase = 0; phase < p.phases() && !refused; phase++)
    for (int slice = threads; slice--;)
      if (int found = p.run(phase, slice, threads, scratch.data())) refused = found;
  return refused;
}
