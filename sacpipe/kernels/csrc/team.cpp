// Threads wait by spinning for half a millisecond, about the time of an environment's step, and then sleep: a woken
// thread starts 50 us later, but one that spins for ever takes a core from other programs.
#include "team.h"

#include <pthread.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace sacpipe {
namespace {

constexpr auto SPIN = std::chrono::microseconds(500);

void wait_while(std::atomic<int>& value, int old) {
  const auto start = std::chrono::steady_clock::now();
  while (value.load(std::memory_order_acquire) == old) {
    for (int i = 0; i < 32; i++) pause();
    if (std::chrono::steady_clock::now() - start > SPIN) value.wait(old, std::memory_order_acquire);
  }
}

struct Team {
  explicit Team(int size) : size(size) {
    for (int i = 0; i < size; i++) scratch.push_back((float*)std::aligned_alloc(64, SCRATCH * sizeof(float)));
    for (int i = 1; i < size; i++) threads.emplace_back([this, i] { work(i); });
  }
  ~Team() {
    job = nullptr;
    started.fetch_add(1, std::memory_order_release);
    started.notify_all();
    for (auto& thread : threads) thread.join();
    for (float* memory : scratch) std::free(memory);
  }
  void work(int index) {
    for (int seen = 0;; seen++) {
      wait_while(started, seen);
      if (!job) return;
      FlushDenormals flush;
      job(context, index);
      arrive();
    }
  }
  // The last thread to come resets the count and lets the others go.
  void arrive(std::atomic<int>* refused = nullptr) {
    const int round = rounds.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
      arrived.store(0, std::memory_order_relaxed);
      if (refused) stopped = refused->load(std::memory_order_relaxed) != 0;
      rounds.store(round + 1, std::memory_order_release);
      rounds.notify_all();
    } else {
      wait_while(rounds, round);
    }
  }
  void run(void (*f)(void*, int), void* with) {
    job = f, context = with;
    started.fetch_add(1, std::memory_order_release);
    started.notify_all();
    FlushDenormals flush;
    f(with, 0);
    arrive();
  }

  const int size;
  bool stopped = false;  // written by the last thread at a wait, so that all threads read the same
  void (*job)(void*, int) = nullptr;
  void* context = nullptr;
  std::vector<std::thread> threads;
  std::vector<float*> scratch;
  alignas(64) std::atomic<int> started{0};
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<int> rounds{0};
};

Team* team = nullptr;
alignas(std::mutex) char lock_memory[sizeof(std::mutex)];
std::mutex& lock() { return *reinterpret_cast<std::mutex*>(lock_memory); }

void forget_after_fork() {
  new (lock_memory) std::mutex;
  team = nullptr;  // its threads are the parent's
}
const bool is_ready = [] {
  new (lock_memory) std::mutex;
  pthread_atfork(nullptr, nullptr, forget_after_fork);
  return true;
}();

}  // namespace

void run_on_team(int threads, void (*job)(void*, int), void* context) {
  std::lock_guard<std::mutex> guard(lock());
  if (team && team->size != threads) {
    delete team;
    team = nullptr;
  }
  if (!team) team = new Team(threads);
  team->run(job, context);
}

bool wait_for_team(int threads, std::atomic<int>& refused) {
  if (threads == 1) return refused.load(std::memory_order_relaxed) != 0;
  team->arrive(&refused);
  return team->stopped;
}

float* scratch_of(int thread) { return team->scratch[thread]; }

}  // namespace sacpipe
