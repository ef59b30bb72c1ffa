"""Holds a value against a schema of /openapi.json: what of JSON Schema is used there. An object has what `properties` lists and
nothing else."""
import re

TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, "null": type(None)}


def problems(document, schema, value, at="$"):
    """What is wrong with the value: a list of texts, empty where nothing is."""
    if "$ref" in schema:
        target = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return problems(document, target, value, at)
    found = []
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or isinstance(value, bool) and kind != "boolean"):
        return [f"{at}: {str(value)[:60]!r} is no {kind}"]
    if "anyOf" in schema:
        tried = [problems(document, part, value, at) for part in schema["anyOf"]]
        if all(tried):
            found += [f"{at}: none of {len(tried)} fits: " + "; ".join(t[0] for t in tried)]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} is not one of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: {value!r} does not fit {schema['pattern']}")
    for index, item in enumerate(value if "items" in schema else []):
        found += problems(document, schema["items"], item, f"{at}[{index}]")
    if kind == "object" and ("properties" in schema or "additionalProperties" in schema):
        found += [f"{at}: {name} is missing" for name in schema.get("required", []) if name not in value]
        for name, member in value.items():
            known = schema.get("properties", {}).get(name) or schema.get("additionalProperties") or None
            found += [f"{at}: {name} is not described"] if known is None else problems(document, known, member, f"{at}.{name}")
    return found


def answer_schema(document, method, path, status, content_type):
    """The schema of an answer; KeyError where the document has none."""
    responses = document["paths"][path][method.lower()]["responses"]
    answer = responses.get(str(status), responses["default"])
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
    kinds = {name.split(";")[0]: kind for name, kind in answer["content"].items()}
    return kinds[content_type.split(";")[0]]["schema"]
