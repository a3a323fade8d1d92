//! Python's `random.Random`, number for number, so that the simulation can be put beside its Python sister.
//!
//! The generator is MT19937 (Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8(1), 1998), seeded by an array as in
//! their `mt19937ar.c`; what is made of its numbers follows CPython 3.11's `Lib/random.py`.

use std::f64::consts::TAU;

use rand_mt::Mt;

/// The same numbers as `random.Random(seed)`.
pub(crate) struct Random {
    generator: Mt,
    /// Normal deviates are made in pairs; this is the second of one.
    second_normal: Option<f64>,
}

impl Random {
    /// Seeds as Python does with an integer: its 32-bit words, the lowest first, are the key.
    pub(crate) fn seeded(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        let key = if high == 0 { vec![low] } else { vec![low, high] };
        Self { generator: Mt::new_with_key(key), second_normal: None }
    }

    /// Uniform in [0, 1), of 53 random bits.
    pub(crate) fn random(&mut self) -> f64 {
        let high = self.generator.next_u32() >> 5;
        let low = self.generator.next_u32() >> 6;
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// Uniform between two numbers.
    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random()
    }

    /// The time to the next event, of so many in a unit of time.
    pub(crate) fn expovariate(&mut self, rate: f64) -> f64 {
        -(1.0 - self.random()).ln() / rate
    }

    /// Normally distributed, by the method of Box and Muller, two at a time.
    pub(crate) fn gauss(&mut self, mean: f64, deviation: f64) -> f64 {
        let normal = self.second_normal.take().unwrap_or_else(|| {
            let angle = self.random() * TAU;
            let radius = (-2.0 * (1.0 - self.random()).ln()).sqrt();
            self.second_normal = Some(angle.sin() * radius);
            angle.cos() * radius
        });
        mean + normal * deviation
    }

    /// Normally distributed, by the ratio of uniform deviates (Kinderman and Monahan, ACM TOMS 3(3), 1977).
    pub(crate) fn normalvariate(&mut self, mean: f64, deviation: f64) -> f64 {
        let scale = 4.0 * (-0.5_f64).exp() / 2.0_f64.sqrt();
        loop {
            let first = self.random();
            let second = 1.0 - self.random();
            let normal = scale * (first - 0.5) / second;
            if normal * normal / 4.0 <= -second.ln() {
                return mean + normal * deviation;
            }
        }
    }

    /// A number whose logarithm is normally distributed.
    pub(crate) fn lognormvariate(&mut self, mean: f64, deviation: f64) -> f64 {
        self.normalvariate(mean, deviation).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three(mut next: impl FnMut() -> f64) -> [f64; 3] {
        [next(), next(), next()]
    }

    fn near(ours: f64, pythons: f64) -> bool {
        (ours - pythons).abs() <= 1e-12 * pythons.abs()
    }

    #[test]
    fn the_bits_are_pythons() {
        let random = |seed| Random::seeded(seed).random();
        // `random.Random(seed).random()`
        assert_eq!(random(0), 0.844_421_851_525_048_1);
        assert_eq!(random(1), 0.134_364_244_112_401_22);
        assert_eq!(random(2), 0.956_034_271_889_249_4);
        assert_eq!(random(5_000_000_000), 0.086_660_101_673_547_54, "a seed of two words");
    }

    #[test]
    fn the_distributions_are_pythons() {
        // One `random.Random(1)`, in this order.
        let mut random = Random::seeded(1);
        assert_eq!(
            three(|| random.random()),
            [0.134_364_244_112_401_22, 0.847_433_736_937_232_7, 0.763_774_618_976_614]
        );
        let ours = [
            three(|| random.expovariate(10.0)),
            three(|| random.lognormvariate(5.3, 0.9)),
            three(|| random.uniform(0.95, 1.05)),
            three(|| random.gauss(0.0, 0.02)),
        ];
        let expected = [
            [0.029_446_371_689_426_293, 0.068_405_877_965_960_02, 0.059_691_209_186_799_724],
            [606.567_797_037_401_8, 499.662_589_915_423_27, 147.996_520_760_741_7],
            [0.972_876_222_127_045_3, 1.044_527_069_555_392_3, 1.040_142_745_761_148_3],
            [0.004_457_325_707_376_818, 0.000_867_417_004_372_736_9, -0.045_729_985_354_332_63],
        ];
        for (ours, pythons) in ours.iter().flatten().zip(expected.iter().flatten()) {
            assert!(near(*ours, *pythons), "{ours} is not {pythons}");
        }
    }

    #[test]
    fn they_still_are_after_twenty_thousand_rounds() {
        let mut random = Random::seeded(2);
        let mut sums = [0.0; 5];
        for _ in 0..20_000 {
            let round = [
                random.random(),
                random.gauss(1.0, 2.0),
                random.lognormvariate(0.0, 1.0),
                random.expovariate(3.0),
                random.uniform(-1.0, 4.0),
            ];
            sums.iter_mut().zip(round).for_each(|(sum, one)| *sum += one);
        }
        let pythons = [
            10_056.588_351_575_792,
            19_879.652_170_455_4,
            33_268.034_503_845_09,
            6_635.792_436_534_975,
            30_021.912_463_227_31,
        ];
        for (ours, pythons) in sums.into_iter().zip(pythons) {
            assert!(near(ours, pythons), "{ours} is not {pythons}");
        }
    }
}
