# SPDX-License-Identifier: Apache-2.0
# cmake -DMOST_MIB=<number> "-DFILES=<file>;..." -P check_size.cmake
# Says how large the files are together; fails if that is more.
set(bytes 0)
foreach(file IN LISTS FILES)
  file(REAL_PATH ${file} file)
  file(SIZE ${file} size)
  math(EXPR bytes "${bytes} + ${size}")
endforeach()
list(LENGTH FILES count)
math(EXPR mib "(${bytes} + 1048575) / 1048576")
set(text "The ${count} programs that are carried to machines with GPUs have ${mib} MiB; at most ${MOST_MIB} are allowed")
if(mib GREATER MOST_MIB)
  message(FATAL_ERROR "${text}")
endif()
message(STATUS "${text}")
