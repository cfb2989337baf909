# One set of flags for everything of ours. -ffp-contract=off: an fma is written where it is meant, so that two compilers
# and two ISAs give the same bits (contract.md, section 5).
add_library(stepless_flags INTERFACE)
target_compile_options(stepless_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wswitch-enum -Werror
                                                -ffp-contract=off -fno-math-errno)
if(STEPLESS_PCH)
  # Out of a precompiled header gcc 12 no longer sees that <string> is a system header, and reports its own false
  # positives there. The sanitizers' presets, which precompile nothing (gcc 12 crashes with both), keep these warnings.
  target_compile_options(stepless_flags INTERFACE -Wno-array-bounds -Wno-stringop-overflow -Wno-restrict)
endif()
if(STEPLESS_SANITIZE)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # What is instrumented looks uninitialized to gcc 12 (an empty std::optional); every other preset keeps the warning.
    target_compile_options(stepless_flags INTERFACE -Wno-maybe-uninitialized)
  endif()
  add_compile_options(-fsanitize=${STEPLESS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${STEPLESS_SANITIZE})
endif()
if(STEPLESS_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)  # coverage in every object; only the targets get libFuzzer's main
endif()
