# SPDX-License-Identifier: Apache-2.0
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "RAILYARD_BUILD_FUZZERS needs clang; the compiler is ${CMAKE_CXX_COMPILER_ID}")
endif()
target_compile_options(railyard_build_flags INTERFACE -fsanitize=fuzzer-no-link)

# railyard_add_fuzzer(<name>_fuzz SOURCES <files...> [LIBRARIES <targets...>])
# A libFuzzer program, left in <build>/fuzzers. A folder tests/fuzz/corpus/<name>_fuzz holds its first inputs, if any.
function(railyard_add_fuzzer name)
  cmake_parse_arguments(PARSE_ARGV 1 fuzzer "" "" "SOURCES;LIBRARIES")
  add_executable(${name} ${fuzzer_SOURCES})
  target_link_libraries(${name} PRIVATE ${fuzzer_LIBRARIES} railyard_internal railyard_build_flags)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzzers)
endfunction()
