//! The energy counter of a machine without sensors: this process's processor time times the power of a busy core.

use openapi::units::Microjoules;

/// Processor time as energy. Tier E: an estimate.
#[derive(Clone, Copy, Debug)]
pub struct ProcessorTime {
    milliwatts: u64,
}

impl ProcessorTime {
    /// `milliwatts` is what one logical processor draws when it is busy.
    pub fn new(milliwatts: u64) -> Self {
        Self { milliwatts }
    }

    /// Energy since the process began.
    pub fn read(self) -> Microjoules {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
        // mW × s = mJ = 1000 µJ; mW × ns = pJ.
        Microjoules::new(seconds * self.milliwatts * 1_000 + nanoseconds * self.milliwatts / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_moves_the_counter_and_power_scales_it() {
        let (one, ten) = (ProcessorTime::new(1_000), ProcessorTime::new(10_000));
        let before = one.read();
        let mut sum = 0u64;
        while one.read() <= before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(ten.read().get() / one.read().get().max(1) >= 9, "{sum}");
    }
}
