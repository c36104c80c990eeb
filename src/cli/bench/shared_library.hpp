// SPDX-License-Identifier: Apache-2.0
// A library of others that is found when it is asked for.
#pragma once

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <dlfcn.h>

#include <initializer_list>
#include <string>
#include <utility>

namespace railyard::cli::bench {

/// Stays loaded: its own threads may outlive what was made with it.
class SharedLibrary {
 public:
  /// The first of `files` that is there, for `option` of the command line. Throws Error{unsupported}, naming both.
  SharedLibrary(std::string option, std::initializer_list<const char*> files) : option_(std::move(option)) {
    for (const char* file : files) {
      handle_ = dlopen(file, RTLD_NOW | RTLD_LOCAL);
      file_ = file;
      if (handle_ != nullptr) {
        return;
      }
    }
    throw Error(ErrorCode::unsupported,
                diagnostics::format("{}: {} cannot be loaded ({}); install it, or put its folder into LD_LIBRARY_PATH",
                                    option_, file_, dlerror()));
  }

  template <typename Function>
  void find(Function& function, const char* name) const {
    function = reinterpret_cast<Function>(dlsym(handle_, name));
    if (function == nullptr) {
      throw Error(ErrorCode::unsupported, diagnostics::format("{}: {} has no {}", option_, file_, name));
    }
  }

 private:
  std::string option_;
  std::string file_;
  void* handle_ = nullptr;
};

}  // namespace railyard::cli::bench
