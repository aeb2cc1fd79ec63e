# `cmake --install`: the library, its header, a CMake package with the target uniecg::uniecg, a pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/uniecg)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS uniecg EXPORT uniecgTargets COMPONENT uniecg
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES device/native/include/uniecg.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT uniecg)

install(EXPORT uniecgTargets NAMESPACE uniecg:: DESTINATION ${package_dir} COMPONENT uniecg)
configure_package_config_file(device/native/cmake/uniecgConfig.cmake.in ${PROJECT_BINARY_DIR}/uniecgConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/uniecgConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/uniecgConfig.cmake ${PROJECT_BINARY_DIR}/uniecgConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT uniecg)

# Paths are relative to the .pc file, so that the whole may be installed with any --prefix, or moved.
file(RELATIVE_PATH prefix_from_pc "/${pkgconfig_dir}" "/")
set(cxx_runtime "")
if(NOT BUILD_SHARED_LIBS) # what a C linker does not add by itself
  if("c++" IN_LIST CMAKE_CXX_IMPLICIT_LINK_LIBRARIES)
    set(cxx_runtime " -lc++ -lm")
  else()
    set(cxx_runtime " -lstdc++ -lm")
  endif()
endif()
configure_file(device/native/cmake/uniecg.pc.in ${PROJECT_BINARY_DIR}/uniecg.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/uniecg.pc DESTINATION ${pkgconfig_dir} COMPONENT uniecg)
