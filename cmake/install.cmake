# SPDX-License-Identifier: Apache-2.0
# Installed: headers, the library, the program, find_package(railyard CONFIG) and railyard.pc.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/railyard ${RAILYARD_GENERATED_INCLUDE}/railyard
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development FILES_MATCHING PATTERN "*.hpp")
install(TARGETS railyard EXPORT railyard-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET railyard_cli)
  install(TARGETS railyard_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
endif()

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/railyard)
install(EXPORT railyard-targets NAMESPACE railyard:: DESTINATION ${config_dir} COMPONENT development)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/railyard-config.cmake.in
  ${PROJECT_BINARY_DIR}/railyard-config.cmake INSTALL_DESTINATION ${config_dir})
# Before 1.0 a minor version may break its users, so only the same minor version matches.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/railyard-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/railyard-config.cmake ${PROJECT_BINARY_DIR}/railyard-config-version.cmake
  DESTINATION ${config_dir} COMPONENT development)

# The prefix is found from where the file lies, so that `cmake --install --prefix` and moving the tree keep it right; an
# absolute library directory goes with no prefix.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(RAILYARD_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
else()
  file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(RAILYARD_PC_PREFIX "\${pcfiledir}/${up}")
endif()
foreach(kind IN ITEMS LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${kind}}")
    set(RAILYARD_PC_${kind} "${CMAKE_INSTALL_${kind}}")
  else()
    set(RAILYARD_PC_${kind} "\${prefix}/${CMAKE_INSTALL_${kind}}")
  endif()
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/cmake/railyard.pc.in ${PROJECT_BINARY_DIR}/railyard.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/railyard.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
