//! How weights are written down: how many bits each takes, and what units compute with them.

/// The narrowest numbers that a quantisation can be multiplied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    Four,
    Eight,
    Sixteen,
}

/// One way to write weights down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantisation {
    /// In capitals.
    pub name: &'static str,
    /// Bits of a weight, its part of the block's scales included, in ten-thousandths.
    pub bits_e4: u64,
    /// Blocks of integers of any width are multiplied by activations of 8 bit, or widened to 16.
    pub precision: Precision,
}

/// Block formats: bytes of a block over weights in it, as ggml's `ggml-common.h` defines them. Mixtures (`_S`, `_M`,
/// `_L`): the bits per weight that llama.cpp's `quantize` documentation measures for Llama-3.1-8B. `AFQ` and `HQQ`: a
/// 16-bit scale and offset for each 64 weights.
const QUANTISATIONS: [Quantisation; 42] = [
    of("F32", 320_000, Precision::Sixteen),
    of("F16", 160_000, Precision::Sixteen),
    of("FP16", 160_000, Precision::Sixteen),
    of("BF16", 160_000, Precision::Sixteen),
    of("FP8", 80_000, Precision::Eight),
    of("F8E4M3", 80_000, Precision::Eight),
    of("F8Q8", 80_000, Precision::Eight),
    of("NVFP4", 45_000, Precision::Four),
    of("MXFP4", 42_500, Precision::Four),
    of("Q8_0", 85_000, Precision::Eight),
    of("Q8_1", 90_000, Precision::Eight),
    of("Q8K", 91_250, Precision::Eight),
    of("Q6K", 65_625, Precision::Eight),
    of("Q5_0", 55_000, Precision::Eight),
    of("Q5_1", 60_000, Precision::Eight),
    of("Q5K", 55_000, Precision::Eight),
    of("Q4_0", 45_000, Precision::Eight),
    of("Q4_1", 50_000, Precision::Eight),
    of("Q4K", 45_000, Precision::Eight),
    of("Q3K", 34_375, Precision::Eight),
    of("Q2K", 26_250, Precision::Eight),
    of("Q8_K", 91_250, Precision::Eight),
    of("Q6_K", 65_625, Precision::Eight),
    of("Q5_K", 55_000, Precision::Eight),
    of("Q5_K_S", 55_704, Precision::Eight),
    of("Q5_K_M", 57_036, Precision::Eight),
    of("Q4_K", 45_000, Precision::Eight),
    of("Q4_K_S", 46_672, Precision::Eight),
    of("Q4_K_M", 48_944, Precision::Eight),
    of("Q3_K", 34_375, Precision::Eight),
    of("Q3_K_S", 36_429, Precision::Eight),
    of("Q3_K_M", 39_960, Precision::Eight),
    of("Q3_K_L", 42_979, Precision::Eight),
    of("Q2_K", 26_250, Precision::Eight),
    of("IQ4_NL", 46_818, Precision::Eight),
    of("IQ4_XS", 44_597, Precision::Eight),
    of("HQQ8", 85_000, Precision::Eight),
    of("HQQ4", 45_000, Precision::Eight),
    of("AFQ8", 85_000, Precision::Eight),
    of("AFQ6", 65_000, Precision::Eight),
    of("AFQ4", 45_000, Precision::Eight),
    of("AFQ3", 35_000, Precision::Eight),
];

const fn of(name: &'static str, bits_e4: u64, precision: Precision) -> Quantisation {
    Quantisation { name, bits_e4, precision }
}

impl Quantisation {
    /// The quantisation of a name such as `Q4_1`, in small or capital letters.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        QUANTISATIONS.iter().find(|known| known.name.eq_ignore_ascii_case(name)).copied()
    }

    /// The parameters that so many bytes of weights hold.
    pub fn parameters(&self, weight_bytes: u64) -> u64 {
        const BITS_E4_PER_BYTE: u128 = 80_000;
        let count = u128::from(weight_bytes) * BITS_E4_PER_BYTE / u128::from(self.bits_e4);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// The parameters that a model's weights hold, from their size and the name of their quantisation. None when there are
/// none or the name is unknown. Of a model that keeps its embeddings wider than the rest it is a little more than it
/// has.
pub fn parameters(weight_bytes: u64, quantisation: &str) -> Option<u64> {
    Quantisation::named(quantisation).map(|known| known.parameters(weight_bytes)).filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sizes_of_published_files_give_their_parameters() {
        // Bytes of the tensors of models on the Hugging Face hub, and the parameters that their cards state.
        for (bytes, quantisation, stated) in [
            (16_060_522_496, "BF16", 8_030_261_248_u64), // Llama-3.1-8B-Instruct, safetensors
            (269_060_552, "BF16", 134_515_008),          // SmolLM2-135M-Instruct, safetensors
            (8_540_775_840, "q8_0", 8_030_261_248),      // Meta-Llama-3.1-8B-Instruct-Q8_0.gguf
            (4_920_739_232, "Q4_K_M", 8_030_261_248),    // Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf
        ] {
            let found = parameters(bytes, quantisation).unwrap();
            assert!(found.abs_diff(stated) * 100 <= 3 * stated, "{quantisation}: {found} is not {stated}");
        }
    }

    #[test]
    fn a_name_is_one_quantisation() {
        let names: HashSet<_> = QUANTISATIONS.iter().map(|known| known.name.to_uppercase()).collect();
        assert_eq!(names.len(), QUANTISATIONS.len());
        assert_eq!(Quantisation::named("q4_1").map(|known| known.bits_e4), Some(50_000));
        assert_eq!(Quantisation::named("bf16").map(|known| known.precision), Some(Precision::Sixteen));
    }

    #[test]
    fn what_is_unknown_or_empty_has_no_parameters() {
        assert_eq!(parameters(1_000, "Q17"), None);
        assert_eq!(parameters(0, "F16"), None);
        assert_eq!(parameters(u64::MAX, "Q4_0"), Some(u64::MAX));
    }
}
