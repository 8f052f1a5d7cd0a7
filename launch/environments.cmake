# The Python environments that launch/setup.sh makes, outside the tree.

set(LIMN_ENVIRONMENTS "$ENV{XDG_DATA_HOME}")
if(NOT LIMN_ENVIRONMENTS)
  set(LIMN_ENVIRONMENTS "$ENV{HOME}/.local/share")
endif()
string(APPEND LIMN_ENVIRONMENTS "/limn")

# What the Python tests and the checks of the code use: bin/python, bin/clang-tidy. It is there after
# launch/setup.sh --with-tests.
file(SHA256 "${CMAKE_CURRENT_LIST_DIR}/../tests/python/requirements.txt" requirements_hash)
string(SUBSTRING ${requirements_hash} 0 12 requirements_hash)
set(LIMN_TEST_ENVIRONMENT "${LIMN_ENVIRONMENTS}/test-${requirements_hash}")
