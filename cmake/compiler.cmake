# SPDX-License-Identifier: Apache-2.0
# `railyard_build_flags`: the flags of everything in this tree. Installed headers impose only C++20.
include(CheckCXXCompilerFlag)

add_library(railyard_build_flags INTERFACE)
target_compile_features(railyard_build_flags INTERFACE cxx_std_20)

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(cxx_options
  # The numeric contract: a * b + c rounds twice unless std::fma says otherwise.
  -ffp-contract=off
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast
  -Woverloaded-virtual -Wcast-align -Wundef
  $<$<BOOL:${RAILYARD_WERROR}>:-Werror>)
target_compile_options(railyard_build_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${cxx_options}>")
target_compile_definitions(railyard_build_flags INTERFACE
  $<$<BOOL:${RAILYARD_DEBUG_DELAYS}>:RAILYARD_DEBUG_DELAYS=1>)

if(RAILYARD_SANITIZE)
  if(NOT RAILYARD_SANITIZE STREQUAL "address;undefined" AND NOT RAILYARD_SANITIZE STREQUAL "thread")
    message(FATAL_ERROR
      "RAILYARD_SANITIZE is '${RAILYARD_SANITIZE}'; it takes nothing, 'address;undefined' or 'thread'")
  endif()
  list(JOIN RAILYARD_SANITIZE "," sanitizers)
  target_compile_definitions(railyard_build_flags INTERFACE RAILYARD_SANITIZED=1)
  target_compile_options(railyard_build_flags INTERFACE
    -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(railyard_build_flags INTERFACE -fsanitize=${sanitizers})
endif()
