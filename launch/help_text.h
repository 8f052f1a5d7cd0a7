// What `--help` prints, at most 80 columns wide.
#pragma once

#include <string>

namespace limn {

std::string program_help();  // limn --help
std::string run_help();      // limn run --help: with every key of the job file
std::string show_help();     // limn show --help
std::string status_help();   // limn status --help
std::string bench_help();    // limn bench --help
std::string plan_help();     // limn plan --help
std::string merge_help();    // limn merge --help

}  // namespace limn
