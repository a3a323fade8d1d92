//! Software Carbon Intensity, ISO/IEC 21031:2024: `SCI = (O + M) per R`, with a token as the functional unit R, as the
//! Green Software Foundation's draft for AI asks of language models. In integers; market-based measures have no place in
//! it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::energy::Grid;
use crate::units::{Microjoules, Microseconds};

/// Microjoules times milligrams per kilowatt-hour in a nanogram: 3.6 × 10¹² µJ/kWh over 10⁶ ng/mg.
const PER_NANOGRAM: u128 = 3_600_000;
const NANOGRAMS_PER_MICROGRAM: u64 = 1_000;
const MICROGRAMS_PER_MILLIGRAM: u128 = 1_000;

/// A score and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sci {
    /// The score: nanograms of CO₂ equivalent per token, rounded once.
    pub nanograms_per_token: u64,
    /// O, from electricity, in nanograms.
    pub operational_nanograms: u64,
    /// M, from making the hardware, in nanograms.
    pub embodied_nanograms: u64,
    /// R.
    pub tokens: u64,
}

/// The score of work that took so much energy of the site (idle share and the site's overhead included) and so many
/// micrograms of embodied carbon. None without tokens, and for more than 18 tonnes.
pub fn sci(facility: Microjoules, grid: &Grid, embodied_micrograms: u64, tokens: u64) -> Option<Sci> {
    let operational = u128::from(facility.get()) * u128::from(grid.mg_per_kwh);
    let embodied_nanograms = embodied_micrograms.checked_mul(NANOGRAMS_PER_MICROGRAM)?;
    let total = operational.checked_add(u128::from(embodied_nanograms) * PER_NANOGRAM)?;
    Some(Sci {
        nanograms_per_token: nearest(total, PER_NANOGRAM * u128::from(tokens))?,
        operational_nanograms: nearest(operational, PER_NANOGRAM)?,
        embodied_nanograms,
        tokens,
    })
}

/// What making a machine has emitted, and how long it will serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Embodied {
    /// TE: milligrams of CO₂ equivalent, of all its parts.
    pub total_milligrams: u64,
    /// EL: the expected lifespan.
    pub lifespan: Microseconds,
}

impl Embodied {
    /// `M = TE × TiR/EL × RR/ToR` in micrograms, rounded down: the machine was reserved for so long, so many of its
    /// resources out of so many. None without a lifespan or resources, or when the product is beyond 18 tonnes.
    pub fn micrograms(&self, reserved: Microseconds, resources: u64, of: u64) -> Option<u64> {
        let total = u128::from(self.total_milligrams) * MICROGRAMS_PER_MILLIGRAM;
        let in_time = scaled(total, reserved.get(), self.lifespan.get())?;
        u64::try_from(scaled(in_time, resources, of)?).ok()
    }
}

/// One request's part of a period's embodied carbon, by busy time: `from` and `to` say where it stands when the busy times
/// of all requests are laid end to end, up to `busy`. Parts that are laid so add up to the whole, to the microgram, since
/// each is a difference of two roundings that its neighbours share. None when the request lies outside.
pub fn embodied_share(micrograms: u64, from: Microseconds, to: Microseconds, busy: Microseconds) -> Option<u64> {
    let until = |at: Microseconds| scaled(u128::from(micrograms), at.get(), busy.get());
    let inside = from <= to && to <= busy;
    let part = until(to)?.checked_sub(until(from)?).filter(|_| inside)?;
    u64::try_from(part).ok()
}

/// Nanograms per joule, to the nearest, that a period's embodied carbon comes to when it is spread over the energy that
/// was attributed meanwhile. None when nothing was.
pub fn embodied_nanograms_per_joule(micrograms: u64, attributed: Microjoules) -> Option<u64> {
    nearest(u128::from(micrograms) * 1_000_000_000, u128::from(attributed.get()))
}

/// Rounded down. None when the divisor is zero or the product beyond 128 bits.
fn scaled(count: u128, by: u64, over: u64) -> Option<u128> {
    count.checked_mul(u128::from(by))?.checked_div(u128::from(over))
}

