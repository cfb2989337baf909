# The commit a binary was made from, for --version, bench JSON and bug reports; "unknown" outside a checkout.
execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} rev-parse --short=7 HEAD OUTPUT_VARIABLE STEPLESS_COMMIT
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE stepless_git)
if(NOT stepless_git EQUAL 0)
  set(STEPLESS_COMMIT unknown)
endif()
# The word --version prints: the preset, as far as the flags tell it.
if(STEPLESS_SANITIZE MATCHES "thread")
  set(STEPLESS_BUILD_TYPE tsan)
elseif(STEPLESS_SANITIZE)
  set(STEPLESS_BUILD_TYPE asan)
elseif(CMAKE_BUILD_TYPE STREQUAL "None")
  set(STEPLESS_BUILD_TYPE dev)
else()
  string(TOLOWER "${CMAKE_BUILD_TYPE}" STEPLESS_BUILD_TYPE)
endif()
