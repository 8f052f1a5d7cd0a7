"""Writes the two datasets that docs/performance.md compares under "Alternative targets".

    python3 tests/bench/alternative_targets.py xquad.en.json FOLDER

FOLDER/together.jsonl has one record for a question, with the answers to the first four questions on its paragraph as
`targets`; FOLDER/apart.jsonl has a record for each of them. The questions are the first of the first three articles.
"""

import json
import pathlib
import sys

from prompts import write_records


def make_records(article):
    paragraph = article["paragraphs"][0]
    context, questions = paragraph["context"], paragraph["qas"][:4]
    prompt = f"Context: {context}\nQuestion: {questions[0]['question']}\nAnswer:"
    begin = len("Context: ")
    record = {"prompt": prompt, "context": [begin, begin + len(context)]}
    # Each answer once, in order.
    targets = list(dict.fromkeys(" " + question["answers"][0]["text"] for question in questions))
    return {**record, "targets": targets}, [{**record, "target": target} for target in targets]


source, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
articles = json.loads(source.read_text(encoding="utf-8"))["data"][:3]
records = [make_records(article) for article in articles]
write_records(folder / "together.jsonl", [together for together, _ in records])
write_records(folder / "apart.jsonl", [one for _, apart in records for one in apart])
