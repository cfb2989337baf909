# What `make install` copies. Nothing in it knows the prefix: the binary finds ../share/stepless from where it stands.
include(GNUInstallDirs)
if(TARGET stepless_cli)
  install(TARGETS stepless_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  if(NOT CMAKE_CROSSCOMPILING OR CMAKE_CROSSCOMPILING_EMULATOR)
    include(cmake/pages.cmake)
  endif()
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/stepless/models)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/stepless DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md
        DESTINATION ${CMAKE_INSTALL_DOCDIR})
