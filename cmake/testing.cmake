# SPDX-License-Identifier: Apache-2.0
include(GoogleTest)

# railyard_add_test(<name> SOURCES <files...> [LABELS <label...>] [LIBRARIES <targets...>] [TIMEOUT <seconds>])
# One executable of GoogleTest cases; each case becomes one ctest test called <name>.<suite>.<case>.
# It sees every internal symbol and includes from src/ and tests/. Labels: host gpu1 gpu2 gpu8 fabric.
function(railyard_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 test "" "TIMEOUT" "SOURCES;LABELS;LIBRARIES")
  if(test_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "railyard_add_test(${name}): unknown arguments ${test_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT test_SOURCES)
    message(FATAL_ERROR "railyard_add_test(${name}): no SOURCES")
  endif()
  if(NOT test_LABELS)
    set(test_LABELS host)
  endif()
  foreach(label IN LISTS test_LABELS)
    if(NOT label MATCHES "^(host|gpu1|gpu2|gpu8|fabric)$")
      message(FATAL_ERROR "railyard_add_test(${name}): label '${label}' is none of host gpu1 gpu2 gpu8 fabric")
    endif()
  endforeach()
  if(NOT test_TIMEOUT)
    set(test_TIMEOUT 120)
  endif()
  if(RAILYARD_SANITIZE)
    math(EXPR test_TIMEOUT "5 * ${test_TIMEOUT}")
  endif()
  add_executable(${name} ${test_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE
    ${test_LIBRARIES} railyard_internal railyard_build_flags GTest::gtest GTest::gtest_main)
  if(TARGET railyard_cuda_part AND test_LABELS MATCHES "gpu")
    railyard_carry(${name})
  endif()
  gtest_discover_tests(${name}
    TEST_PREFIX ${name}.
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${test_LABELS}" TIMEOUT ${test_TIMEOUT})
endfunction()

# railyard_test_again(<name> <test> <label> <backend> <filter of GoogleTest> <seconds> [<variable>=<value>...]): the same
# executable once more, as one ctest test. A filter that fits nothing fails.
function(railyard_test_again name test label backend filter timeout)
  add_test(NAME ${name} COMMAND ${test} --gtest_filter=${filter})
  set_tests_properties(${name} PROPERTIES
    LABELS ${label} TIMEOUT ${timeout} ENVIRONMENT "RAILYARD_TEST_BACKEND=${backend};${ARGN}"
    FAIL_REGULAR_EXPRESSION "Running 0 tests")
endfunction()

# railyard_test_on_gpus(<test> <threads|processes> <filter of GoogleTest> <seconds> [<variable>=<value>...]): with ranks
# on GPUs.
function(railyard_test_on_gpus name launch filter timeout)
  railyard_test_again(cuda-${launch}.${name} ${name} gpu1 cuda-${launch} "${filter}" ${timeout} ${ARGN})
  railyard_carry(${name})
endfunction()

# railyard_test_with_processes(<test> <filter of GoogleTest> <seconds> [<variable>=<value>...]): with ranks as processes
# of this machine.
function(railyard_test_with_processes name filter timeout)
  railyard_test_again(processes.${name} ${name} host host-processes "${filter}" ${timeout} ${ARGN})
endfunction()
