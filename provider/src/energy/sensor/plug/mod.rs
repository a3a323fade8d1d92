//! Smart plugs and other meters at the wall that answer over HTTP. They count coarsely and are right over minutes: what
//! components count is held against them.

mod shelly;
mod tasmota;

use std::time::Duration;

use openapi::energy::{Boundary, Tier};
use url::Url;

use super::remote::{Figure, Http, Polled, Source, Transport, Trouble};
use super::{Description, Discovered, Finding, Kind, Pool, Sensor, SensorError};

/// More often brings nothing: they measure about once a second.
const EVERY: Duration = Duration::from_secs(1);
/// The name of what is no known meter in findings.
const UNKNOWN: &str = "smart-plug";

/// A meter that was recognised.
struct Meter {
    back_end: &'static str,
    /// Where its total is.
    path: String,
    figure: Figure,
    /// How often the total moves at 50 W, which an idle machine draws.
    resolution: Duration,
    most_milliwatts: u64,
}

/// Why an address has no meter for us.
struct Useless {
    back_end: &'static str,
    error: SensorError,
}

/// Asks at every address what stands there. An address is `http://[user:password@]host[#channel]`; the channel is for
/// meters with several, from 0.
pub(super) async fn discover(addresses: &[Url]) -> Discovered {
    let mut discovered = Discovered::default();
    for address in addresses {
        let found = match open(address) {
            Ok((http, channel)) => find(http, channel).await,
            Err(reason) => Err(Useless { back_end: UNKNOWN, error: SensorError::Nonsense(reason) }),
        };
        note(&mut discovered, found);
    }
    discovered
}

/// What is behind the # is not sent.
fn open(address: &Url) -> Result<(Http, Option<usize>), String> {
    let channel = address.fragment().map(str::parse).transpose();
    let channel = channel.map_err(|_| "what follows the # is no channel's number")?;
    Ok((Http::new(address.clone(), None, None)?, channel))
}

fn note(discovered: &mut Discovered, found: Result<Polled, Useless>) {
    match found {
        Ok(polled) => {
            discovered.findings.push(Finding::Found(polled.description().clone()));
            discovered.sensors.push(Box::new(polled));
        }
        Err(Useless { back_end, error }) => {
            let remedy = remedy(back_end, &error).to_owned();
            discovered.findings.push(Finding::Unusable { back_end, error, remedy });
        }
    }
}

fn remedy(back_end: &str, error: &SensorError) -> &'static str {
    match error {
        SensorError::Denied { .. } if back_end == shelly::SECOND => {
            "Switch the device's authentication off: its digest is not spoken here."
        }
        SensorError::Denied { .. } => {
            "Put user and password into the address, as in http://admin:password@192.168.1.5."
        }
        SensorError::Gone(_) => "Check that the meter is on, that this machine reaches it, and its address.",
        SensorError::Nonsense(_) => {
            "Use a Shelly with a power meter, or Tasmota with energy monitoring, and its HTTP address."
        }
    }
}

async fn find<T: Transport>(transport: T, channel: Option<usize>) -> Result<Polled, Useless> {
    let Meter { back_end, path, figure, resolution, most_milliwatts } = recognise(&transport, channel).await?;
    let suffix = channel.map(|channel| format!("#{channel}")).unwrap_or_default();
    let description = Description {
        name: format!("{back_end}:{}{suffix}", transport.address()),
        back_end,
        pool: Pool::Wall,
        kind: Kind::Counter,
        boundary: Boundary::Wall,
        tier: Tier::A,
        resolution,
        most_milliwatts: Some(most_milliwatts),
    };
    let started = Polled::start(Source { transport, path, figure }, description, EVERY).await;
    started.map_err(|error| Useless { back_end, error })
}

/// Shellys of every generation say who they are at `/shelly`; who does not may be Tasmota.
async fn recognise(transport: &impl Transport, channel: Option<usize>) -> Result<Meter, Useless> {
    if let Some(meter) = shelly::recognise(transport, channel).await? {
        return Ok(meter);
    }
    tasmota::recognise(transport).await
}

impl Useless {
    fn new(back_end: &'static str, trouble: Trouble) -> Self {
        Self { back_end, error: trouble.into() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::remote::fake::Fake;
    use super::*;

    /// What is discovered at one address.
    pub(in super::super) async fn discover_at(fake: Fake) -> Discovered {
        let mut discovered = Discovered::default();
        note(&mut discovered, find(fake, None).await);
        discovered
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_meter_is_not_used_and_the_reason_is_said() {
        let fake = Fake::new();
        let found = find(fake.clone(), None).await.err().unwrap();
        assert_eq!((found.back_end, matches!(found.error, SensorError::Nonsense(_))), (UNKNOWN, true));
        fake.silence("/shelly", Duration::from_secs(60));
        let discovered = discover_at(fake).await;
        let [Finding::Unusable { back_end, error: SensorError::Gone(_), remedy }] = &*discovered.findings else {
            panic!("{:?}", discovered.findings)
        };
        assert_eq!(*back_end, UNKNOWN);
        assert!(remedy.starts_with("Check that the meter is on"));
    }

    #[tokio::test]
    async fn addresses_that_are_none_are_findings_too_and_tell_no_password() {
        for wrong in ["ftp://admin:secret@meter/#1", "http://admin:secret@meter/#first"] {
            let discovered = discover(&[wrong.parse().unwrap()]).await;
            assert!(matches!(&*discovered.findings, [Finding::Unusable { error: SensorError::Nonsense(_), .. }]));
            assert!(!format!("{:?}", discovered.findings).contains("secret"));
            assert!(discovered.sensors.is_empty());
        }
    }
}
