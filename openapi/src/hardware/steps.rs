//! What a step of decoding was measured to cost: lines fitted through the ML.ENERGY benchmark (Chung et al., NeurIPS
//! 2025 Datasets and Benchmarks, arXiv 2505.06371; leaderboard 3.0, vLLM 0.11.1) by `data/hardware/fit.py`.
//!
//! A step over B sequences costs `fixed + each · B`. That holds well for dense models (R² above 0.99); a mixture of
//! experts costs less than its line in small batches, where few experts are touched.

use std::sync::LazyLock;

use super::{Precision, rows};

/// The line of one model on one kind and number of devices, all of them together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// As the Hugging Face hub names it.
    pub model: &'static str,
    /// A [`Device`](super::Device)'s class.
    pub class: &'static str,
    pub devices: u32,
    pub precision: Precision,
    pub parameters: u64,
    /// Parameters that compute a token: fewer than there are in a mixture of experts.
    pub active_parameters: u64,
    /// What a step costs whoever is in it.
    pub fixed_microjoules: u64,
    /// What a sequence in it adds, the computation of its prompt and of its context spread over its tokens.
    pub microjoules_per_sequence: u64,
    /// The smallest and the largest batch that were measured.
    pub batches: (u32, u32),
    /// The part of the measured variation that lies on the line.
    pub r2: f64,
}

impl Step {
    /// What one of `batch` sequences' tokens costs on average.
    pub fn microjoules_per_token(&self, batch: u32) -> u64 {
        self.fixed_microjoules / u64::from(batch.max(1)) + self.microjoules_per_sequence
    }

    fn read(line: &'static str) -> Option<Self> {
        let mut cells = line.split(',');
        let (model, class) = (cells.next()?, cells.next()?);
        let devices = cells.next()?.parse().ok()?;
        let precision = match cells.next()? {
            "BF16" => Precision::Sixteen,
            "FP8" => Precision::Eight,
            _ => return None,
        };
        let mut billions = || cells.next()?.parse::<f64>().ok().map(|count| (count * 1e9) as u64);
        let (parameters, active_parameters) = (billions()?, billions()?);
        let mut microjoules = || cells.next()?.parse::<u64>().ok().filter(|figure| *figure > 0);
        let (fixed_microjoules, microjoules_per_sequence) = (microjoules()?, microjoules()?);
        let mut batch = || cells.next()?.parse().ok();
        let batches = (batch()?, batch()?);
        let r2 = cells.nth(1)?.parse().ok()?;
        Some(Self {
            model,
            class,
            devices,
            precision,
            parameters,
            active_parameters,
            fixed_microjoules,
            microjoules_per_sequence,
            batches,
            r2,
        })
    }
}

static STEPS: LazyLock<Vec<Step>> = LazyLock::new(|| rows(STEPS_CSV).filter_map(Step::read).collect());

const STEPS_CSV: &str = include_str!("../../data/hardware/steps.csv");

/// All lines.
pub fn steps() -> &'static [Step] {
    &STEPS
}

/// The line of a model, by its name with or without its owner, on so many devices of a class.
pub fn step(model: &str, class: &str, devices: u32, precision: Precision) -> Option<&'static Step> {
    let model = plain(model);
    let fits = |step: &&Step| (step.class, step.devices, step.precision) == (class, devices, precision);
    STEPS.iter().filter(fits).find(|step| plain(step.model) == model)
}

/// A model's name as lower-case words, without its owner and without the precision, which is asked for by itself.
fn plain(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or_default().to_lowercase();
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty() && *word != "fp8").collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::device;

    #[test]
    fn every_row_is_a_line_of_a_known_device() {
        assert_eq!(steps().len(), rows(STEPS_CSV).count());
        for step in steps() {
            assert_eq!(device(step.class).map(|device| device.class), Some(step.class), "{}", step.model);
            assert!(step.r2 > 0.92 && step.r2 <= 1.0, "{}", step.model);
            assert!(step.batches.0 < step.batches.1 && step.active_parameters <= step.parameters, "{}", step.model);
        }
    }

    #[test]
    fn lines_are_nearly_straight() {
        let mut fits: Vec<f64> = steps().iter().map(|step| step.r2).collect();
        fits.sort_by(f64::total_cmp);
        assert!(fits[fits.len() / 2] > 0.995);
        assert!(steps().iter().filter(|step| step.active_parameters == step.parameters).all(|step| step.r2 > 0.989));
    }

    #[test]
    fn a_model_is_found_by_its_name() {
        let found = step("llama-3.1-8b-instruct", "nvidia-h100-sxm", 1, Precision::Sixteen).unwrap();
        assert_eq!((found.fixed_microjoules, found.microjoules_per_sequence), (3_269_997, 65_642));
        assert_eq!((found.parameters, found.batches), (8_000_000_000, (8, 691)));
        let large = step("meta-llama/Llama-3.1-405B-Instruct", "nvidia-h100-sxm", 8, Precision::Eight);
        assert_eq!(large.map(|step| step.microjoules_per_sequence), Some(1_702_008));
        assert_eq!(step("llama-3.1-8b-instruct", "nvidia-h100-sxm", 2, Precision::Sixteen), None);
        assert_eq!(step("llama-3.1-8b-instruct", "nvidia-h100-sxm", 1, Precision::Eight), None);
        assert_eq!(step("smollm2-135m-instruct", "nvidia-h100-sxm", 1, Precision::Sixteen), None);
    }

    #[test]
    fn the_line_gives_the_measured_averages_back() {
        // Joules per token that the leaderboard states for Llama-3.1-8B on one H100.
        let line = step("llama-3.1-8b-instruct", "nvidia-h100-sxm", 1, Precision::Sixteen).unwrap();
        for (batch, measured) in [(8, 454_798), (64, 119_000), (691, 71_348)] {
            let modelled = line.microjoules_per_token(batch);
            assert!(modelled.abs_diff(measured) * 100 <= 5 * measured, "{batch}: {modelled}");
        }
    }
}
