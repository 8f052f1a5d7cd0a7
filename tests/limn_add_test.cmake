# GoogleTest's macros compile in two thirds of the time, and tests wait for what they test, which is optimised in full.
set(LIMN_TEST_OPTIMISATION $<$<CONFIG:Release>:-O1>)

# limn_add_test(NAME [LINKS target ...] [SOURCES a.cpp ...] [ATEN] [RANKS n ...] [GPU] [TIMEOUT seconds])
#
# Builds NAME.cpp (and further sources) into a test program. Without RANKS it is one ctest test, NAME. With RANKS it becomes one
# for each number of ranks, NAME.np2 and so on, run by mpirun under the label `mpi`. ATEN, for tests that
# include it, brings compiling from 20 s to 5 s with a precompiled header. GPU, with RANKS: under the label `gpu`, one such test at a
# time; where there are no GPUs it skips itself and ctest says so. All other tests see no GPU, so that they test the same everywhere.

function(limn_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "ATEN;GPU" "TIMEOUT" "LINKS;RANKS;SOURCES")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  if(arg_GPU AND NOT arg_RANKS)
    message(FATAL_ERROR "GPU wants RANKS, whose main tells ctest of skipped tests: ${name}")
  endif()
  set(no_gpu "CUDA_VISIBLE_DEVICES=-1")
  add_executable(${name} ${name}.cpp ${arg_SOURCES})
  target_compile_options(${name} PRIVATE ${LIMN_TEST_OPTIMISATION})
  target_compile_definitions(${name} PRIVATE
    LIMN_TEST_DATA="${CMAKE_CURRENT_SOURCE_DIR}/data"
    LIMN_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    LIMN_SHARED_DIR="${PROJECT_SOURCE_DIR}/../shared")
  # The C++ library once before limn's: otherwise GoogleTest takes what it uses of std::string from objects of limn that instantiate
  # the same, and tests become 3 MB larger by HDF5.
  target_link_libraries(${name} PRIVATE limn_warnings ${arg_LINKS} GTest::gmock GTest::gtest stdc++)
  if(arg_ATEN)
    target_precompile_headers(${name} REUSE_FROM limn_aten_test)
  endif()
  if(NOT arg_RANKS)
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} ENVIRONMENT "${no_gpu}")
    return()
  endif()
  target_sources(${name} PRIVATE mpi_main.cpp)
  set(environment OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1)
  set(labels mpi)
  if(arg_GPU)
    list(APPEND labels gpu)
  else()
    list(APPEND environment ${no_gpu})
  endif()
  foreach(ranks IN LISTS arg_RANKS)
    add_test(NAME ${name}.np${ranks}
      COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none -n ${ranks} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}.np${ranks} PROPERTIES
      LABELS "${labels}" PROCESSORS ${ranks} TIMEOUT ${arg_TIMEOUT} ENVIRONMENT "${environment}"
      SKIP_RETURN_CODE 77)
    if(arg_GPU)
      set_tests_properties(${name}.np${ranks} PROPERTIES RESOURCE_LOCK gpu)
    endif()
  endforeach()
endfunction()
