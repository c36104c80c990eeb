# SPDX-License-Identifier: Apache-2.0
# Generates <railyard/version.hpp> now, and at every build "railyard_commit.hpp", which changes only with the commit.
set(RAILYARD_GENERATED_INCLUDE ${PROJECT_BINARY_DIR}/generated/include)
set(RAILYARD_GENERATED_PRIVATE ${PROJECT_BINARY_DIR}/generated/private)
configure_file(${PROJECT_SOURCE_DIR}/cmake/version.hpp.in ${RAILYARD_GENERATED_INCLUDE}/railyard/version.hpp @ONLY)

add_custom_target(railyard_commit
  COMMAND ${CMAKE_COMMAND}
    -DSOURCE_DIR=${PROJECT_SOURCE_DIR}
    -DOUTPUT=${RAILYARD_GENERATED_PRIVATE}/railyard_commit.hpp
    -P ${PROJECT_SOURCE_DIR}/cmake/write_commit.cmake
  BYPRODUCTS ${RAILYARD_GENERATED_PRIVATE}/railyard_commit.hpp
  COMMENT "Reading the commit"
  VERBATIM)
