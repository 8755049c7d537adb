// Threads wait by spinning for half a millisecond, about the time of an environment's step, and then sleep: a woken
// thread starts 50 us later, but one that spins for ever takes a core from other programs.
#include "team.h"

#include <pthread.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace sacpipe {
namespace {

constexpr auto SPIN = std::chrono::microseconds(500);

// Waits until `is_over(value)`.
template <class F>
void wait_until(std::atomic<uint32_t>& value, F is_over) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    for (int i = 0; i < 32; i++) {
      if (is_over(value.load(std::memory_order_acquire))) return;
      pause();
    }
    if (std::chrono::steady_clock::now() - start < SPIN) continue;
    const uint32_t seen = value.load(std::memory_order_acquire);
    if (is_over(seen)) return;
    value.wait(seen, std::memory_order_acquire);
  }
}

int forks = 0;  // of this process and its parents: a job that was running then is not going on here

INLINE bool reached(uint32_t count, uint32_t target) { return (int32_t)(count - target) >= 0; }

}  // namespace

struct Team {
  explicit Team(int size) : size(size) {
    // Where memory or a thread cannot be had, the others take the slices: there is one scratch at least.
    for (int i = 0; i < size; i++) {
      float* memory = (float*)std::aligned_alloc(64, SCRATCH * sizeof(float));
      if (!memory && i == 0) std::abort();
      if (!memory) break;
      scratch.push_back(memory);
    }
    try {
      for (int i = 1; i < (int)scratch.size(); i++) threads.emplace_back([this, i] { work(i); });
    } catch (const std::system_error&) {
    }
  }
  ~Team() {
    ends.store(true);
    start(nullptr);
    for (auto& thread : threads) thread.join();
    for (float* memory : scratch) std::free(memory);
  }

  void work(int index) {
    FlushDenormals flush;
    for (uint32_t seen = 0;;) {
      wait_until(started, [&](uint32_t count) { return count != seen; });
      if (ends.load()) return;
      seen = started.load(std::memory_order_acquire);
      inside.fetch_add(1);  // before the job is read: `leave` waits for those who may have it
      if (Job* job = current.load()) take_part(*job, index);
      inside.fetch_sub(1);
      inside.notify_all();
    }
  }

  void start(Job* job) {
    current.store(job);
    started.fetch_add(1, std::memory_order_release);
    started.notify_all();
  }

  // Returns when no other thread looks at any job.
  void leave() {
    current.store(nullptr);
    for (int count; (count = inside.load());) inside.wait(count);
  }

  void take_part(Job& job, int index) {
    const uint32_t round = job.round_.load(std::memory_order_acquire);
    // As many phases as there are counters: a thread that comes late may meet a job that has got more since.
    const int slices = job.slices_, count = job.held_;
    for (int p = 0; p < count; p++) {
      Job::Phase& phase = job.phases_[p];
      const uint32_t target = round * (uint32_t)slices;
      for (int i = 0; i < slices && !reached(phase.done.load(std::memory_order_acquire), target); i++) {
        const int slice = (index + i) % slices;
        uint32_t before = round - 1;
        if (!phase.taken[slice].compare_exchange_strong(before, round, std::memory_order_acq_rel)) continue;
        if (int result = job.run(p, slice, slices, scratch[index])) {
          job.result_.store(result, std::memory_order_relaxed);
          job.stopped_round_.store(round, std::memory_order_relaxed);
        }
        if (reached(phase.done.fetch_add(1, std::memory_order_acq_rel) + 1, target)) phase.done.notify_all();
      }
      wait_until(phase.done, [&](uint32_t done) { return reached(done, target); });
      if (job.stopped_round_.load(std::memory_order_relaxed) == round) return;
    }
  }

  int run(Job& job) {
    // The first run, or after one with other threads, with fewer kernels, or in a parent process.
    if (job.slices_ != size || job.held_ != job.phases() || job.forks_ != forks) {
      leave();
      delete[] job.phases_;
      job.phases_ = new Job::Phase[job.phases()];
      job.slices_ = size, job.held_ = job.phases(), job.forks_ = forks;
      job.round_ = 0, job.stopped_round_ = 0;
    }
    const uint32_t round = job.round_.load(std::memory_order_relaxed) + 1;
    job.result_.store(0, std::memory_order_relaxed);
    job.round_.store(round, std::memory_order_release);
    if (size > 1) start(&job);
    {
      FlushDenormals flush;
      take_part(job, 0);
    }
    const int result = job.result_.load(std::memory_order_relaxed);
    if (result) skip_rest(job, round);
    return result;
  }

  // Counts the phases that a stopped job left out as done.
  void skip_rest(Job& job, uint32_t round) {
    leave();
    for (int p = 0; p < job.held_; p++) {
      for (int i = 0; i < size; i++) job.phases_[p].taken[i] = round;
      job.phases_[p].done = round * (uint32_t)size;
    }
  }

  static void discard(Job* job) {
    delete[] job->phases_;
    delete job;
  }

  const int size;
  std::vector<std::thread> threads;
  std::vector<float*> scratch;
  std::atomic<bool> ends{false};
  std::atomic<Job*> current{nullptr};
  alignas(64) std::atomic<uint32_t> started{0};
  alignas(64) std::atomic<int> inside{0};
};

namespace {

Team* team = nullptr;
alignas(std::mutex) char lock_memory[sizeof(std::mutex)];
std::mutex& lock() { return *reinterpret_cast<std::mutex*>(lock_memory); }

void forget_after_fork() {
  new (lock_memory) std::mutex;
  team = nullptr;  // its threads are the parent's
  forks++;
}
const bool is_ready = [] {
  new (lock_memory) std::mutex;
  pthread_atfork(nullptr, nullptr, forget_after_fork);
  return true;
}();

}  // namespace

int run_on_team(Job& job, int threads) {
  std::lock_guard<std::mutex> guard(lock());
  if (team && team->size != threads) {
    delete team;
    team = nullptr;
  }
  if (!team) team = new Team(threads);
  return team->run(job);
}

void free_job(Job* job) {
  std::lock_guard<std::mutex> guard(lock());
  if (team) team->leave();
  Team::discard(job);
}

}  // namespace sacpipe
