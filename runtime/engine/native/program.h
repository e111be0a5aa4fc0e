// What the engine runs: tensors, weights and operations, read from the integers of a file.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernel_table.h"

namespace compressc {

// Anything that is wrong with a file or a request; the text is for the user.
struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The sizes of one sample, without the batch. A feature vector has height and width 1.
struct Tensor {
  int64_t channels, height, width;
  int64_t places() const { return height * width; }
  int64_t elements() const { return channels * places(); }
};

// An array that the caller owns, as it came from the file; null where an input is no constant.
struct Buffer {
  const void* data = nullptr;
  int64_t bytes = 0;
};

// A dense array of floats, unpacked.
using Weights = std::vector<float>;

enum class Kind : int64_t { kConvolution = 1, kPool, kGlobalAverage, kAdd, kConcat, kActivate, kReshape };

struct Window {
  int64_t kernel[2], stride[2], pad[2], dilation[2];
};

struct Operation {
  Kind kind;
  std::vector<int32_t> inputs;
  int32_t output;
  int32_t residual = -1;
  int32_t weights = -1, bias = -1;
  int64_t groups = 1;
  Window window = {{1, 1}, {1, 1}, {0, 0}, {1, 1}};
  bool is_maximum = false, counts_padding = false;
  Epilogue before, after;
};

struct Program {
  std::vector<Tensor> tensors;
  std::vector<Weights> weights;
  std::vector<int32_t> inputs, outputs;
  std::vector<int32_t> output_ranks;  // 2 for (batch, channels), 4 with rows and columns
  std::vector<Operation> operations;
};

// Reads and checks a program: every size, every index, every length of a buffer.
// Raises Refusal where something does not fit.
Program read_program(const int64_t* numbers, size_t count, const std::vector<Buffer>& buffers);

}  // namespace compressc
