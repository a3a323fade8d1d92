"""Random JSON schemas, each held to by the real model: what comes fits its schema, by a validator that we did not write.

COMMONWATT_SCHEMAS says how many (20 if not set).
"""

import json
import os
import random
import unittest

import openai
from jsonschema import Draft202012Validator

import test_openai
from test_openai import chat

COUNT = int(os.environ.get("COMMONWATT_SCHEMAS", "20"))
WORDS = ["sea", "bread", "naïve", "a b", 'quo"te', "", "🙂"]


def setUpModule():
    test_openai.setUpModule()


def of_string(chance, _):
    kind = chance.randrange(4)
    if kind == 0:
        return {"type": "string", "maxLength": chance.randrange(1, 12)}
    if kind == 1:
        return {"enum": chance.sample(WORDS, chance.randrange(1, 4))}
    if kind == 2:
        return {"type": "string", "pattern": chance.choice(["^[a-c]{2,5}$", "^\\d{3}-\\d{2}$", "^(yes|no)$"])}
    return {"type": "string", "format": chance.choice(["date", "uuid", "ipv4"])}


def of_number(chance, _):
    low = chance.randrange(-50, 50)
    if chance.random() < 0.7:
        return {"type": "integer", "minimum": low, "maximum": low + chance.randrange(200)}
    return {"type": "number", "minimum": low, "exclusiveMaximum": low + 1 + chance.randrange(50)}


def of_constant(chance, _):
    return chance.choice(
        [{"type": "boolean"}, {"type": "null"}, {"const": chance.choice([7, "x", None, [1, 2]])}]
    )


def of_array(chance, depth):
    least = chance.randrange(3)
    return {
        "type": "array",
        "items": schema(chance, depth - 1),
        "minItems": least,
        "maxItems": least + chance.randrange(3),
    }


def of_object(chance, depth):
    names = chance.sample(["a", "b", "name", "älter", "x y"], chance.randrange(1, 4))
    properties = {name: schema(chance, depth - 1) for name in names}
    required = [name for name in names if chance.random() < 0.8]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def of_any(chance, depth):
    return {"anyOf": [schema(chance, depth - 1) for _ in range(2)]}


def schema(chance, depth):
    kinds = [of_string, of_number, of_constant]
    return chance.choice(kinds + [of_array, of_object, of_any] * 2 if depth > 0 else kinds)(chance, depth)


class Schemas(unittest.TestCase):
    def test_every_answer_fits_its_schema(self):
        valid = cut = refused = 0
        for seed in range(COUNT):
            chance = random.Random(seed)
            wanted = of_object(chance, 2)
            Draft202012Validator.check_schema(wanted)
            form = {"type": "json_schema", "json_schema": {"name": "random", "schema": wanted, "strict": True}}
            with self.subTest(seed=seed, schema=wanted):
                try:
                    answer = chat(response_format=form, max_tokens=300, temperature=seed % 3 / 2, seed=seed)
                except openai.BadRequestError as error:
                    self.assertEqual(error.code, "invalid_json_schema")
                    refused += 1
                    continue
                [choice] = answer.choices
                if choice.finish_reason == "length":
                    cut += 1
                    continue
                Draft202012Validator(wanted).validate(json.loads(choice.message.content))
                valid += 1
        print(f"{COUNT} random schemas: {valid} answers fit, {cut} cut at max_tokens, {refused} schemas refused")
        self.assertGreater(valid, COUNT * 0.8)
