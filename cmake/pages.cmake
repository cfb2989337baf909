# Manual pages and completions: the program that was just built writes them, without the settings of whoever builds.
set(pages ${CMAKE_BINARY_DIR}/pages)
set(run ${CMAKE_COMMAND} -E env --unset=HOME --unset=XDG_CONFIG_HOME ${CMAKE_CROSSCOMPILING_EMULATOR}
    $<TARGET_FILE:stepless_cli>)
add_custom_command(OUTPUT ${pages}/stamp
  COMMAND ${CMAKE_COMMAND} -E make_directory ${pages}/completions
  COMMAND ${run} man --dir ${pages}/man1
  COMMAND ${run} completion bash > ${pages}/completions/bash
  COMMAND ${run} completion zsh > ${pages}/completions/zsh
  COMMAND ${run} completion fish > ${pages}/completions/fish
  COMMAND ${CMAKE_COMMAND} -E touch ${pages}/stamp
  DEPENDS stepless_cli COMMENT "Writing manual pages and completions")
add_custom_target(stepless_pages ALL DEPENDS ${pages}/stamp)
install(DIRECTORY ${pages}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR} FILES_MATCHING PATTERN "*.1")
install(FILES ${pages}/completions/bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME stepless)
install(FILES ${pages}/completions/zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions RENAME _stepless)
install(FILES ${pages}/completions/fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d
        RENAME stepless.fish)
