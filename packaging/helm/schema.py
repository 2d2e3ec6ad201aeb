#!/usr/bin/env python3
"""Writes roost/values.schema.json: the chart's own values from values.own.schema.json, and `config` from core/config/schema.json, so that
a misspelt key of roost.yaml is refused by Helm already. A test holds the file against both."""
import json
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
KEPT = ("type", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems")


def plain(node, definitions):
    """What Helm understands of our schema: our own keywords (x-…) and defaults stay behind, and unknown keys are refused."""
    if "$ref" in node:
        return plain({**definitions[node["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in node.items() if k != "$ref"}}, definitions)
    made = {key: node[key] for key in KEPT if key in node}
    if "description" in node:
        made["description"] = node["description"]
    if "properties" in node:
        made["properties"] = {key: plain(child, definitions) for key, child in node["properties"].items()}
        made["additionalProperties"] = False
    elif isinstance(node.get("additionalProperties"), dict):
        made["additionalProperties"] = plain(node["additionalProperties"], definitions)
    if "items" in node:
        made["items"] = plain(node["items"], definitions)
    return made


def schema():
    own = json.loads((TOP / "packaging/helm/values.own.schema.json").read_text())
    core = json.loads((TOP / "core/config/schema.json").read_text())
    own["properties"]["config"] = {**plain(core, core["definitions"]), "description": "more of roost.yaml, by its own names"}
    return json.dumps(own, indent=1) + "\n"


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else TOP / "packaging/helm/roost/values.schema.json"
    target.write_text(schema())
