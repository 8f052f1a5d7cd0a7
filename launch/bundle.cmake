# What `cmake --install BUILD --prefix FOLDER` makes: a bundle, one folder that runs limn on machines that have neither its
# libraries nor the folders of the one that built it (docs/bundle.md).
#
#   bin/                 launch/bundle_start.sh under the name of each program: limn, mpirun, orted
#   libexec/limn/        the programs
#   lib/                 their libraries, but for the C and C++ libraries and PyTorch's
#   lib/openmpi/         Open MPI's libraries; apart, so that a cluster's own can take their place
#   lib/openmpi/components/, lib/openmpi/pmix/  what Open MPI and PMIx load at run time
#   share/, etc/         their messages and settings

configure_file(${CMAKE_CURRENT_LIST_DIR}/bundle_start.sh.in ${PROJECT_BINARY_DIR}/bundle_start.sh
  @ONLY FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

# limn_bundle_programs(TARGET ... [COMPONENT name])
# Installs programs into the bundle; those of a component only on `cmake --install BUILD --component name`.
function(limn_bundle_programs)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "COMPONENT" "")
  set(component "")
  if(arg_COMPONENT)
    set(component COMPONENT ${arg_COMPONENT} EXCLUDE_FROM_ALL)
  endif()
  foreach(target IN LISTS arg_UNPARSED_ARGUMENTS)
    install(CODE "
      set(LIMN_BUNDLE_START \"${PROJECT_BINARY_DIR}/bundle_start.sh\")
      set(LIMN_C_COMPILER \"${CMAKE_C_COMPILER}\")
      set(LIMN_OBJCOPY \"${CMAKE_OBJCOPY}\")
      set(LIMN_STRIP \"${CMAKE_STRIP}\")
      include(\"${PROJECT_SOURCE_DIR}/launch/bundle_files.cmake\")
      bundle_program(\"$<TARGET_FILE:${target}>\")" ${component})
  endforeach()
endfunction()

limn_bundle_programs(limn)
install(CODE "bundle_module(\"$<TARGET_FILE:limn_sentence_piece>\")")
install(CODE "bundle_open_mpi(\"$<TARGET_FILE:limn>\")")
