// A program with the plans made for it so far. May be run from several threads at once.
#pragma once
#include <map>
#include <mutex>

#include "plan.h"

namespace compressc {

struct FreeMemory {
  void operator()(float* memory) const;
};
using Memory = std::unique_ptr<float, FreeMemory>;

class Model {
 public:
  // `set` names the kernels, see dispatch.h. Raises Refusal.
  Model(const int64_t* numbers, size_t count, const std::vector<Buffer>& buffers,
        const std::string& set);

  const Program& program() const { return program_; }
  // Arrays are plain, of `batch` samples. Raises Refusal.
  void run(int64_t batch, const std::vector<const float*>& inputs,
           const std::vector<float*>& outputs, int threads, const Parallel& parallel);

  // The least time of each step of one run for a batch, a line each: what it does, the place of
  // its operation in the program, microseconds, multiply-adds.
  std::string profile(int64_t batch, int runs);

 private:
  struct Ready {
    Plan plan;
    std::vector<Memory> arenas;  // those that no thread is using
  };
  Ready& ready_for(int64_t batch);
  Memory take_arena(Ready& ready);

  Program program_;
  const KernelTable* kernels_;
  std::mutex mutex_;
  std::map<int64_t, Ready> ready_;
};

}  // namespace compressc
