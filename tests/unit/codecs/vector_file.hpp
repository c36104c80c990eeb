// SPDX-License-Identifier: Apache-2.0
// Reads the arrays of tests/vectors.
#pragma once

#include <cstddef>
#include <fstream>
#include <ios>
#include <stdexcept>
#include <string>
#include <vector>

namespace railyard::codecs {

/// The whole file as an array of T; throws when it is missing, empty or not a whole number of T.
template <class T>
std::vector<T> read_vector_file(const std::string& name) {
  const std::string path = std::string(RAILYARD_VECTORS_DIR) + "/" + name;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) {
    throw std::runtime_error("cannot open " + path);
  }
  const auto bytes = static_cast<std::size_t>(file.tellg());
  if (bytes == 0 || bytes % sizeof(T) != 0) {
    throw std::runtime_error(path + " has " + std::to_string(bytes) + " bytes");
  }
  std::vector<T> values(bytes / sizeof(T));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(bytes));
  if (!file) {
    throw std::runtime_error("cannot read " + path);
  }
  return values;
}

}  // namespace railyard::codecs
