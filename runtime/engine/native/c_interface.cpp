// The plain C interface: what ctypes calls. No exception leaves a function.
#include <cstring>
#include <exception>

#include "dispatch.h"
#include "model.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using compressc::Buffer;
using compressc::Model;

namespace {

void tell(const char* text, char* error, size_t size) {
  if (!size) return;
  std::strncpy(error, text, size - 1);
  error[size - 1] = 0;
}

}  // namespace

// Names of the instruction sets that can run here, the fastest first, separated by blanks.
EXPORT void compressc_sets(char* text, size_t size) {
  std::string names;
  for (const auto* table : compressc::usable_kernels())
    names += (names.empty() ? "" : " ") + std::string(table->name);
  tell(names.c_str(), text, size);
}

// Null, and a text in `error`, where something is wrong.
EXPORT void* compressc_open(const int64_t* numbers, size_t count, const void* const* data,
                            const int64_t* bytes, size_t buffers, const char* set, char* error,
                            size_t error_size) {
  try {
    std::vector<Buffer> arrays(buffers);
    for (size_t k = 0; k < buffers; ++k) arrays[k] = {data[k], bytes[k]};
    return new Model(numbers, count, arrays, set);
  } catch (const std::exception& problem) {
    tell(problem.what(), error, error_size);
    return nullptr;
  }
}

EXPORT int compressc_run(void* model, int64_t batch, const float* const* inputs,
                         float* const* outputs, char* error, size_t error_size) {
  try {
    auto* opened = static_cast<Model*>(model);
    const auto& program = opened->program();
    opened->run(batch, {inputs, inputs + program.inputs.size()},
                {outputs, outputs + program.outputs.size()}, 1,
                [](int64_t total, const std::function<void(int64_t)>& work) {
                  for (int64_t k = 0; k < total; ++k) work(k);
                });
    return 0;
  } catch (const std::exception& problem) {
    tell(problem.what(), error, error_size);
    return 1;
  }
}

// Fills `text` with the lines of Model::profile, or with what is wrong (and returns 1).
EXPORT int compressc_profile(void* model, int64_t batch, int runs, char* text, size_t size) {
  try {
    tell(static_cast<Model*>(model)->profile(batch, runs).c_str(), text, size);
    return 0;
  } catch (const std::exception& problem) {
    tell(problem.what(), text, size);
    return 1;
  }
}

EXPORT void compressc_close(void* model) { delete static_cast<Model*>(model); }
