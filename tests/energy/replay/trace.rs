//! Two days of grid intensity. **Synthetic**: no measured trace is replayed. The levels are rounded yearly means of the
//! kind that Ember publishes for each country, and the shapes are those that every operator's dashboard shows: a dip at
//! noon where there is solar power, a peak in the evening, and wind that comes and goes over hours.

/// Steps of half an hour in two days.
pub(super) const STEPS: usize = 96;
pub(super) const SECONDS_PER_STEP: f64 = 1_800.0;

/// A grid, and what makes it change.
pub(super) struct Zone {
    /// Grams of CO₂ equivalent per kilowatt-hour, over the two days.
    pub(super) mean: f64,
    /// Parts of the mean: how deep noon cuts, how high the evening rises, how far the wind moves it.
    solar: f64,
    evening: f64,
    wind: f64,
    hours_east: f64,
}

const fn zone(mean: f64, [solar, evening, wind]: [f64; 3], hours_east: f64) -> Zone {
    Zone { mean, solar, evening, wind, hours_east }
}

/// Sweden, France, Brazil, Great Britain, California, Germany, Texas, Poland, India, South Africa.
pub(super) const ZONES: [Zone; 10] = [
    zone(20.0, [0.05, 0.15, 0.15], 1.0),
    zone(40.0, [0.25, 0.30, 0.15], 1.0),
    zone(100.0, [0.15, 0.25, 0.15], -3.0),
    zone(200.0, [0.20, 0.30, 0.45], 0.0),
    zone(220.0, [0.60, 0.35, 0.10], -8.0),
    zone(330.0, [0.45, 0.25, 0.35], 1.0),
    zone(390.0, [0.25, 0.15, 0.35], -6.0),
    zone(600.0, [0.25, 0.10, 0.15], 1.0),
    zone(700.0, [0.20, 0.08, 0.05], 5.5),
    zone(850.0, [0.08, 0.05, 0.05], 2.0),
];

impl Zone {
    /// Milligrams per kilowatt-hour, for each half hour of two days from midnight UTC.
    pub(super) fn replay(&self, chance: &mut fastrand::Rng) -> [u64; STEPS] {
        let mut wind = 0.0;
        let shape: [f64; STEPS] = std::array::from_fn(|step| {
            // A first-order autoregression that forgets within about five hours; its deviation is `self.wind` · 0.58.
            wind = 0.9 * wind + (1.0_f64 - 0.81).sqrt() * (2.0 * chance.f64() - 1.0);
            let hour = (step as f64 / 2.0 + self.hours_east).rem_euclid(24.0);
            let cycle = self.evening * bell(hour, 19.5, 2.0) - self.solar * bell(hour, 13.0, 2.8);
            (1.0 + cycle + self.wind * wind).max(0.1)
        });
        let level = shape.iter().sum::<f64>() / STEPS as f64;
        shape.map(|part| (self.mean * 1_000.0 * part / level).round() as u64)
    }
}

fn bell(hour: f64, middle: f64, width: f64) -> f64 {
    (-((hour - middle) / width).powi(2) / 2.0).exp()
}
