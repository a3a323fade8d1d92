//! What a thread of a server draws, by the family of its processor: the averages that Cloud Carbon Footprint makes of
//! the SPECpower database (`@cloud-carbon-footprint/aws` 0.15.0, `AwsFootprintEstimationConstants.ts`, © 2021
//! Thoughtworks, Apache-2.0). They are of whole servers.

/// A family of server processors, as far as it is in that table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    SandyBridge,
    IvyBridge,
    Haswell,
    Broadwell,
    Skylake,
    CascadeLake,
    CoffeeLake,
    Epyc1,
    Epyc2,
    Graviton2,
    /// Whatever else.
    Average,
}

/// How `/proc/cpuinfo` numbers an x86 processor, which stays true in virtual machines that hide its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    pub intel: bool,
    pub amd: bool,
    pub family: u32,
    pub model: u32,
    pub stepping: u32,
}

impl Family {
    /// Milliwatts of a thread: (idle, busy).
    pub const fn milliwatts_per_thread(self) -> (u64, u64) {
        match self {
            Self::SandyBridge => (2_170, 8_580),
            Self::IvyBridge => (3_040, 8_250),
            Self::Haswell => (1_000, 4_740),
            Self::Broadwell => (710, 3_690),
            Self::Skylake => (650, 4_260),
            Self::CascadeLake => (640, 3_970),
            Self::CoffeeLake => (1_140, 5_420),
            Self::Epyc1 => (820, 2_550),
            Self::Epyc2 | Self::Graviton2 => (470, 1_690),
            Self::Average => (740, 3_500),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SandyBridge => "Sandy Bridge",
            Self::IvyBridge => "Ivy Bridge",
            Self::Haswell => "Haswell",
            Self::Broadwell => "Broadwell",
            Self::Skylake => "Skylake",
            Self::CascadeLake => "Cascade Lake",
            Self::CoffeeLake => "Coffee Lake",
            Self::Epyc1 => "EPYC of the first generation",
            Self::Epyc2 => "EPYC of the second generation",
            Self::Graviton2 => "Graviton 2",
            Self::Average => "the average of its families",
        }
    }

    /// The family of an x86 processor, numbered as in Linux' `arch/x86/include/asm/intel-family.h`. The same number is
    /// Skylake up to stepping 4 and Cascade Lake from 5 to 7.
    pub const fn of(signature: &Signature) -> Option<Self> {
        let Signature { intel, amd, family, model, stepping } = *signature;
        match (family, model, stepping) {
            (6, 45, _) if intel => Some(Self::SandyBridge),
            (6, 62, _) if intel => Some(Self::IvyBridge),
            (6, 63, _) if intel => Some(Self::Haswell),
            (6, 79 | 86, _) if intel => Some(Self::Broadwell),
            (6, 85, 0..=4) if intel => Some(Self::Skylake),
            (6, 85, 5..=7) if intel => Some(Self::CascadeLake),
            (6, 158, 10..) if intel => Some(Self::CoffeeLake),
            (23, 1, _) if amd => Some(Self::Epyc1),
            (23, 49, _) if amd => Some(Self::Epyc2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_families() {
        let intel = |model, stepping| {
            Family::of(&Signature { intel: true, family: 6, model, stepping, ..Signature::default() })
        };
        assert_eq!(intel(85, 4), Some(Family::Skylake));
        assert_eq!(intel(85, 7), Some(Family::CascadeLake));
        assert_eq!(intel(85, 11), None); // Cooper Lake
        assert_eq!(intel(106, 6), None); // Ice Lake
        assert_eq!(intel(79, 1), Some(Family::Broadwell));
        let amd = |family, model| Family::of(&Signature { amd: true, family, model, ..Signature::default() });
        assert_eq!(amd(23, 49), Some(Family::Epyc2));
        assert_eq!(amd(25, 17), None); // Genoa
        assert_eq!(amd(6, 85), None);
    }

    #[test]
    fn nothing_draws_less_busy_than_idle() {
        for family in [
            Family::SandyBridge,
            Family::IvyBridge,
            Family::Haswell,
            Family::Broadwell,
            Family::Skylake,
            Family::CascadeLake,
            Family::CoffeeLake,
            Family::Epyc1,
            Family::Epyc2,
            Family::Graviton2,
            Family::Average,
        ] {
            let (idle, busy) = family.milliwatts_per_thread();
            assert!(0 < idle && 2 * idle < busy, "{}", family.name());
        }
    }
}
