"""Parses the metrics of a finished run with Prometheus's own parser, and its events with Python's.

    parse_metrics.py RUN_DIR SAMPLES
"""

import datetime
import json
import pathlib
import sys

from prometheus_client.parser import text_string_to_metric_families

run = pathlib.Path(sys.argv[1])
num_samples = int(sys.argv[2])

families = {
    family.name: family
    for family in text_string_to_metric_families((run / "metrics.prom").read_text())
}
values = {}
for family in families.values():
    assert family.documentation, f"{family.name}: no HELP"
    assert family.type in ("counter", "gauge"), f"{family.name}: {family.type}"
    (sample,) = family.samples
    assert sample.labels["run"] == str(run.resolve()), sample.labels
    assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
    values[sample.name] = sample.value

assert values["limn_samples"] == num_samples, values
assert values["limn_samples_done_total"] == num_samples, values
assert values["limn_samples_failed_total"] == 0, values
assert values["limn_batches_done_total"] == values["limn_batches"] > 0, values
assert values["limn_rows_done_total"] == values["limn_rows"] > 0, values
assert values["limn_parts_sealed_total"] >= 1, values
assert values["limn_up"] == 0 and values["limn_complete"] == 1, values
assert (
    values["limn_start_timestamp_seconds"]
    <= values["limn_last_seal_timestamp_seconds"]
    <= values["limn_update_timestamp_seconds"]
), values

events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
times = [datetime.datetime.fromisoformat(event["time"]) for event in events]
assert times == sorted(times) and all(time.utcoffset() is not None for time in times), times
assert [event["event"] for event in events] == ["start", "surveyed", "loaded", "sealed", "done"]
print(f"{len(families)} metrics and {len(events)} events: fine")
