// The vector width that a file is compiled for. Static only: nothing here is exported.
#pragma once

namespace stepless::kernels {

/// Floats of a vector.
#if defined(__AVX512F__)
static constexpr int kNativeLanes = 16;
#elif defined(__AVX2__)
static constexpr int kNativeLanes = 8;
#else
static constexpr int kNativeLanes = 4;
#endif

}  // namespace stepless::kernels
