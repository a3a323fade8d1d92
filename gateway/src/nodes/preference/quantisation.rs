//! How a model's weights may be written down.

use std::fmt::{self, Display, Formatter};

use openapi::hardware;

/// OpenRouter's classes of quantisations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Int4,
    Int8,
    Fp4,
    Fp6,
    Fp8,
    Fp16,
    Bf16,
    Fp32,
    /// Whatever belongs to none of the others, such as five bits.
    Unknown,
}

/// How names of each class begin, up to the digits that tell the bits: ggml's block formats, safetensors' types, and the
/// formats of mistral.rs and of the OCP Microscaling specification.
const BEGINNINGS: [(&str, Class); 20] = [
    ("Q4", Class::Int4),
    ("IQ4", Class::Int4),
    ("AFQ4", Class::Int4),
    ("HQQ4", Class::Int4),
    ("INT4", Class::Int4),
    ("Q8", Class::Int8),
    ("AFQ8", Class::Int8),
    ("HQQ8", Class::Int8),
    ("INT8", Class::Int8),
    ("FP4", Class::Fp4),
    ("MXFP4", Class::Fp4),
    ("NVFP4", Class::Fp4),
    ("FP6", Class::Fp6),
    ("FP8", Class::Fp8),
    ("F8", Class::Fp8),
    ("FP16", Class::Fp16),
    ("F16", Class::Fp16),
    ("BF16", Class::Bf16),
    ("FP32", Class::Fp32),
    ("F32", Class::Fp32),
];

impl Class {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::Int4, Self::Int8, Self::Fp4, Self::Fp6, Self::Fp8, Self::Fp16, Self::Bf16, Self::Fp32, Self::Unknown];

    /// The word in `provider.quantizations`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Fp4 => "fp4",
            Self::Fp6 => "fp6",
            Self::Fp8 => "fp8",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp32 => "fp32",
            Self::Unknown => "unknown",
        }
    }

    /// The class of a manifest's quantisation.
    pub fn of(manifest: &str) -> Self {
        let begins = |beginning: &str| {
            manifest.split_at_checked(beginning.len()).is_some_and(|(head, rest)| {
                head.eq_ignore_ascii_case(beginning) && !rest.starts_with(|next: char| next.is_ascii_digit())
            })
        };
        BEGINNINGS.iter().find(|(beginning, _)| begins(beginning)).map_or(Self::Unknown, |(_, class)| *class)
    }
}

/// One way to write weights down, or a class of ways.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Quantisation {
    Class(Class),
    /// A name as it stands in a manifest, such as `Q4_1`, in small or capital letters.
    Exact(String),
}

impl Quantisation {
    /// Reads a class or a name. None for what looks like neither.
    pub(super) fn new(word: &str) -> Option<Self> {
        let class = Class::ALL.into_iter().find(|class| class.word().eq_ignore_ascii_case(word));
        class.map(Self::Class).or_else(|| is_name(word).then(|| Self::Exact(word.to_owned())))
    }

    /// True when a manifest's quantisation is this one, or of this class.
    pub(super) fn is(&self, manifest: &str) -> bool {
        match self {
            Self::Class(class) => Class::of(manifest) == *class,
            Self::Exact(name) => name.eq_ignore_ascii_case(manifest),
        }
    }
}

impl Display for Quantisation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Class(class) => class.word(),
            Self::Exact(name) => name,
        })
    }
}

/// True for names that are known, and for any that has the shape of ggml's: `Q`, `IQ` or `TQ`, a digit, and what follows.
/// A misspelt class is neither.
fn is_name(word: &str) -> bool {
    const LONGEST: usize = 20;
    let rest = word.trim_start_matches(['i', 'I', 't', 'T']);
    let is_ggml = word.len() - rest.len() <= 1
        && rest.starts_with(['q', 'Q'])
        && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    word.len() <= LONGEST && (is_ggml || hardware::Quantisation::named(word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_has_the_class_that_its_weights_are_of() {
        for (class, manifests) in [
            (Class::Int4, &["Q4_0", "Q4_1", "q4_k_m", "Q4K", "IQ4_NL", "IQ4_XS", "AFQ4", "HQQ4", "int4"][..]),
            (Class::Int8, &["Q8_0", "Q8_1", "q8_k", "Q8K", "AFQ8", "HQQ8", "INT8"]),
            (Class::Fp4, &["MXFP4", "NVFP4", "fp4"]),
            (Class::Fp6, &["FP6", "fp6_e3m2"]),
            (Class::Fp8, &["FP8", "F8E4M3", "F8Q8"]),
            (Class::Fp16, &["F16", "fp16"]),
            (Class::Bf16, &["BF16", "bf16"]),
            (Class::Fp32, &["F32", "FP32"]),
            (Class::Unknown, &["Q5_K_M", "Q6K", "IQ2_XXS", "TQ1_0", "Q40", "F160", "none", "", "é", "Q"]),
        ] {
            for manifest in manifests {
                assert_eq!(Class::of(manifest), class, "{manifest}");
                assert!(Quantisation::Class(class).is(manifest), "{manifest}");
            }
            assert_eq!(Quantisation::new(class.word()), Some(Quantisation::Class(class)));
        }
    }

    #[test]
    fn a_name_means_itself_alone() {
        let name = Quantisation::new("q4_1").unwrap();
        assert!(name.is("Q4_1") && !name.is("Q4_0") && !name.is("Q4_1_"));
        let name = Quantisation::new("F16").unwrap();
        assert!(name.is("f16") && !name.is("FP16"), "the class is called fp16");
    }

    #[test]
    fn what_is_neither_class_nor_name_is_refused() {
        for word in ["", "int3", "fp5", "int", "4", "Q", "Q_4", "IIQ4", "Q4 1", "Q4-1", "Q4_1é", "gguf", "int4_"] {
            assert_eq!(Quantisation::new(word), None, "{word}");
        }
        for word in ["IQ2_XXS", "TQ2_0", "Q3_K_XL", "MXFP4", "F8E4M3"] {
            assert!(matches!(Quantisation::new(word), Some(Quantisation::Exact(_))), "{word}");
        }
        assert_eq!(Quantisation::new(&format!("Q4{}", "_".repeat(100))), None);
    }
}
