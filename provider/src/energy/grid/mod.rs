//! Where the node stands, as its operator says: the grid, the site's overhead, what idle time is counted, and what making
//! the machine has emitted.
//!
//! All of it is a claim. Nothing here can be measured by the node, so every part is labelled with who said it, and what
//! contradicts the machine's own clock is pointed out.

mod clock;

use std::ops::RangeInclusive;
use std::path::Path;

use openapi::energy::IdlePolicy;
use openapi::grid::sci::Embodied;
use openapi::grid::{self, Zone};
use openapi::units::Microseconds;

/// What an operator writes into the configuration; nothing is required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Such as `DE`, `US-CA` or `SE-SE3`.
    pub zone: Option<String>,
    /// Power usage effectiveness, such as `1.2`.
    pub pue: Option<String>,
    /// Where that figure can be read, for whoever doubts it.
    pub pue_evidence: Option<String>,
    /// `dedicated` or `opportunistic`.
    pub idle_policy: Option<String>,
    /// Kilograms of CO₂ equivalent that making the machine has emitted.
    pub embodied_kilograms: Option<String>,
    /// Years that the machine will serve.
    pub lifespan_years: Option<String>,
}

/// Where the node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// None when nobody has said; no carbon is shown then.
    pub zone: Option<&'static Zone>,
    /// The site's energy over the machines', in thousandths.
    pub pue_milli: u32,
    pub pue_source: PueSource,
    pub idle_policy: IdlePolicy,
    /// None when nobody has said.
    pub embodied: Option<Embodied>,
    /// What the operator should look at again, in sentences.
    pub warnings: Vec<String>,
}

/// Who says what the site adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PueSource {
    /// Nobody: a machine in a home, which adds nothing.
    Home,
    /// The operator, who may have named evidence.
    Claim { evidence: Option<String> },
}

impl PueSource {
    /// The word for it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Claim { .. } => "claim",
        }
    }
}

/// A statement that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    #[error("no electricity zone is called {stated}{}", suggestions(stated))]
    Zone { stated: String },
    #[error("a PUE is a number from 1.0 to 3.0, such as 1.2, and not {stated}")]
    Pue { stated: String },
    #[error("evidence for a PUE goes with a PUE, which is missing")]
    EvidenceAlone,
    #[error("the idle policy is dedicated or opportunistic, and not {stated}")]
    IdlePolicy { stated: String },
    #[error("embodied emissions are kilograms of CO2e from 1 to 100000, such as 164.5, and not {stated}")]
    Embodied { stated: String },
    #[error("a lifespan is years from 1 to 20, such as 4.5, and not {stated}")]
    Lifespan { stated: String },
}

/// Thousandths of a PUE that can be true.
const PUE: RangeInclusive<u64> = 1_000..=3_000;
/// Grams that making one machine may have emitted.
const EMBODIED_GRAMS: RangeInclusive<u64> = 1_000..=100_000_000;
/// Thousandths of a year that one machine may serve.
const LIFESPAN: RangeInclusive<u64> = 1_000..=20_000;
/// Where nobody says how long: as in the example of the Software Carbon Intensity specification.
const USUAL_LIFESPAN: u64 = 4_000;
/// Microseconds in a thousandth of a year of 365 days.
const MILLIYEAR: u64 = 31_536_000_000;

impl Statement {
    /// Reads and checks it. `root` is where this machine's `/etc` and `/usr` are found.
    ///
    /// # Errors
    /// A sentence for the operator about the first part that can't be used.
    pub fn site(&self, root: &Path) -> Result<Site, SiteError> {
        let zone = self.zone()?;
        let (pue_milli, pue_source) = self.pue()?;
        let warnings = match (&self.zone, zone) {
            (Some(stated), Some(zone)) => warnings(stated, zone, root),
            _ => Vec::new(),
        };
        let (idle_policy, embodied) = (self.idle_policy()?, self.embodied()?);
        Ok(Site { zone, pue_milli, pue_source, idle_policy, embodied, warnings })
    }

    fn zone(&self) -> Result<Option<&'static Zone>, SiteError> {
        let read = |stated: &String| grid::zone(stated).ok_or_else(|| SiteError::Zone { stated: stated.clone() });
        self.zone.as_ref().map(read).transpose()
    }

    fn pue(&self) -> Result<(u32, PueSource), SiteError> {
        let Some(stated) = &self.pue else {
            let alone = self.pue_evidence.is_some();
            return if alone { Err(SiteError::EvidenceAlone) } else { Ok((1_000, PueSource::Home)) };
        };
        let read = thousandths(stated).filter(|milli| PUE.contains(milli)).and_then(|milli| u32::try_from(milli).ok());
        let milli = read.ok_or_else(|| SiteError::Pue { stated: stated.clone() })?;
        Ok((milli, PueSource::Claim { evidence: self.pue_evidence.clone() }))
    }

    fn idle_policy(&self) -> Result<IdlePolicy, SiteError> {
        match self.idle_policy.as_deref() {
            None | Some("dedicated") => Ok(IdlePolicy::Dedicated),
            Some("opportunistic") => Ok(IdlePolicy::Opportunistic),
            Some(other) => Err(SiteError::IdlePolicy { stated: other.to_owned() }),
        }
    }

    fn embodied(&self) -> Result<Option<Embodied>, SiteError> {
        let milliyears = match &self.lifespan_years {
            None => USUAL_LIFESPAN,
            Some(stated) => thousandths(stated)
                .filter(|milli| LIFESPAN.contains(milli))
                .ok_or_else(|| SiteError::Lifespan { stated: stated.clone() })?,
        };
        let Some(stated) = &self.embodied_kilograms else { return Ok(None) };
        let grams = thousandths(stated)
            .filter(|grams| EMBODIED_GRAMS.contains(grams))
            .ok_or_else(|| SiteError::Embodied { stated: stated.clone() })?;
        let lifespan = Microseconds::new(milliyears * MILLIYEAR);
        Ok(Some(Embodied { total_milligrams: grams * 1_000, lifespan }))
    }
}

/// The end of the sentence about a zone that does not exist.
fn suggestions(stated: &str) -> String {
    let near: Vec<String> =
        grid::nearest(stated).into_iter().map(|zone| format!("{} ({})", zone.code, zone.name)).collect();
    if near.is_empty() {
        ": give a country, such as DE, or a part of one, such as US-CA or SE-SE3".to_owned()
    } else {
        format!("; did you mean {}?", near.join(" or "))
    }
}

fn warnings(stated: &str, zone: &Zone, root: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    if !zone.is_called(stated) {
        warnings.push(format!("there is no figure for {stated}; that of {} ({}) is used", zone.name, zone.code));
    }
    if let Some(name) = clock::time_zone(root) {
        let countries = clock::countries(root, &name);
        if !countries.is_empty() && !countries.contains(zone.country()) {
            let countries = Vec::from_iter(countries).join(", ");
            warnings.push(format!(
                "the zone is {}, and this machine's clock is set to {name} ({countries}): is the zone right?",
                zone.code
            ));
        }
    }
    warnings
}

/// A decimal with at most three digits behind the point, times a thousand.
fn thousandths(text: &str) -> Option<u64> {
    const DECIMALS: usize = 3;
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests;
