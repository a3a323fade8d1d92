#!/usr/bin/env python3
"""Makes the tables in this folder: convert.py FOLDER

FOLDER holds the wheels of leadgreen-mcp 0.3.1 and codecarbon 3.3.2, each unpacked in a folder named like the wheel.
Decimals are read as they are written and rounded once, half to even, so every run gives the same bytes.
"""

import json
import sys
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = "zone,also,name,mg_per_kwh,year,source"
EMBER = "leadgreen_mcp-0.3.1-py3-none-any/leadgreen_mcp/data/grid.json"
CODECARBON = "codecarbon-3.3.2-py3-none-any/codecarbon/data/private_infra"
# Grams per kilowatt-hour that a country's year can have. Production-based sums of a country that imports a lot can
# fall out of it, even below zero (Costa Rica 2025): the year before is taken then.
PLAUSIBLE = (Decimal(5), Decimal(1500))
GRAMS_PER_POUND = Decimal("453.592")
# Kosovo has no ISO 3166 code; XK is what everybody uses.
KOSOVO = {"XKX": "XK"}


def milligrams(grams):
    return int((grams * 1000).to_integral_value())


def read(path):
    return json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal)


def countries(folder):
    for area in read(folder / EMBER)["areas"]:
        if area["area_type"] != "country":
            continue
        years = {year: grams for year, grams in area["years"].items() if PLAUSIBLE[0] <= grams <= PLAUSIBLE[1]}
        year = max(years)
        code = area["iso2"] or KOSOVO[area["iso3"]]
        yield code, area["iso3"], area["display_name"], milligrams(years[year]), year, f"ember-{year}"


def states(folder):
    table = read(folder / CODECARBON / "2023/usa_emissions.json")
    assert table["_unit"]["emissions"] == "lbs/MWh" and table["_source"]["field"] == "STC2ERTA"
    for name, row in table.items():
        if name.startswith("_") or name == "usa":
            continue
        # pounds per megawatt-hour to grams per kilowatt-hour
        grams = row["emissions"] * GRAMS_PER_POUND / 1000
        title = name.title().replace(" Of ", " of ")
        yield f"US-{row['regionCode']}", "", title, milligrams(grams), "2023", "egrid-2023"


def bidding_zones(folder):
    for zone, row in read(folder / CODECARBON / "nordic_emissions.json")["data"].items():
        assert row["unit"] == "gCO2eq/kWh"
        # Finland is a country of the first table; its figure here has no stated origin.
        if zone == "FI":
            continue
        country = {"SE": "Sweden", "NO": "Norway"}[zone[:2]]
        yield f"{zone[:2]}-{zone}", zone, f"{country} {zone}", milligrams(row["emission_factor"]), "2025", "entsoe-mix-2025"


def provinces(folder):
    for zone, row in read(folder / CODECARBON / "2023/china_provincial_emissions.json")["data"].items():
        assert row["unit"] == "gCO2/kWh" and row["year"] == 2023
        yield zone, "", row["description"], milligrams(row["emission_factor"]), "2023", "mee-2023"


def main():
    folder = Path(sys.argv[1])
    tables = {"countries": countries, "us-states": states, "nordic-zones": bidding_zones, "china-provinces": provinces}
    for name, rows in tables.items():
        lines = sorted(rows(folder))
        assert all("," not in str(field) and '"' not in str(field) for line in lines for field in line), name
        text = "\n".join([HEADER, *(",".join(map(str, line)) for line in lines)]) + "\n"
        (HERE / f"{name}.csv").write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}.csv: {len(lines)} rows")


main()