fn nearest(count: u128, over: u128) -> Option<u64> {
    let (whole, rest) = (count.checked_div(over)?, count.checked_rem(over)?);
    u64::try_from(whole + u128::from(rest >= over - rest)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grid::zone;

    const HOUR: u64 = 3_600_000_000;
    const YEAR: u64 = 365 * 24 * HOUR;

    fn germany() -> Grid {
        zone("DE").unwrap().grid()
    }

    /// 85.4 J = 85.4 / 3.6e6 kWh = 2.37222e-5 kWh; times 334.1 g/kWh = 7.92559 mg. With 400 µg for the machine:
    /// 8.32559 mg over 240 tokens = 34.68997 µg a token.
    #[test]
    fn an_example_worked_by_hand() {
        let score = sci(Microjoules::new(85_400_000), &germany(), 400, 240).unwrap();
        assert_eq!(score.operational_nanograms, 7_925_594);
        assert_eq!(score.embodied_nanograms, 400_000);
        assert_eq!(score.nanograms_per_token, 34_690);
    }

    #[test]
    fn a_kilowatt_hour_is_the_grids_figure() {
        let score = sci(Microjoules::new(3_600_000_000_000), &germany(), 0, 1).unwrap();
        assert_eq!(score.nanograms_per_token, 334_100 * 1_000_000);
    }

    #[test]
    fn no_score_without_tokens_or_beyond_its_range() {
        assert_eq!(sci(Microjoules::new(1), &germany(), 1, 0), None);
        assert_eq!(sci(Microjoules::new(u64::MAX), &Grid { mg_per_kwh: u64::MAX, ..germany() }, 1, 1), None);
        assert_eq!(sci(Microjoules::new(1), &germany(), u64::MAX, 1), None);
    }

    /// The specification's own example: 1000 kg over four years, reserved for an hour, is "around 28 g".
    #[test]
    fn the_specifications_example() {
        let machine = Embodied { total_milligrams: 1_000_000_000, lifespan: Microseconds::new(4 * YEAR) };
        assert_eq!(machine.micrograms(Microseconds::new(HOUR), 1, 1), Some(28_538_812));
        assert_eq!(machine.micrograms(Microseconds::new(HOUR), 1, 4), Some(28_538_812 / 4));
        assert_eq!(machine.micrograms(Microseconds::new(HOUR), 1, 0), None);
        assert_eq!(
            Embodied { lifespan: Microseconds::ZERO, ..machine }.micrograms(Microseconds::new(HOUR), 1, 1),
            None
        );
    }

    #[test]
    fn embodied_carbon_per_joule_is_rounded_to_the_nearest() {
        let attributed = Microjoules::new(2_000_000);
        for (micrograms, per_joule) in [(0, 0), (1, 500), (12, 6_000), (15, 7_500)] {
            assert_eq!(embodied_nanograms_per_joule(micrograms, attributed), Some(per_joule), "{micrograms}");
        }
        assert_eq!(embodied_nanograms_per_joule(1, Microjoules::ZERO), None);
    }

    #[test]
    fn a_share_outside_the_busy_time_is_none() {
        let share =
            |from, to, busy| embodied_share(9, Microseconds::new(from), Microseconds::new(to), Microseconds::new(busy));
        assert_eq!([share(0, 10, 10), share(5, 5, 10)], [Some(9), Some(0)]);
        assert_eq!([share(0, 11, 10), share(6, 5, 10), share(0, 0, 0)], [None; 3]);
    }

    proptest! {
        #[test]
        fn a_days_embodied_carbon_is_neither_lost_nor_made(day in any::<u64>(),
            spans in prop::collection::vec(0u64..HOUR, 1..50)) {
            let busy: u64 = spans.iter().sum();
            prop_assume!(busy > 0);
            let (mut at, mut shared) = (0, 0u128);
            for span in spans {
                let (from, to) = (Microseconds::new(at), Microseconds::new(at + span));
                let share = embodied_share(day, from, to, Microseconds::new(busy)).unwrap();
                let exact = (u128::from(day) * u128::from(span) / u128::from(busy)) as u64;
                prop_assert!(share.abs_diff(exact) <= 1, "{} {}", share, exact);
                at += span;
                shared += u128::from(share);
            }
            prop_assert_eq!(shared, u128::from(day));
        }

        #[test]
        fn the_score_is_its_parts_per_token(microjoules in 0u64..1 << 50, mg_per_kwh in 1u64..1_500_000,
            embodied in 0u64..1 << 40, tokens in 1u64..1 << 20) {
            let grid = Grid { mg_per_kwh, ..germany() };
            let score = sci(Microjoules::new(microjoules), &grid, embodied, tokens).unwrap();
            let total = score.operational_nanograms + score.embodied_nanograms;
            prop_assert!(score.nanograms_per_token.abs_diff(total / tokens) <= 1);
            let exact = (microjoules as f64 / 3.6e12 * mg_per_kwh as f64 * 1e6 + embodied as f64 * 1e3) / tokens as f64;
            prop_assert!((score.nanograms_per_token as f64 - exact).abs() <= 0.5 + exact * 1e-12);
        }
    }
}
