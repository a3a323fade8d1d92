//! Where the tables come from. `data/grid/README.md` says how each was made.

/// Who has published a table, under which terms, and what it counts.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Data set and year, such as `ember-2025`.
    pub id: &'static str,
    /// What the publisher calls it.
    pub title: &'static str,
    pub publisher: &'static str,
    pub url: &'static str,
    /// SPDX identifier, or the licence's name where it has none.
    pub licence: &'static str,
    /// The sentence to show wherever figures from it are shown.
    pub attribution: &'static str,
    /// What is counted, in three words: `lifecycle` (with fuel supply and building the plants) or `direct` (what the
    /// chimneys emit), of what is `production` (generated in the zone) or `consumption` (used in it, with what is traded);
    /// then `co2` where other greenhouse gases are left out, or `partial` where some plants are counted as clean because
    /// nobody has a figure for them.
    pub basis: &'static str,
    /// The calendar year that is averaged.
    pub year: u16,
}

/// All of them.
pub static SOURCES: [Source; 5] = [
    ember("ember-2025", 2025),
    ember("ember-2024", 2024),
    Source {
        id: "egrid-2023",
        title: "eGRID2023, state annual CO2 equivalent total output emission rate (STC2ERTA)",
        publisher: "United States Environmental Protection Agency",
        url: "https://www.epa.gov/egrid",
        licence: "LicenseRef-US-Government-public-domain",
        attribution: "US EPA, eGRID2023 (public domain), via CodeCarbon (MIT)",
        basis: "direct-production",
        year: 2023,
    },
    Source {
        id: "entsoe-mix-2025",
        title: "Nordic bidding zones, generation mix of 2025 times CodeCarbon's factor of each kind of plant",
        publisher: "CodeCarbon",
        url: "https://doi.org/10.5281/zenodo.22285397",
        licence: "MIT",
        attribution: "CodeCarbon (MIT), derived by Khepri from ENTSO-E Transparency Platform, Actual Generation per \
                      Production Type",
        basis: "lifecycle-production-partial",
        year: 2025,
    },
    Source {
        id: "mee-2023",
        title: "Announcement 2025 No. 47, provincial average electricity CO2 emission factors of 2023 (table 3)",
        publisher: "Ministry of Ecology and Environment and National Bureau of Statistics of China",
        url: "https://www.mee.gov.cn/xxgk2018/xxgk/xxgk01/202512/t20251231_1139517.html",
        licence: "MIT",
        attribution: "Ministry of Ecology and Environment of China, Announcement 2025 No. 47, via CodeCarbon (MIT)",
        basis: "direct-consumption-co2",
        year: 2023,
    },
];

const fn ember(id: &'static str, year: u16) -> Source {
    Source {
        id,
        title: "Yearly Electricity Data, October 2026 release: emissions intensity of generation",
        publisher: "Ember",
        url: "https://ember-energy.org/data/yearly-electricity-data/",
        licence: "CC-BY-4.0",
        attribution: "Ember, Yearly Electricity Data (CC BY 4.0)",
        basis: "lifecycle-production",
        year,
    }
}

/// The source of an id, such as a [`Grid`](crate::energy::Grid) names.
pub fn source(id: &str) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.id == id)
}
