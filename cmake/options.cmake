# What may be asked of a build. An option whose part is not written yet is refused by name: nothing is accepted and
# ignored.
option(STEPLESS_TESTS "build the test suite" ON)
option(STEPLESS_BENCH "build the benchmarks (Google Benchmark)" OFF)
option(STEPLESS_PCH "precompile the headers that most files share: a build from nothing takes 60 % of the time" ON)
option(STEPLESS_CCACHE "compile through ccache when it is installed" ON)
option(STEPLESS_FUZZ "build the fuzz targets (clang with libFuzzer)" OFF)
set(STEPLESS_SANITIZE "" CACHE STRING "sanitizers for every object, e.g. address,undefined")

if(STEPLESS_FUZZ AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "STEPLESS_FUZZ: libFuzzer comes with clang; preset fuzz, or -DCMAKE_CXX_COMPILER=clang++")
endif()

foreach(later CUDA NCCL MPI SERVER PYTHON GRAMMAR)
  option(STEPLESS_${later} "not in this version" OFF)
  if(STEPLESS_${later})
    message(FATAL_ERROR "STEPLESS_${later}=${STEPLESS_${later}}: not in this version; leave it OFF")
  endif()
endforeach()

if(STEPLESS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(STEPLESS_CCACHE_PROGRAM ccache)
  mark_as_advanced(STEPLESS_CCACHE_PROGRAM)
  if(STEPLESS_CCACHE_PROGRAM)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${STEPLESS_CCACHE_PROGRAM})
  endif()
endif()
