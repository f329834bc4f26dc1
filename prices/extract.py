#!/usr/bin/env python3
"""Writes the sources of the price table as JSON, from wheels that pip fetched.

    pip download --no-deps -d wheels genai-prices litellm
    python3 prices/extract.py wheels out
    cargo xtask prices out

Needs pydantic, which genai-prices depends on. Prices are written as decimal text, never as floats.
"""

import dataclasses
import datetime
import decimal
import glob
import importlib
import json
import sys
import unittest.mock
import zipfile


def plain(value):
    if dataclasses.is_dataclass(value):
        return {"is": type(value).__name__} | {
            field.name.rstrip("_"): plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name, None) is not None and not field.name.startswith("_")
        }
    if type(value).__name__ == "ModelPrice":
        members = {name: plain(price) for name, price in vars(value).items() if price is not None}
        return {name: price for name, price in members.items() if not name.startswith("_")}
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return value


def main():
    wheels, out = sys.argv[1:]
    versions = {}
    for name in ("genai_prices", "litellm"):
        (wheel,) = glob.glob(f"{wheels}/{name}-*.whl")
        versions[name] = wheel.rsplit("/", 1)[-1].split("-")[1]
        if name == "genai_prices":
            sys.path.insert(0, wheel)
            # It can fetch newer prices; nothing here does.
            sys.modules.setdefault("httpx2", unittest.mock.MagicMock())
            providers = importlib.import_module("genai_prices.data").providers
            skipped = {"extractors", "description", "price_comments", "pricing_urls"}
            models = plain(providers)
            for provider in models:
                for part in skipped:
                    provider.pop(part, None)
                for model in provider["models"]:
                    model.pop("description", None)
            write(f"{out}/genai-prices.json", {"version": versions[name], "providers": models})
        else:
            inside = zipfile.ZipFile(wheel).read("litellm/model_prices_and_context_window_backup.json")
            models = json.loads(inside, parse_float=lambda text: format(decimal.Decimal(text), "f"))
            write(f"{out}/litellm.json", {"version": versions[name], "models": models})


def write(path, document):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, sort_keys=True)
        file.write("\n")


main()
