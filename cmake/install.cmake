# Headers, find_package(qnt) and qnt.pc. All of it is relocatable and the same for every architecture.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/qnt)
set(pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/qnt DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

install(TARGETS qnt EXPORT qntTargets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT qntTargets NAMESPACE qnt:: DESTINATION ${package_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/qntConfig.cmake.in ${PROJECT_BINARY_DIR}/qntConfig.cmake
    INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/qntConfigVersion.cmake
    COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)  # SameMajorVersion from 1.0 on
install(FILES ${PROJECT_BINARY_DIR}/qntConfig.cmake ${PROJECT_BINARY_DIR}/qntConfigVersion.cmake DESTINATION ${package_dir})

file(RELATIVE_PATH pkgconfig_to_prefix /prefix/${pkgconfig_dir} /prefix)
configure_file(${PROJECT_SOURCE_DIR}/cmake/qnt.pc.in ${PROJECT_BINARY_DIR}/qnt.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/qnt.pc DESTINATION ${pkgconfig_dir})
