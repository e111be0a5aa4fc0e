// Vectors of four floats in whatever the compiler makes of them: SSE2 or NEON, for example.
#define LANES 4
#define REGISTERS 12
#define TABLE kGenericKernels
#define TABLE_NAME "generic"
#include "kernels.inl"
