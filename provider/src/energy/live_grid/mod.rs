//! How much carbon the grid's electricity stands for right now, from a service that the operator has chosen, with the
//! operator's own key.
//!
//! A live figure is believed when it is one that an hour of the zone can have, and used until it is two hours old; the
//! zone's annual average is used otherwise. Keys are in no log and no error: errors hold nothing that a service or a
//! library has written.

mod answer;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use openapi::energy::Grid;
use openapi::grid::Zone;
use reqwest::header::HeaderValue;
use reqwest::{Client, redirect};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use url::Url;

use answer::Figure;

/// Half-hourly and hourly figures are asked for this often.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// A figure older than this is history.
const FRESH_FOR: Duration = Duration::from_secs(2 * 3_600);
/// A service's clock may be ahead of this machine's by so much.
const AHEAD: Duration = Duration::from_secs(3_600);
/// Time for one whole answer.
const WITHIN: Duration = Duration::from_secs(10);
/// Far more than any of the services sends.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Where live figures come from.
#[derive(Clone, Debug)]
pub enum Service {
    /// The Carbon Intensity API of Britain's system operator, <https://carbonintensity.org.uk>: no key, Great Britain only.
    CarbonIntensity,
    /// <https://www.electricitymaps.com>, by its own name of the zone, such as `US-CAL-CISO`.
    ElectricityMaps { zone: String, key: SecretString },
    /// An address of the operator's own, which answers `{"g_per_kwh": 123.4}`. A secret, since it may have a key in it.
    Address(SecretString),
}

