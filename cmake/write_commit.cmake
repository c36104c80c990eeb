# SPDX-License-Identifier: Apache-2.0
# cmake -DSOURCE_DIR=<tree> -DOUTPUT=<header> -P write_commit.cmake
# Writes RAILYARD_COMMIT: twelve digits, "-modified" when tracked files differ from it, or "unknown" without git.
set(commit "unknown")
find_program(git_program git)
if(git_program AND EXISTS ${SOURCE_DIR}/.git)
  execute_process(COMMAND ${git_program} -C ${SOURCE_DIR} rev-parse --short=12 HEAD
    OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
  if(NOT failed)
    set(commit ${head})
    execute_process(COMMAND ${git_program} -C ${SOURCE_DIR} diff --quiet HEAD --
      RESULT_VARIABLE modified ERROR_QUIET OUTPUT_QUIET)
    if(modified)
      string(APPEND commit "-modified")
    endif()
  endif()
endif()
set(text "// Written at build time by cmake/write_commit.cmake.\n#pragma once\n#define RAILYARD_COMMIT \"${commit}\"\n")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} present)
endif()
if(NOT "${present}" STREQUAL "${text}")
  file(WRITE ${OUTPUT} "${text}")
endif()
