# stepless_layer(base): the static library of one folder of src/. Which layer may use which is the table of tools/check;
# the link order here repeats only what the linker needs.
function(stepless_layer name)
  cmake_parse_arguments(ARG "" "" "USES" ${ARGN})
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  list(FILTER files EXCLUDE REGEX "/kernels/(cpu|cuda)/")
  # A device that this build has no compiler for is a stub.
  if(STEPLESS_WITH_CUDA)
    list(FILTER files EXCLUDE REGEX "/ops/none/")
  else()
    list(FILTER files EXCLUDE REGEX "/ops/cuda/")
  endif()
  if(NOT files)
    add_library(stepless_${name} INTERFACE)
    target_include_directories(stepless_${name} INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
    target_link_libraries(stepless_${name} INTERFACE ${ARG_USES})
    return()
  endif()
  add_library(stepless_${name} STATIC ${files})
  target_include_directories(stepless_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(stepless_${name} PUBLIC ${ARG_USES} PRIVATE stepless_flags)
  stepless_precompile(stepless_${name} layers)
  stepless_join(stepless_${name})
endfunction()

# stepless_join(<target>): several files are compiled as one where nobody edits them (preset release): what they include is
# parsed, and its inline functions compiled, once.
function(stepless_join target)
  if(STEPLESS_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
endfunction()

# stepless_precompile(<target> <set> <header>...): parsing these is most of a compilation. The first target of a set owns
# the precompiled header, the others use it. Every file still names what it includes: the sanitizers' presets build without.
function(stepless_precompile target set)
  if(NOT STEPLESS_PCH)
    return()
  endif()
  get_property(owner GLOBAL PROPERTY STEPLESS_PCH_${set})
  if(owner)
    target_precompile_headers(${target} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${target} PRIVATE <algorithm> <filesystem> <fstream> <functional> <map> <memory> <optional>
                              <span> <string> <string_view> <unordered_map> <vector> <fmt/format.h> <nlohmann/json.hpp> ${ARGN})
    set_property(GLOBAL PROPERTY STEPLESS_PCH_${set} ${target})
  endif()
endfunction()

# stepless_objects(avx2 -mavx2 ...): the folder kernels/cpu/<isa> is built with these flags (the folder is the compile
# flag).
function(stepless_objects isa)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/kernels/cpu/${isa}/*.cc)
  if(NOT files)
    return()
  endif()
  add_library(stepless_kernels_${isa} OBJECT ${files})
  target_include_directories(stepless_kernels_${isa} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(stepless_kernels_${isa} PRIVATE stepless_flags)
  target_compile_options(stepless_kernels_${isa} PRIVATE -O3 ${ARGN})
  target_sources(stepless_kernels PRIVATE $<TARGET_OBJECTS:stepless_kernels_${isa}>)
endfunction()

# stepless_target(avx2 -mavx2 ...): the same, and STEPLESS_BUILT_<isa> tells roll_call.cc, through targets.hpp, that the
# folder's functions exist.
function(stepless_target isa)
  stepless_objects(${isa} ${ARGN})
  if(TARGET stepless_kernels_${isa})
    target_compile_definitions(stepless_kernels PUBLIC STEPLESS_HAS_${isa}=1)
  endif()
endfunction()

# stepless_cuda_target(sm80): the folder kernels/cuda/<arch>, one object per file for every GPU that can run it.
function(stepless_cuda_target isa)
  if(NOT STEPLESS_WITH_CUDA)
    return()
  endif()
  cmake_path(GET STEPLESS_NVCC PARENT_PATH bin)
  cmake_path(GET bin PARENT_PATH toolkit)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/kernels/cuda/${isa}/*.cu)
  foreach(file IN LISTS files)
    cmake_path(GET file STEM name)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/cuda/${name}.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/cuda
      COMMAND ${STEPLESS_NVCC} -c -O3 -std=c++20 -I ${PROJECT_SOURCE_DIR}/src -I ${PROJECT_SOURCE_DIR}/include
              -Xcompiler -fPIC,-Wall,-ffp-contract=off --fmad=false --expt-relaxed-constexpr -Werror all-warnings ${ARGN}
              -MD -MF ${object}.d -o ${object} ${file}
      DEPENDS ${file} DEPFILE ${object}.d COMMENT "nvcc kernels/cuda/${isa}/${name}" VERBATIM)
    target_sources(stepless_kernels PRIVATE ${object})
    set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  endforeach()
  find_library(STEPLESS_CUDART cudart_static HINTS ${toolkit}/lib64 ${toolkit}/lib REQUIRED)
  mark_as_advanced(STEPLESS_CUDART)
  target_link_libraries(stepless_kernels PUBLIC ${STEPLESS_CUDART} ${CMAKE_DL_LIBS} rt Threads::Threads)
  if(isa STREQUAL "any")
    set(isa cuda_any)
  endif()
  target_compile_definitions(stepless_kernels PUBLIC STEPLESS_HAS_${isa}=1)
endfunction()
