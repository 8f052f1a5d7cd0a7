# Copies programs and what they load into a bundle; included by the install rules of launch/bundle.cmake, which says what lies
# where.
#
# Every file gets run paths relative to itself. They are DT_RPATHs, which come before LD_LIBRARY_PATH, so that a library
# of the same name that some module of a cluster put there is not taken; only PyTorch's and Open MPI's are looked for there.

set(bundle "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")

# The C library belongs to the machine. So do the C++ libraries, which PyTorch's wheel takes from there, too: an older copy
# beside them would take their place. The others come with the wheel.
set(libraries_elsewhere
  "^ld-linux" "^lib(c|m|dl|rt|pthread|util|resolv)\\.so" "^lib(stdc\\+\\+|gcc_s)\\.so"
  "^lib(torch|c10|gomp|cudart|nvrtc|nccl)[-_.]" "^libtorch_")

# What limn has no use for: networks whose libraries are the cluster's, OpenSHMEM, files through MPI, other launchers.
set(components_left_out
  "_(ucx|ofi|psm|psm2|openib|netlink|monitoring|flux|jsm|romio[0-9]*)\\.so$"
  "mca_(atomic|memheap|scoll|spml|sshmem|fbtl|fcoll|fs|io|sharedfp)_")

function(bundle_run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()

# Copies a program or library without its symbols; `run_paths` are relative to it.
function(bundle_file file destination run_paths)
  find_program(LIMN_PATCHELF patchelf)
  if(NOT LIMN_PATCHELF)
    message(FATAL_ERROR "patchelf is missing; run launch/setup.sh --with-tests, or install it")
  endif()
  get_filename_component(folder "${destination}" DIRECTORY)
  file(MAKE_DIRECTORY "${folder}")
  file(REMOVE "${destination}")
  file(COPY_FILE "${file}" "${destination}")
  file(CHMOD "${destination}" PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  bundle_run("${LIMN_STRIP}" --strip-unneeded "${destination}")
  list(TRANSFORM run_paths PREPEND "\$ORIGIN/")
  list(JOIN run_paths ":" run_paths)
  bundle_run("${LIMN_PATCHELF}" --force-rpath --set-rpath "${run_paths}" "${destination}")
endfunction()

# The whole of ICU's data are 30 MB, most of it locales. limn uses the root's text breaks and normal forms.
function(bundle_icu_data file destination)
  find_program(LIMN_ICUPKG icupkg PATHS /usr/sbin)
  get_filename_component(name "${file}" NAME)
  string(REGEX MATCH "[0-9]+$" version "${name}")
  set(work "${destination}.work")
  file(REMOVE_RECURSE "${work}")
  file(MAKE_DIRECTORY "${work}/items" "${work}/kept")
  # The library is one constant, icudt72_dat in version 72, and nothing else.
  bundle_run("${LIMN_OBJCOPY}" -O binary --only-section=.rodata "${file}" "${work}/icudt${version}l.dat")
  execute_process(COMMAND "${LIMN_ICUPKG}" -l "${work}/icudt${version}l.dat"
    OUTPUT_VARIABLE items COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "(brkitr/[^\n]*|[^\n/]*\\.nrm)\n" items "${items}")
  list(JOIN items "" items)
  file(WRITE "${work}/items.txt" "${items}")
  bundle_run("${LIMN_ICUPKG}" -d "${work}/items" -x "${work}/items.txt" "${work}/icudt${version}l.dat")
  # The names of the items begin with the name of the file.
  bundle_run("${LIMN_ICUPKG}" -s "${work}/items" -a "${work}/items.txt" new "${work}/kept/icudt${version}l.dat")
  file(WRITE "${work}/data.s" "
    .globl icudt${version}_dat
    .type icudt${version}_dat, @object
    .section .rodata
    .balign 16
    icudt${version}_dat: .incbin \"${work}/kept/icudt${version}l.dat\"
    .size icudt${version}_dat, . - icudt${version}_dat
    .section .note.GNU-stack, \"\", @progbits\n")
  bundle_run("${LIMN_C_COMPILER}" -shared -nostdlib "-Wl,-soname,${name}" -o "${destination}" "${work}/data.s")
  file(REMOVE_RECURSE "${work}")
endfunction()

# What PMIx, which has a folder of its own, loads at run time.
function(bundle_pmix_components libpmix)
  file(REAL_PATH "${libpmix}" libpmix)
  get_filename_component(folder "${libpmix}" DIRECTORY)
  file(GLOB components "${folder}/pmix/*.so")
  foreach(component IN LISTS components)
    get_filename_component(name "${component}" NAME)
    bundle_file("${component}" "${bundle}/lib/openmpi/pmix/${name}" "..;../..")
  endforeach()
  file(GLOB texts "${folder}/../share/pmix/help-*.txt")
  if(texts)
    file(COPY ${texts} DESTINATION "${bundle}/share/pmix")
  endif()
endfunction()

# What `files` load, but for what is elsewhere and what `further_left_out` matches, into `folder` of the bundle.
function(bundle_libraries kind files folder run_paths further_left_out)
  file(GET_RUNTIME_DEPENDENCIES ${kind} ${files}
    RESOLVED_DEPENDENCIES_VAR libraries
    UNRESOLVED_DEPENDENCIES_VAR missing
    PRE_EXCLUDE_REGEXES ${libraries_elsewhere} ${further_left_out})
  if(missing)
    message(FATAL_ERROR "these libraries were not found: ${missing}")
  endif()
  foreach(library IN LISTS libraries)
    get_filename_component(name "${library}" NAME)
    set(destination "${bundle}/${folder}/${name}")
    if(NOT folder STREQUAL "lib" AND EXISTS "${bundle}/lib/${name}")
      continue()
    endif()
    if(name MATCHES "^libicudata\\.so\\.")
      bundle_icu_data("${library}" "${destination}")
    else()
      bundle_file("${library}" "${destination}" "${run_paths}")
    endif()
    if(name MATCHES "^libpmix\\.so\\.")
      bundle_pmix_components("${library}")
    endif()
  endforeach()
endfunction()

# Makes bin/NAME, which starts the program NAME of libexec/limn.
function(bundle_start name)
  file(MAKE_DIRECTORY "${bundle}/bin")
  file(REMOVE "${bundle}/bin/${name}")
  file(COPY_FILE "${LIMN_BUNDLE_START}" "${bundle}/bin/${name}")
endfunction()

function(bundle_program file)
  get_filename_component(name "${file}" NAME)
  message(STATUS "Bundling: ${name}")
  bundle_file("${file}" "${bundle}/libexec/limn/${name}" "../../lib")
  # Open MPI's libraries are apart.
  bundle_libraries(EXECUTABLES "${file}" lib "." "^libmpi\\.so")
  bundle_start(${name})
endfunction()

# Copies a library that programs of the bundle load at run time.
function(bundle_module file)
  get_filename_component(name "${file}" NAME)
  bundle_file("${file}" "${bundle}/lib/${name}" ".")
  bundle_libraries(MODULES "${file}" lib "." "")
endfunction()

# Copies Open MPI: its libraries that `program` loads, mpirun and its daemon, the components that limn has a use for, the
# texts of its messages.
function(bundle_open_mpi program)
  message(STATUS "Bundling: Open MPI")
  find_program(LIMN_OMPI_INFO ompi_info REQUIRED)
  foreach(folder bindir pkglibdir pkgdatadir)
    execute_process(COMMAND "${LIMN_OMPI_INFO}" --parsable --path ${folder}
      OUTPUT_VARIABLE ${folder} OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX REPLACE "^path:[a-z]*:" "" ${folder} "${${folder}}")
  endforeach()

  bundle_file("${bindir}/orterun" "${bundle}/libexec/limn/mpirun" "../../lib/openmpi;../../lib")
  bundle_file("${bindir}/orted" "${bundle}/libexec/limn/orted" "../../lib/openmpi;../../lib")
  bundle_start(mpirun)
  bundle_start(orted)
  bundle_libraries(EXECUTABLES "${program};${bindir}/orterun;${bindir}/orted" lib/openmpi ".;.." "")

  file(GLOB components "${pkglibdir}/mca_*.so")
  foreach(left_out IN LISTS components_left_out)
    list(FILTER components EXCLUDE REGEX "${left_out}")
  endforeach()
  foreach(component IN LISTS components)
    get_filename_component(name "${component}" NAME)
    bundle_file("${component}" "${bundle}/lib/openmpi/components/${name}" "..;../..")
  endforeach()
  bundle_libraries(MODULES "${components}" lib/openmpi ".;.." "")

  file(GLOB texts "${pkgdatadir}/help-*.txt")
  file(COPY ${texts} DESTINATION "${bundle}/share/openmpi")
  file(COPY "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/openmpi-mca-params.conf" DESTINATION "${bundle}/etc")
endfunction()
