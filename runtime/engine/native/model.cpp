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

std::string Model::profile(int64_t batch, int runs) {
  static const char* const kNames[] = {"move",  "convolve", "multiply", "halo",
                                       "pool", "average",  "activate"};
  const Plan plan = make_plan(program_, *kernels_, batch_at_once(program_, *kernels_, batch));
  Ready ready{plan, {}};
  const Memory arena = take_arena(ready);
  std::vector<std::vector<float>> arrays;
  std::vector<float*> externals;
  for (const auto* ends : {&program_.inputs, &program_.outputs})
    for (int32_t tensor : *ends)
      arrays.emplace_back(plan.batch * program_.tensors[tensor].elements(), 0.5f);
  for (auto& array : arrays) externals.push_back(array.data());
  const Parallel in_turn = [](int64_t total, const std::function<void(int64_t)>& work) {
    for (int64_t k = 0; k < total; ++k) work(k);
  };
  std::vector<double> least(plan.steps.size(), 1e9);
  for (int run = 0; run < runs; ++run) {
    std::vector<double> seconds(plan.steps.size(), 0.0);
    run_plan(plan, *kernels_, arena.get(), externals, 1, in_turn, &seconds);
    for (size_t k = 0; k < least.size(); ++k) least[k] = std::min(least[k], seconds[k]);
  }
  std::string text;
  for (size_t k = 0; k < least.size(); ++k) {
    const Step& step = plan.steps[k];
    const Shape& out = plan.views[step.output].shape;
    const auto* first = program_.operations.data();
    const int64_t index = step.operation ? step.operation - first : -1;
    int64_t work = 0;
    if (step.work == Work::kConvolve)
      work = static_cast<int64_t>(step.convolution.starts.back()) * kBlocks[step.convolution.block] *
             out.groups() * out.layout.block_height * out.layout.block_width * out.lanes;
    text += std::string(kNames[static_cast<int>(step.work)]) + " " + std::to_string(index) + " " +
            std::to_string(least[k] * 1e6) + " " + std::to_string(work) + "\n";
  }
  return text;
}

}  // namespace compressc
