# SPDX-License-Identifier: Apache-2.0
# The CUDA part: nvcc 12.4 or newer, code for sm_90 with PTX of compute_90 beside it for later GPUs, the static runtime.
# Included before anything is compiled; CUDACXX or CMAKE_CUDA_COMPILER chooses the compiler.
set(CMAKE_CUDA_ARCHITECTURES 90)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
enable_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER_ID STREQUAL "NVIDIA" OR CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
  message(FATAL_ERROR "The CUDA part needs nvcc 12.4 or newer; ${CMAKE_CUDA_COMPILER} is "
    "${CMAKE_CUDA_COMPILER_ID} ${CMAKE_CUDA_COMPILER_VERSION}")
endif()
find_package(CUDAToolkit REQUIRED)
# Ranges for profilers, where the toolkit has the headers (they are a package of their own).
find_path(RAILYARD_NVTX_INCLUDE_DIR nvtx3/nvToolsExt.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
mark_as_advanced(RAILYARD_NVTX_INCLUDE_DIR)
if(RAILYARD_NVTX_INCLUDE_DIR)
  message(STATUS "NVTX: ranges named after operations")
else()
  message(STATUS "NVTX: not found; the build has no ranges for profilers")
endif()

# All that needs nvcc or a GPU: the library, the program, tests with a gpu label, benchmarks of the kernels.
add_custom_target(railyard_cuda_part)

# railyard_carry(<target>): it is carried to machines with GPUs; a program is made as small as it can be.
function(railyard_carry target)
  get_property(carried GLOBAL PROPERTY RAILYARD_CARRIED)
  if(target IN_LIST carried)
    return()
  endif()
  set_property(GLOBAL APPEND PROPERTY RAILYARD_CARRIED ${target})
  add_dependencies(railyard_cuda_part ${target})
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_link_options(${target} PRIVATE $<$<CONFIG:Release>:-s> $<$<CONFIG:Release>:LINKER:--gc-sections>)
  endif()
endfunction()

# Called once they are all known: the build fails if release programs are larger than this together.
function(railyard_bound_carried_programs)
  get_property(carried GLOBAL PROPERTY RAILYARD_CARRIED)
  if(NOT carried OR NOT CMAKE_BUILD_TYPE STREQUAL "Release")
    return()
  endif()
  list(TRANSFORM carried REPLACE "(.+)" "$<TARGET_FILE:\\1>" OUTPUT_VARIABLE files)
  add_custom_target(railyard_carried_size
    COMMAND ${CMAKE_COMMAND} -DMOST_MIB=64 "-DFILES=${files}" -P ${PROJECT_SOURCE_DIR}/cmake/check_size.cmake
    DEPENDS ${carried}
    VERBATIM)
  add_dependencies(railyard_cuda_part railyard_carried_size)
endfunction()

target_compile_options(railyard_build_flags INTERFACE
  # By name, since CMake 3.25.1 (Debian 12) does not know that nvcc 12 and 13 have C++20.
  $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>
  # --fmad=false is the device's -ffp-contract=off.
  $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --expt-relaxed-constexpr>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${RAILYARD_CUDA_LINES}>>:-lineinfo>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-ffp-contract=off,-Wall,-Wextra,-Wshadow>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${RAILYARD_WERROR}>>:-Werror=all-warnings -Xcompiler=-Werror>)
