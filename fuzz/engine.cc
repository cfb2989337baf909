// libFuzzer's entry for the target that STEPLESS_FUZZ_TARGET names; an exception ends the process.
#include "fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  stepless::fuzz::STEPLESS_FUZZ_TARGET({data, size});
  return 0;
}