impl Service {
    /// How the figures' source is called.
    pub const fn source(&self) -> &'static str {
        match self {
            Self::CarbonIntensity => "carbon-intensity-gb-live",
            Self::ElectricityMaps { .. } => "electricity-maps-live",
            Self::Address(_) => "operator-live",
        }
    }

    fn address(&self, base: Option<&Url>) -> Result<Url, LiveError> {
        let unusable = |_| LiveError::Address;
        let join = |usual: &str, path: &str| {
            let base = base.map_or_else(|| Url::parse(usual), |base| Ok(base.clone()));
            base.and_then(|base| base.join(path)).map_err(unusable)
        };
        let url = match self {
            Self::CarbonIntensity => join("https://api.carbonintensity.org.uk", "/intensity")?,
            Self::ElectricityMaps { zone, .. } => {
                let mut url = join("https://api.electricitymaps.com", "/v3/carbon-intensity/latest")?;
                url.query_pairs_mut().append_pair("zone", zone);
                url
            }
            Self::Address(address) => Url::parse(address.expose_secret()).map_err(unusable)?,
        };
        let usable = matches!(url.scheme(), "http" | "https") && url.has_host();
        if usable { Ok(url) } else { Err(LiveError::Address) }
    }

    fn key(&self) -> Result<Option<HeaderValue>, LiveError> {
        let Self::ElectricityMaps { key, .. } = self else { return Ok(None) };
        let key = key.expose_secret().trim();
        let mut value = HeaderValue::from_str(key).map_err(|_| LiveError::Key)?;
        if key.is_empty() {
            return Err(LiveError::Key);
        }
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Why there is no live figure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    #[error("the address of the live grid figures is none that begins with http:// or https://")]
    Address,
    #[error("the key for the live grid figures is empty or has letters that no key has")]
    Key,
    #[error("a key is sent through https only")]
    PlainText,
    #[error("{source_name} knows Great Britain only, and the node is in {zone}")]
    WrongZone { source_name: &'static str, zone: &'static str },
    #[error("HTTPS could not be set up")]
    Client,
    #[error("{0} can't be reached")]
    Unreachable(&'static str),
    #[error("{0} took too long to answer")]
    Slow(&'static str),
    #[error("{source_name} answers with status {status}")]
    Status { source_name: &'static str, status: u16 },
    #[error("{0} sends far more than a figure")]
    TooLong(&'static str),
    #[error("the answer of {0} can't be understood")]
    Nonsense(&'static str),
    #[error("{0} answers for another zone than was asked for")]
    OtherZone(&'static str),
    #[error("the newest figure of {0} is not of the last two hours")]
    Old(&'static str),
    #[error(
        "{source_name} says {mg_per_kwh} mg/kWh, and an hour in {zone} has {} to {} mg/kWh",
        possible.start(),
        possible.end()
    )]
    Implausible { source_name: &'static str, mg_per_kwh: u64, zone: &'static str, possible: RangeInclusive<u64> },
}

/// A live figure and when it was true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub grid: Grid,
    pub at: SystemTime,
}

impl Observation {
    fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.at).map_or_else(|ahead| ahead.duration() <= AHEAD, |age| age <= FRESH_FOR)
    }
}

/// The grid's figure at the node, live where that works.
pub struct LiveGrid {
    zone: &'static Zone,
    service: Service,
    address: SecretString,
    key: Option<HeaderValue>,
    client: Client,
    within: Duration,
    newest: Mutex<Option<Observation>>,
}

impl LiveGrid {
    /// Asks nobody yet. `base` is where the service is reached instead of its usual address.
    ///
    /// # Errors
    /// When the service can't be used: a wrong address, a key that is none or would travel in the clear, a service that
    /// does not know the zone.
    pub fn new(zone: &'static Zone, service: Service, base: Option<&Url>) -> Result<Self, LiveError> {
        if matches!(service, Service::CarbonIntensity) && zone.country() != "GB" {
            return Err(LiveError::WrongZone { source_name: service.source(), zone: zone.code });
        }
        let (url, key) = (service.address(base)?, service.key()?);
        let here = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if key.is_some() && url.scheme() != "https" && !here {
            return Err(LiveError::PlainText);
        }
        let builder = Client::builder()
            // A redirect would take the key elsewhere.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("commonwatt-node/", env!("CARGO_PKG_VERSION")));
        let builder = if here { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|_| LiveError::Client)?;
        let address = SecretString::from(String::from(url));
        Ok(Self { zone, service, address, key, client, within: WITHIN, newest: Mutex::new(None) })
    }

    /// The live figure while it is fresh, the zone's annual average otherwise.
    pub fn grid(&self, now: SystemTime) -> Grid {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let live = newest.as_ref().filter(|observation| observation.is_fresh(now));
        live.map_or_else(|| self.zone.grid(), |observation| observation.grid.clone())
    }

    /// Asks the service once, and keeps its figure.
    ///
    /// # Errors
    /// When there is none that can be believed; the last one stays until it is too old.
    pub async fn refresh(&self, now: SystemTime) -> Result<(), LiveError> {
        let observation = self.fetch(now).await?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(observation);
        Ok(())
    }

    /// Asks every quarter of an hour until it is stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let asking = async {
            loop {
                ticks.tick().await;
                if let Err(error) = self.refresh(SystemTime::now()).await {
                    tracing::warn!(zone = self.zone.code, %error, "no live grid figure");
                }
            }
        };
        stop.run_until_cancelled(asking).await;
    }

    async fn fetch(&self, now: SystemTime) -> Result<Observation, LiveError> {
        let body = self.ask().await?;
        let source_name = self.service.source();
        let Figure { mg_per_kwh, basis, at } = answer::read(&self.service, &body)?;
        if !self.zone.within_sanity(mg_per_kwh) {
            let (zone, possible) = (self.zone.code, self.zone.sanity());
            return Err(LiveError::Implausible { source_name, mg_per_kwh, zone, possible });
        }
        let zone = self.zone.code.to_owned();
        let grid = Grid { zone, mg_per_kwh, source: source_name.to_owned(), basis: basis.to_owned() };
        let observation = Observation { grid, at: at.unwrap_or(now) };
        if observation.is_fresh(now) { Ok(observation) } else { Err(LiveError::Old(source_name)) }
    }

    async fn ask(&self) -> Result<Vec<u8>, LiveError> {
        let source_name = self.service.source();
        let failed = |error: reqwest::Error| {
            let slow = error.is_timeout();
            if slow { LiveError::Slow(source_name) } else { LiveError::Unreachable(source_name) }
        };
        let mut request = self.client.get(self.address.expose_secret()).timeout(self.within);
        if let Some(key) = &self.key {
            request = request.header("auth-token", key);
        }
        let mut response = request.send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(LiveError::Status { source_name, status: response.status().as_u16() });
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            if body.len() + part.len() > LONGEST_ANSWER {
                return Err(LiveError::TooLong(source_name));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests;
