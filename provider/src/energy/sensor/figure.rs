//! The floating figures of devices as the integers that are summed here.

use super::SensorError;

/// A machine that draws more than a megawatt is none.
const MOST_WATTS: f64 = 1e6;
/// A gigawatt-hour is what the largest plug-in meter would count in thirty years of full load.
const MOST_WATT_HOURS: f64 = 1e9;

/// Watts in milliwatts.
///
/// # Errors
/// `Nonsense` for what is no number, negative or more than any machine draws.
pub(super) fn milliwatts(watts: f64) -> Result<u64, SensorError> {
    whole(watts, 1e3, MOST_WATTS, "W")
}

/// Watt-hours in microjoules.
///
/// # Errors
/// `Nonsense` for what is no number, negative or more than any meter counts.
pub(super) fn microjoules(watt_hours: f64) -> Result<u64, SensorError> {
    whole(watt_hours, 3.6e9, MOST_WATT_HOURS, "Wh")
}

/// A product that is not negative and far below 2⁶⁴, rounded.
fn whole(figure: f64, by: f64, most: f64, unit: &str) -> Result<u64, SensorError> {
    if !(0.0..=most).contains(&figure) {
        return Err(SensorError::Nonsense(format!("{figure:e} {unit}")));
    }
    Ok((figure * by).round() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_converted_and_nonsense_is_refused() {
        assert_eq!(milliwatts(61.4), Ok(61_400));
        assert_eq!(microjoules(1.0), Ok(3_600_000_000));
        assert_eq!(microjoules(0.001), Ok(3_600_000));
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1e300, MOST_WATT_HOURS * 1.001] {
            assert!(matches!(milliwatts(wrong), Err(SensorError::Nonsense(_))), "{wrong}");
            assert!(matches!(microjoules(wrong), Err(SensorError::Nonsense(_))), "{wrong}");
        }
    }

    proptest! {
        /// A counter that does not fall as a float does not fall as an integer.
        #[test]
        fn order_is_kept(low in 0.0..MOST_WATT_HOURS, more in 0.0..1e3_f64) {
            let high = (low + more).min(MOST_WATT_HOURS);
            prop_assert!(microjoules(low)? <= microjoules(high)?);
        }
    }
}
