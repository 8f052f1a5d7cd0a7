// Prepares the samples of a job for tests/python/compare_squad_prompts.py: prepare_samples JOB.toml
//
// Writes a line for each sample as limn run would explain it: {"id", "text", "ids",
// "prompt_length", "evidence": [[begin, end], ...]}, or {"id", "message"} of a skipped one.
#include <exception>
#include <iostream>
#include <optional>

#include <nlohmann/json.hpp>

#include "coordinator/sample_stream.h"
#include "launch/job_file.h"
#include "worker/model_family.h"

namespace {

nlohmann::json json_of(const limn::Sample& sample) {
  const limn::SampleRecord& record = sample.record;
  if (record.status == limn::SampleStatus::Skipped) {
    return {{"id", record.id}, {"message", record.message}};
  }
  nlohmann::json ids = nlohmann::json::array();
  for (const limn::TokenRecord& token : record.tokens)
    ids.push_back(token.id);
  nlohmann::json evidence = nlohmann::json::array();
  for (const limn::EvidenceRecord& piece : record.evidence)
    evidence.push_back({piece.chars.begin, piece.chars.end});
  return {
      {"id", record.id},
      {"text", record.text},
      {"ids", ids},
      {"prompt_length", sample.prompt_length},
      {"evidence", evidence}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: prepare_samples JOB.toml\n";
    return 64;
  }
  try {
    const limn::Job job = limn::read_job(argv[1], {});
    const auto tokenizer = limn::Tokenizer::load(job.model.path);
    const limn::ModelConfig model = limn::load_model_config(job.model.path);
    const auto chat_template = limn::ChatTemplate::load(job.model.path);
    const limn::SamplePreparer preparer(
        &tokenizer,
        job.explain,
        {.vocab_size = model.decoder.vocab_size, .max_positions = model.decoder.max_positions},
        chat_template.get());
    limn::SampleStream samples(job, preparer, limn::target_source(job), 2);
    for (auto of_record = samples.next(); !of_record.empty(); of_record = samples.next()) {
      for (const limn::Sample& sample : of_record)
        std::cout << json_of(sample).dump() << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << "prepare_samples: " << error.what() << '\n';
    return 65;
  }
  return 0;
}
