// The threads that run a program together.
#pragma once
#include "kernel.h"

namespace sacpipe {

constexpr int MAX_THREADS = 64;

// What threads run together: a list of phases, each cut into as many slices as there are threads. A thread takes its
// own slice first, and then those that no other thread has taken: on a busy machine, where the others have no core,
// one thread does all of the work and waits for none. Which thread runs a slice changes no byte.
//
// Counters only grow, so that a thread that comes late finds its round over and does nothing.
class Job {
 public:
  virtual ~Job() {}
  virtual int phases() const = 0;
  // Runs slice `slice` of `slices` of a phase; returns a number other than 0 to end the job after the phase.
  virtual int run(int phase, int slice, int slices, float* scratch) = 0;

 private:
  friend struct Team;
  struct Phase {
    std::atomic<uint32_t> taken[MAX_THREADS] = {};  // round in which a slice was taken last
    alignas(64) std::atomic<uint32_t> done{0};      // slices finished in all rounds
  };
  Phase* phases_ = nullptr;
  int slices_ = 0, held_ = 0, forks_ = 0;
  std::atomic<uint32_t> round_{0}, stopped_round_{0};
  std::atomic<int> result_{0};
};

// Runs a job to its end and returns 0, or what ended it. Calls from several threads of a process wait for each other;
// a child process after a fork gets threads of its own.
int run_on_team(Job& job, int threads);

// Frees a job when no thread looks at it.
void free_job(Job* job);

}  // namespace sacpipe
