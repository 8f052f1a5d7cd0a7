# Finds PyTorch's wheel and makes the target limn::torch of its own folders.
#
# find_package(Torch) of a CUDA wheel wants a CUDA toolkit; limn needs only the libraries. Looked for, in
# this order: the variable or environment variable LIMN_TORCH (the wheel's folder `torch`), the virtual
# environment that launch/setup.sh makes, then what `python3` imports. The release is checked: ATen
# promises no stable ABI between releases.
#
# `cmake -P launch/torch.cmake` only looks, and fails when nothing fits: so does launch/setup.sh ask.

include(${CMAKE_CURRENT_LIST_DIR}/environments.cmake)

set(LIMN_TORCH_RELEASE 2.11.0)
set(LIMN_TORCH "$ENV{LIMN_TORCH}" CACHE PATH "The folder `torch` of an installed PyTorch ${LIMN_TORCH_RELEASE}")

function(limn_torch_release folder out)
  set(${out} "" PARENT_SCOPE)
  if(EXISTS "${folder}/version.py" AND EXISTS "${folder}/lib/libtorch_cpu.so")
    file(STRINGS "${folder}/version.py" line REGEX "^__version__ = ")
    string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" release "${line}")
    set(${out} "${release}" PARENT_SCOPE)
  endif()
endfunction()

function(limn_find_torch out)
  file(GLOB candidates
    "${LIMN_ENVIRONMENTS}/torch-${LIMN_TORCH_RELEASE}/lib/python3*/site-packages/torch")
  if(LIMN_TORCH)
    set(candidates "${LIMN_TORCH}")
  else()
    find_program(LIMN_PYTHON3 python3)
    if(LIMN_PYTHON3)
      execute_process(
        COMMAND ${LIMN_PYTHON3} -c
          "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
        OUTPUT_VARIABLE installed OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      list(APPEND candidates ${installed})
    endif()
  endif()
  foreach(folder IN LISTS candidates)
    limn_torch_release("${folder}" release)
    if(release STREQUAL LIMN_TORCH_RELEASE)
      set(${out} "${folder}" PARENT_SCOPE)
      return()
    endif()
    list(APPEND rejected "${folder} (${release})")
  endforeach()
  message(FATAL_ERROR
    "PyTorch ${LIMN_TORCH_RELEASE} was not found. Run launch/setup.sh, or name the folder `torch` of an "
    "installed one with LIMN_TORCH. Looked at: ${rejected}")
endfunction()

limn_find_torch(torch_folder)
message(STATUS "Found PyTorch ${LIMN_TORCH_RELEASE}: ${torch_folder}")
if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  return()
endif()

add_library(limn_torch INTERFACE)
add_library(limn::torch ALIAS limn_torch)
# Without OpenMP at::parallel_for, which is a template, would run on one thread.
# Last in the search: the wheel brings its own, newer fmt, which would break the system's spdlog.
target_compile_options(limn_torch INTERFACE
  -fopenmp
  "SHELL:-idirafter ${torch_folder}/include"
  "SHELL:-idirafter ${torch_folder}/include/torch/csrc/api/include")
# The wheel's libraries refer to CUDA's, which the wheel finds by its own run paths; the linker need not.
target_link_options(limn_torch INTERFACE
  LINKER:--allow-shlib-undefined LINKER:-rpath,${torch_folder}/lib)
target_link_libraries(limn_torch INTERFACE
  ${torch_folder}/lib/libtorch_cpu.so ${torch_folder}/lib/libc10.so)
# The wheel's own OpenMP, so that there is one pool of threads.
if(EXISTS ${torch_folder}/lib/libgomp.so.1)
  target_link_libraries(limn_torch INTERFACE ${torch_folder}/lib/libgomp.so.1)
else()
  target_link_options(limn_torch INTERFACE -fopenmp)
endif()
# CUDA's libraries come with the wheel, too, in Python packages beside it: limn uses the runtime, NCCL, and
# NVRTC, which compiles its kernels for the GPU that it finds. None of them needs a GPU to be linked or loaded.
# libtorch_cuda.so, which is large, is loaded where there is one (sharding/gpu.h).
set(LIMN_NVIDIA ${torch_folder}/../nvidia)
set(limn_cuda_libraries
  ${torch_folder}/lib/libc10_cuda.so
  ${LIMN_NVIDIA}/cu13/lib/libcudart.so.13
  ${LIMN_NVIDIA}/cu13/lib/libnvrtc.so.13
  ${LIMN_NVIDIA}/nccl/lib/libnccl.so.2)
foreach(library IN LISTS limn_cuda_libraries)
  if(NOT EXISTS ${library})
    message(FATAL_ERROR
      "PyTorch ${LIMN_TORCH_RELEASE} at ${torch_folder} is not the build with CUDA that PyPI has, or came "
      "without its CUDA packages; run launch/setup.sh. Missing: ${library}")
  endif()
endforeach()
target_compile_options(limn_torch INTERFACE
  "SHELL:-idirafter ${LIMN_NVIDIA}/cu13/include" "SHELL:-idirafter ${LIMN_NVIDIA}/nccl/include")
target_link_options(limn_torch INTERFACE
  LINKER:-rpath,${LIMN_NVIDIA}/cu13/lib LINKER:-rpath,${LIMN_NVIDIA}/nccl/lib)
target_link_libraries(limn_torch INTERFACE ${limn_cuda_libraries})
