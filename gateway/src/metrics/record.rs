//! From the record of a request to its metrics.

use std::time::Duration;

use openapi::energy::Tier;
use openapi::units::{Microjoules, Microseconds};

use super::{Metrics, Request, Spent};
use crate::inference::record::{AttemptEnergy, AttemptRecord, RequestRecord};

/// Microjoules in a kilowatt-hour, over milligrams in a microgram.
const PER_MICROGRAM: u128 = 3_600_000_000;

impl Metrics {
    /// Counts a request that has ended, and each of its attempts, as far as is known at this moment.
    pub fn record(&self, record: &RequestRecord) {
        let model = &record.request.model;
        let (last, before) = match record.attempts.split_last() {
            Some((last, before)) => (Some(last), before),
            None => (None, [].as_slice()),
        };
        before.iter().for_each(|attempt| self.attempt(model, attempt.node_id, &Spent::from(attempt)));
        self.request(&Request {
            model,
            endpoint: &record.request.endpoint,
            node: last.map(|attempt| attempt.node_id),
            outcome: record.outcome,
            prompt_tokens: record.prompt_tokens,
            completion_tokens: record.completion_tokens,
            duration: duration(record.duration_microseconds),
            first_byte: record.first_byte_microseconds.map(duration),
            spent: last.map(Spent::from).unwrap_or_default(),
        });
    }
}

impl From<&AttemptRecord> for Spent {
    fn from(attempt: &AttemptRecord) -> Self {
        attempt.energy.as_ref().map(|energy| spent(attempt.microjoules, energy)).unwrap_or_default()
    }
}

fn spent(microjoules: Microjoules, energy: &AttemptEnergy) -> Spent {
    let both = u128::from(microjoules.get()) + u128::from(energy.idle_microjoules.get());
    let facility = both * u128::from(energy.pue_milli) / 1_000;
    let micrograms = energy.grid.as_ref().map(|grid| facility * u128::from(grid.mg_per_kwh) / PER_MICROGRAM);
    Spent {
        tier: if energy.believed { energy.tier } else { Tier::X },
        microjoules,
        prefill_microjoules: energy.prefill_microjoules,
        idle_microjoules: energy.idle_microjoules,
        facility_microjoules: Microjoules::new(held(facility)),
        micrograms_co2e: micrograms.map(held),
    }
}

fn held(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn duration(span: Microseconds) -> Duration {
    Duration::from_micros(span.get())
}

#[cfg(test)]
mod tests {
    use openapi::energy::{Boundary, Energy, EnergyTerms, Grid};
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::inference::record::{OpenRequest, Outcome};

    fn attempt(node: u128, outcome: Outcome, microjoules: u64, believed: bool) -> AttemptRecord {
        let energy = Energy {
            prefill_microjoules: Microjoules::new(16_000_000),
            ..Energy::exact(Microjoules::new(microjoules), (Tier::B, Boundary::NodeDc), "test/1")
        };
        let (zone, source, basis) = ("DE".to_owned(), "s".to_owned(), "b".to_owned());
        let grid = Some(Grid { zone, mg_per_kwh: 334_100, source, basis });
        let terms = EnergyTerms { grid, pue_milli: 1_200, idle_ppm: 500_000, believed, ..EnergyTerms::default() };
        AttemptRecord {
            request_id: Uuid::nil(),
            attempt: 1,
            node_id: Uuid::from_u128(node),
            outcome,
            choice: None,
            prompt_tokens: 8,
            completion_tokens: 4,
            overclaimed_tokens: 0,
            microjoules: energy.microjoules,
            duration_microseconds: Microseconds::ZERO,
            energy: Some(AttemptEnergy::new(&energy, &terms, true)),
            noted: None,
        }
    }

    #[test]
    fn every_attempt_of_a_request_counts() {
        let open = OpenRequest {
            id: Uuid::nil(),
            billed_as: None,
            account_id: Uuid::nil(),
            user_id: Uuid::nil(),
            key_id: Uuid::nil(),
            endpoint: "chat.completions".to_owned(),
            model: "m".to_owned(),
            streamed: true,
            started_at: OffsetDateTime::UNIX_EPOCH,
            client_request: None,
        };
        let mut record = RequestRecord::without_answer(open, Outcome::Completed, 200);
        record.completion_tokens = 4;
        record.attempts = vec![
            attempt(1, Outcome::NodeFailed, 20_000_000, false),
            AttemptRecord { energy: None, ..attempt(2, Outcome::NodeFailed, 0, true) },
            attempt(3, Outcome::Completed, 60_000_000, true),
        ];
        let metrics = Metrics::new(None).unwrap();
        metrics.record(&record);
        let text = metrics.render();
        let node = |number| format!(r#"model="m",node="{}""#, Uuid::from_u128(number));
        for expected in [
            format!(r#"gateway_request_energy_joules_total{{{},phase="decode",tier="X"}} 4"#, node(1)),
            format!(r#"gateway_request_energy_joules_total{{{},phase="prefill",tier="X"}} 16"#, node(1)),
            format!(r#"gateway_request_energy_joules_total{{{},phase="decode",tier="B"}} 44"#, node(3)),
            format!(r#"gateway_request_facility_energy_joules_total{{{}}} 108"#, node(3)),
            format!(r#"gateway_request_carbon_grams_total{{{}}} 0.010023"#, node(3)),
            r#"gateway_requests_total{model="m",outcome="completed"} 1"#.to_owned(),
            r#"gateway_energy_per_output_token_joules_sum{model="m",tier="B"} 15"#.to_owned(),
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} is not in\n{text}");
        }
        assert!(!text.contains(&node(2)), "it took nothing");
    }
}
