#include "model.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "dispatch.h"

namespace compressc {
namespace {

constexpr size_t kAlignment = 128;
constexpr int64_t kMostSamples = 1 << 24;

}  // namespace

void FreeMemory::operator()(float* memory) const { std::free(memory); }

Model::Model(const int64_t* numbers, size_t count, const std::vector<Buffer>& buffers,
             const std::string& set)
    : program_(read_program(numbers, count, buffers)), kernels_(find_kernels(set)) {
  if (!kernels_) throw Refusal("this processor cannot run the kernels '" + set + "'");
}

Model::Ready& Model::ready_for(int64_t batch) {
  auto place = ready_.find(batch);
  if (place == ready_.end())
    place = ready_.emplace(batch, Ready{make_plan(program_, *kernels_, batch), {}}).first;
  return place->second;
}

Memory Model::take_arena(Ready& ready) {
  if (!ready.arenas.empty()) {
    Memory arena = std::move(ready.arenas.back());
    ready.arenas.pop_back();
    return arena;
  }
  const size_t bytes =
      (static_cast<size_t>(ready.plan.arena_floats) * 4 / kAlignment + 1) * kAlignment;
  Memory arena(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
  if (!arena) throw std::bad_alloc();
  // Lanes without a sample are computed, too: zeros keep them harmless.
  std::memset(arena.get(), 0, bytes);
  return arena;
}

void Model::run(int64_t batch, const std::vector<const float*>& inputs,
                const std::vector<float*>& outputs, int threads, const Parallel& parallel) {
  if (batch < 0 || batch > kMostSamples)
    throw Refusal("a batch of " + std::to_string(batch) + " samples is not possible");
  for (int64_t first = 0; first < batch;) {
    const int64_t samples = batch_at_once(program_, *kernels_, batch - first);
    Ready* ready;
    Memory arena;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ready = &ready_for(samples);
      arena = take_arena(*ready);
    }
    std::vector<float*> externals;
    for (size_t k = 0; k < inputs.size(); ++k)
      externals.push_back(const_cast<float*>(inputs[k]) +
                          first * program_.tensors[program_.inputs[k]].elements());
    for (size_t k = 0; k < outputs.size(); ++k)
      externals.push_back(outputs[k] + first * program_.tensors[program_.outputs[k]].elements());
    run_plan(ready->plan, *kernels_, arena.get(), externals, threads, parallel);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ready->arenas.push_back(std::move(arena));
    }
    first += samples;
  }
}

}  // namespace compressc
