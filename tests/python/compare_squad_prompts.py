#!/usr/bin/env python3
"""Compares what limn makes of SQuAD's questions with Python's strings and its `tokenizers`.

    compare_squad_prompts.py PROGRAM MODEL FILE

PROGRAM is build/release/tests/prepare_samples, MODEL a Hugging Face folder with tokenizer.json, FILE
SQuAD's JSON. For several templates: the text and its split must be what Python makes of them, the
token ids those of `tokenizers`, and the evidence must cut the answer out of the text. Exits with 1
when a question differs, after showing the first ones.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

TEMPLATES = [
    "{context}\nQuestion: {question}\nAnswer:",
    "Title: {title}\n\n{{Context}}: {context}\n\nQ: {question}\nA: ",
]


def questions(path):
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield article.get("title", ""), paragraph["context"], question


def prepared(program, model, file, template, evidence):
    with tempfile.TemporaryDirectory() as folder:
        job = pathlib.Path(folder) / "job.toml"
        job.write_text(
            f"[model]\npath = {json.dumps(str(model))}\n[data]\npath = {json.dumps(str(file))}\nformat = \"squad\"\n"
            f"template = {json.dumps(template)}\nevidence = \"{evidence}\"\n[output]\npath = \"{folder}/run\"\n",
            encoding="utf-8")
        output = subprocess.run([program, job], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    return [json.loads(line) for line in output.splitlines()]


def differences(tokenizer, template, evidence, title, context, question, sample):
    if question.get("is_impossible") or not question["answers"]:
        if not sample.get("message", "").endswith("the question has no answer"):
            yield "is not skipped"
        return
    answer = question["answers"][0]
    prompt = template.format(title=title, context=context, question=question["question"])
    space = "" if prompt != prompt.rstrip() else " "
    if sample["id"] != question["id"]:
        yield f"id {sample['id']}"
    if sample["text"] != prompt + space + answer["text"]:
        yield f"text {sample['text']!r}"
    if sample["ids"] != tokenizer.encode(prompt + space + answer["text"]).ids:
        yield f"ids {sample['ids']}"
    if sample["prompt_length"] != len(tokenizer.encode(prompt.rstrip()).ids):
        yield f"prompt_length {sample['prompt_length']}"
    cuts = [sample["text"][begin:end] for begin, end in sample["evidence"]]
    if evidence == "answer" and cuts != [answer["text"]]:
        yield f"evidence {cuts}"
    begin = template.format(title=title, context="\0", question=question["question"]).index("\0") + answer["answer_start"]
    if evidence == "sentence" and not (sample["evidence"][0][0] <= begin
                                       and begin + len(answer["text"]) <= sample["evidence"][-1][1]):
        yield f"evidence {cuts} around {answer['text']!r}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("file", type=pathlib.Path)
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    asked = list(questions(arguments.file))
    num_wrong = 0
    for template in TEMPLATES:
        for evidence in ["answer", "sentence"]:
            samples = prepared(arguments.program, arguments.model, arguments.file, template, evidence)
            if len(samples) != len(asked):
                print(f"{len(samples)} samples of {len(asked)} questions")
                num_wrong += 1
            for (title, context, question), sample in zip(asked, samples):
                for difference in differences(tokenizer, template, evidence, title, context, question, sample):
                    num_wrong += 1
                    if num_wrong <= 10:
                        print(f"{question['id']}: {difference}")
            print(f"{len(samples)} prompts of {template!r} with evidence {evidence}, wrong so far: {num_wrong}")
    sys.exit(1 if num_wrong else 0)


if __name__ == "__main__":
    main()
