# SPDX-License-Identifier: Apache-2.0
# Third-party libraries, all optional to a user of the installed library: the core takes only headers from them.
find_package(Threads REQUIRED)

# fmt and spdlog header-only, so that librailyard needs nothing at run time. Their own CMake targets would link
# the shared libfmt.
find_path(RAILYARD_SPDLOG_INCLUDE spdlog/spdlog.h REQUIRED)
find_path(RAILYARD_FMT_INCLUDE fmt/format.h REQUIRED)
mark_as_advanced(RAILYARD_SPDLOG_INCLUDE RAILYARD_FMT_INCLUDE)

add_library(railyard_fmt INTERFACE)
target_include_directories(railyard_fmt SYSTEM INTERFACE ${RAILYARD_FMT_INCLUDE})
target_compile_definitions(railyard_fmt INTERFACE FMT_HEADER_ONLY=1)

add_library(railyard_spdlog INTERFACE)
target_include_directories(railyard_spdlog SYSTEM INTERFACE ${RAILYARD_SPDLOG_INCLUDE})
target_compile_definitions(railyard_spdlog INTERFACE SPDLOG_FMT_EXTERNAL=1)
target_link_libraries(railyard_spdlog INTERFACE railyard_fmt)

if(RAILYARD_BUILD_CLI)
  find_package(CLI11 REQUIRED)
  find_package(nlohmann_json REQUIRED)
endif()
# The peer `mpi`: a program of its own, so that nothing else depends on MPI.
set(MPI_CXX_SKIP_MPICXX ON)
if(RAILYARD_BUILD_CLI AND RAILYARD_MPI STREQUAL "AUTO" AND NOT RAILYARD_SANITIZE)
  find_package(MPI QUIET COMPONENTS CXX)
elseif(RAILYARD_BUILD_CLI AND RAILYARD_MPI AND NOT RAILYARD_MPI STREQUAL "AUTO")
  find_package(MPI REQUIRED COMPONENTS CXX)
endif()
if(RAILYARD_BUILD_TESTS)
  find_package(GTest REQUIRED)
  find_package(rapidcheck REQUIRED)
  find_package(nlohmann_json REQUIRED)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  find_program(RAILYARD_PKG_CONFIG pkg-config REQUIRED)
  mark_as_advanced(RAILYARD_PKG_CONFIG)
endif()
if(RAILYARD_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()
