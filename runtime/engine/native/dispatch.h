// Which kernels this processor can run.
#pragma once
#include <string>
#include <vector>

#include "kernel_table.h"

namespace compressc {

// The fastest first.
std::vector<const KernelTable*> usable_kernels();
// The kernels of a name, or the fastest where the name is empty; null if they cannot run here.
const KernelTable* find_kernels(const std::string& name);

}  // namespace compressc
