//! A receipt for tests.

use uuid::Uuid;

use super::commitment::Salt;
use super::{Alone, AuthorShare, Receipt, ReceiptEnergy, ReceiptId, Shares, VERSION, check};
use crate::energy::{Boundary, Grid, Status, Tier};
use crate::price::{Price, Split};
use crate::units::{Microjoules, Microseconds, Nanocredits};

/// One of an answer that cost so much, on a day after 1970 began, that a server has computed that signs nothing.
pub(crate) fn receipt(nanocredits: u64, day: u64) -> Receipt {
    const DAY_MICROSECONDS: u64 = 86_400_000_000;
    let split = Split { operator_ppm: 850_000, authors_ppm: 50_000, gateway_ppm: 80_000, audit_fund_ppm: 20_000 };
    let shares = split.divide(Nanocredits::new(nanocredits), 1);
    let facility = check::facility(Microjoules::new(4_000), Microjoules::new(1_000), 1_200);
    Receipt {
        v: VERSION,
        id: ReceiptId { request: Uuid::nil(), attempt: 1 },
        gateway: "g".to_owned(),
        node: Uuid::nil(),
        node_receipt: None,
        node_key: None,
        alone: Some(Alone::Attached),
        partner_receipt: None,
        model: "m".to_owned(),
        outcome: "completed".to_owned(),
        started_at: Microseconds::new(day * DAY_MICROSECONDS),
        duration_microseconds: Microseconds::new(1),
        prompt_tokens: nanocredits,
        cached_tokens: 0,
        completion_tokens: 0,
        price: Price { prompt: Nanocredits::new(1), ..Price::default() },
        price_version: Some(1),
        is_paid: true,
        nanocredits: Nanocredits::new(nanocredits),
        shares: (nanocredits > 0).then(|| Shares {
            version: 1,
            split,
            operator: shares.operator,
            authors: vec![AuthorShare { author: "Ada".to_owned(), nanocredits: shares.authors[0] }],
            gateway: shares.gateway,
            audit_fund: shares.audit_fund,
        }),
        energy: Some(ReceiptEnergy {
            microjoules: Microjoules::new(4_000),
            low_microjoules: Microjoules::new(3_000),
            high_microjoules: Microjoules::new(5_000),
            marginal_microjoules: Microjoules::new(2_000),
            prefill_microjoules: Microjoules::new(1_000),
            idle_microjoules: Microjoules::new(1_000),
            tier: Tier::B,
            boundary: Boundary::NodeDc,
            method: "test/1".to_owned(),
            status: Status::Settled,
            believed: true,
            pue_milli: 1_200,
            facility_microjoules: facility,
            micrograms_co2e: Some(check::carbon(facility, 400_000)),
            grid: Some(Grid {
                zone: "DE".to_owned(),
                mg_per_kwh: 400_000,
                source: "s".to_owned(),
                basis: "b".to_owned(),
            }),
        }),
        request_commitment: Salt([1; 32]).request(b"{}"),
        answer_commitment: None,
    }
}
