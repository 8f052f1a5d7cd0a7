"""Prompts of a file in SQuAD v1.1's JSON, as records of limn's dataset."""

import json


def spread(values, count):
    """So many of the values, evenly; all if there are no more."""
    count = min(count, len(values))
    return [values[i * len(values) // count] for i in range(count)]


def read_paragraphs(path):
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [paragraph for article in articles for paragraph in article["paragraphs"]]


def read_questions(path, num_prompts):
    """(context, question, answer) of so many questions, spread evenly over the file."""
    questions = [(paragraph["context"], question["question"], question["answers"][0]["text"])
                 for paragraph in read_paragraphs(path) for question in paragraph["qas"]]
    return spread(questions, num_prompts)


def make_record(context, question, answer):
    prompt = f"Context: {context}\nQuestion: {question}\nAnswer:"
    # One short unit at the end, for a run that is after base values alone: it costs next to nothing.
    return {"prompt": prompt, "target": " " + answer, "units": [[len(prompt) - len("Answer:"), len(prompt)]]}


def write_records(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
