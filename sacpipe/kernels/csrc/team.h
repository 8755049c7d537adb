// The threads that run a program together.
#pragma once
#include "kernel.h"

namespace sacpipe {

// Runs job(context, thread) on so many threads, the caller's included, and returns when all are done. Calls from
// several threads of a process wait for each other; a child process after a fork gets threads of its own.
void run_on_team(int threads, void (*job)(void*, int), void* context);

// Waits until all threads of the present job are here, and returns whether one had called `stop`.
bool wait_for_team(int threads, std::atomic<int>& refused);

float* scratch_of(int thread);

}  // namespace sacpipe
