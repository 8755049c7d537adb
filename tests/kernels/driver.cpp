// Runs programs that recorded.py wrote, without Python: on emulated processors, and under sanitizers.
//
//   driver run FILE THREADS RUNS   prints the bytes of its memory after so many runs
//   driver stress FILE...          runs all of them in the ways below; exits with 1 where bytes differ
//   driver often FILE...           runs each forty times, so that late threads take part too; compares nothing
//   driver fork FILE...            runs them before and after a fork, in parent and child
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

extern "C" {
void* sacpipe_program_new();
void sacpipe_program_free(void*);
int sacpipe_program_add(void*, const char*, const int64_t*, int, int);
int sacpipe_program_run(void*, int);
}

namespace {

void require(bool is_true, const char* what) {
  if (is_true) return;
  fprintf(stderr, "driver: %s\n", what);
  exit(1);
}

std::string read_file(const char* path) {
  FILE* file = fopen(path, "rb");
  require(file, path);
  std::string data;
  char part[1 << 16];
  for (size_t n; (n = fread(part, 1, sizeof part, file));) data.append(part, n);
  fclose(file);
  return data;
}

struct Region {
  char* memory;  // of exactly its size: a sanitizer sees an access beside it
  size_t size;
  bool is_slots;
};

// A program with memory of its own.
class Recorded {
 public:
  explicit Recorded(const std::string& file) : program_(sacpipe_program_new()) {
    const char* at = file.data();
    const auto word = [&] {
      int64_t value;
      memcpy(&value, at, 8);
      at += 8;
      return value;
    };
    const int64_t regions = word(), calls = word();
    for (int64_t i = 0; i < regions; i++) {
      const size_t size = word();
      const bool is_slots = word();
      void* memory = nullptr;
      require(!posix_memalign(&memory, 64, size), "memory");
      memcpy(memory, at, size);
      at += (size + 7) / 8 * 8;
      regions_.push_back({(char*)memory, size, is_slots});
    }
    for (Region& region : regions_)
      for (size_t i = 0; region.is_slots && i < region.size; i += 16) {
        int64_t place;
        memcpy(&place, region.memory + i, 8);
        place = (int64_t)(regions_[place >> 32].memory + (place & 0xffffffff));
        memcpy(region.memory + i, &place, 8);
      }
    for (int64_t i = 0; i < calls; i++) {
      const char* name = at;
      at += 32;
      const int waits = (int)word(), count = (int)word();
      std::vector<int64_t> arguments;
      for (int k = 0; k < count; k++) {
        const int64_t region = word(), value = word();
        arguments.push_back(region < 0 ? value : (int64_t)(regions_[region].memory + value));
      }
      require(sacpipe_program_add(program_, name, arguments.data(), count, waits) == i + 1, name);
    }
  }
  Recorded(const Recorded&) = delete;
  ~Recorded() {
    sacpipe_program_free(program_);
    for (Region& region : regions_) free(region.memory);
  }

  void run(int threads) { require(!sacpipe_program_run(program_, threads), "a kernel refused a value"); }
  std::string bytes() const {
    std::string all;
    for (const Region& region : regions_)
      if (!region.is_slots) all.append(region.memory, region.size);
    return all;
  }

 private:
  void* program_;
  std::vector<Region> regions_;
};

std::string run_alone(const std::string& file, int threads, int runs) {
  Recorded program(file);
  for (int i = 0; i < runs; i++) program.run(threads);
  return program.bytes();  // it is freed while the team's threads wait
}

// One program by teams of one to four threads, and teams whose size changes between its runs.
void by_all_teams(const std::string& file) {
  const std::string expected = run_alone(file, 1, 4);
  for (int threads = 2; threads <= 4; threads++) require(run_alone(file, threads, 4) == expected, "another team");
  Recorded program(file);
  for (int threads : {3, 1, 4, 2}) program.run(threads);
  require(program.bytes() == expected, "teams of several sizes");
}

// Two programs at a time by two threads of the caller, with teams of different sizes.
void beside_each_other(const std::string& first, const std::string& second) {
  const std::string files[2] = {first, second};
  std::string found[2];
  {
    std::vector<std::thread> callers;
    for (int k = 0; k < 2; k++) callers.emplace_back([&, k] { found[k] = run_alone(files[k], 2 + k, 6); });
    for (std::thread& caller : callers) caller.join();
  }
  for (int k = 0; k < 2; k++) require(found[k] == run_alone(files[k], 1, 6), "a caller beside another");
}

// Whether every thread but this one sleeps.
bool others_sleep() {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    if (task.path().filename() == std::to_string(gettid())) continue;
    std::ifstream stat(task.path() / "stat");
    const std::string text{std::istreambuf_iterator<char>(stat), {}};
    if (text.compare(text.rfind(')') + 1, 2, " S")) return false;
  }
  return true;
}

void around_fork(const std::string& file) {
  const std::string expected = run_alone(file, 1, 4);
  Recorded program(file);
  program.run(3), program.run(3);
  // A thread that starts may have locked the allocator of GCC's address sanitizer, which stays locked in the child.
  while (!others_sleep()) std::this_thread::yield();
  const pid_t child = fork();
  require(child >= 0, "fork");
  program.run(3), program.run(2);
  const bool is_equal = program.bytes() == expected;
  if (!child) _exit(is_equal ? 0 : 1);
  int status = 1;
  waitpid(child, &status, 0);
  require(is_equal && status == 0, "a program around a fork");
}

}  // namespace

int main(int count, char** words) {
  require(count > 2, "expected run, stress, often or fork, and a file");
  std::vector<std::string> files;
  const std::string how = words[1];
  if (how == "run") {
    require(count == 5, "expected a file, threads and runs");
    const std::string found = run_alone(read_file(words[2]), atoi(words[3]), atoi(words[4]));
    fwrite(found.data(), 1, found.size(), stdout);
    return 0;
  }
  for (int i = 2; i < count; i++) files.push_back(read_file(words[i]));
  for (const std::string& file : files) {
    if (how == "fork") around_fork(file);
    if (how == "stress") by_all_teams(file);
    if (how == "often") run_alone(file, 3, 40);
  }
  for (size_t i = 0; how == "stress" && i < files.size(); i++)
    beside_each_other(files[i], files[(i + 1) % files.size()]);
  return 0;
}
