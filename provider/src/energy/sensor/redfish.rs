//! Management controllers of servers, through Redfish.
//!
//! Sources: DMTF DSP0268 "Redfish Data Model Specification", schemas `Chassis`, `EnvironmentMetrics` (`EnergykWh`,
//! `PowerWatts`) and the older `Power` (`PowerControl`, of which the first entry is the whole chassis).

use std::time::Duration;

use openapi::energy::{Boundary, Tier};
use serde::Deserialize;
use url::{Host, Url};

use super::remote::{Figure, Http, Login, Polled, Source, Transport, Trouble, ask, parse};
use super::{Description, Discovered, Finding, Kind, Pool, Sensor, SensorError, Value, figure};

const NAME: &str = "redfish";
/// Controllers average over longer, and a gauge that is looked at less often shows nothing of what was between.
const EVERY: Duration = Duration::from_secs(5);
/// A hundredth of a kilowatt-hour at 50 W.
const ENERGY_RESOLUTION: Duration = Duration::from_secs(720);
/// A controller manages one machine; an enclosure's has some more.
const MOST_CHASSIS: usize = 16;

/// A management controller, and how to ask it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Such as `https://bmc.example`.
    pub url: Url,
    pub login: Option<Login>,
    /// The PEM text of its own certificate, if no public authority has signed it.
    pub certificate: Option<Vec<u8>>,
}

/// Asks every controller for the energy or the power of its first chassis that shows one.
pub(super) async fn discover(services: Vec<Service>) -> Discovered {
    let mut discovered = Discovered::default();
    for service in services {
        let found = match open(service) {
            Ok(http) => find(http).await,
            Err(reason) => Err(SensorError::Nonsense(reason)),
        };
        note(&mut discovered, found);
    }
    discovered
}

fn note(discovered: &mut Discovered, found: Result<Polled, SensorError>) {
    match found {
        Ok(polled) => {
            discovered.findings.push(Finding::Found(polled.description().clone()));
            discovered.sensors.push(Box::new(polled));
        }
        Err(error) => {
            let remedy = match error {
                SensorError::Denied { .. } => "Give the user and password of an account with the role ReadOnly.",
                SensorError::Gone(_) => {
                    "Check the controller's address, and give its certificate if no public authority has signed it."
                }
                SensorError::Nonsense(_) => "Give the HTTPS address of a controller with Redfish that measures power.",
            };
            discovered.findings.push(Finding::Unusable { back_end: NAME, error, remedy: remedy.to_owned() });
        }
    }
}

/// A password goes through TLS or stays on this machine.
fn open(service: Service) -> Result<Http, String> {
    let Service { url, login, certificate } = service;
    let has_secret = login.is_some() || url.password().is_some();
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if has_secret && url.scheme() != "https" && !is_here {
        return Err("a password is sent over HTTPS only".to_owned());
    }
    Http::new(url, login, certificate.as_deref())
}

#[derive(Deserialize)]
struct Collection {
    #[serde(rename = "Members")]
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    #[serde(rename = "@odata.id")]
    id: String,
}

/// A resource that shows what a chassis takes.
struct Shown {
    resource: &'static str,
    figure: fn(&[u8]) -> Result<Value, SensorError>,
    kind: Kind,
}

const SHOWN: [Shown; 3] = [
    Shown { resource: "EnvironmentMetrics", figure: energy, kind: Kind::Counter },
    Shown { resource: "EnvironmentMetrics", figure: power, kind: Kind::Gauge },
    Shown { resource: "Power", figure: consumed, kind: Kind::Gauge },
];

async fn find<T: Transport>(transport: T) -> Result<Polled, SensorError> {
    let Collection { members } = parse(&ask(&transport, "/redfish/v1/Chassis").await?)?;
    for member in members.iter().take(MOST_CHASSIS).filter(|member| is_chassis(&member.id)) {
        for Shown { resource, figure, kind } in SHOWN {
            let path = format!("{}/{resource}", member.id.trim_end_matches('/'));
            match ask(&transport, &path).await {
                Ok(body) if figure(&body).is_ok() => {
                    let description = describe(&format!("{}{path}", transport.address()), kind);
                    let figure: Figure = Box::new(figure);
                    return Polled::start(Source { transport, path, figure }, description, EVERY).await;
                }
                Err(trouble @ (Trouble::Denied(_) | Trouble::Silent(_))) => return Err(trouble.into()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    Err(SensorError::Nonsense("no chassis shows what it takes".to_owned()))
}

/// The controller names its chassis, and may name only those.
fn is_chassis(path: &str) -> bool {
    let id = path.strip_prefix("/redfish/v1/Chassis/").map(|id| id.trim_end_matches('/'));
    let is_plain = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte));
    id.is_some_and(|id| (1..=128).contains(&id.len()) && is_plain(id) && !id.starts_with('.'))
}

fn describe(place: &str, kind: Kind) -> Description {
    let (tier, resolution) = match kind {
        Kind::Counter => (Tier::A, ENERGY_RESOLUTION),
        Kind::Gauge | Kind::Estimate => (Tier::D, EVERY),
    };
    Description {
        name: format!("{NAME}:{place}"),
        back_end: NAME,
        pool: Pool::Wall,
        kind,
        boundary: Boundary::Wall,
        tier,
        resolution,
        most_milliwatts: None,
    }
}

#[derive(Deserialize)]
struct EnvironmentMetrics {
    #[serde(rename = "EnergykWh")]
    energy: Option<Excerpt>,
    #[serde(rename = "PowerWatts")]
    power: Option<Excerpt>,
}

#[derive(Deserialize)]
struct Excerpt {
    #[serde(rename = "Reading")]
    reading: Option<f64>,
}

/// Kilowatt-hours. Controllers that do not count show null or zero.
fn energy(body: &[u8]) -> Result<Value, SensorError> {
    let EnvironmentMetrics { energy, .. } = parse(body)?;
    let kilowatt_hours = energy.and_then(|energy| energy.reading).filter(|count| *count != 0.0);
    let microjoules = figure::microjoules(kilowatt_hours.ok_or_else(nothing)? * 1e3)?;
    Ok(Value::Counter { microjoules, wraps_after: None })
}

fn power(body: &[u8]) -> Result<Value, SensorError> {
    let EnvironmentMetrics { power, .. } = parse(body)?;
    gauge(power.and_then(|power| power.reading))
}

#[derive(Deserialize)]
struct Power {
    #[serde(rename = "PowerControl")]
    controls: Vec<Control>,
}

#[derive(Deserialize)]
struct Control {
    #[serde(rename = "PowerConsumedWatts")]
    watts: Option<f64>,
}

fn consumed(body: &[u8]) -> Result<Value, SensorError> {
    let Power { controls } = parse(body)?;
    gauge(controls.first().and_then(|whole| whole.watts))
}

fn gauge(watts: Option<f64>) -> Result<Value, SensorError> {
    Ok(Value::Gauge { milliwatts: figure::milliwatts(watts.ok_or_else(nothing)?)? })
}

fn nothing() -> SensorError {
    SensorError::Nonsense("a chassis that shows no figure".to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::remote::fake::Fake;
    use super::*;

    /// What is discovered at one controller.
    pub(in super::super) async fn discover_at(fake: Fake) -> Discovered {
        let mut discovered = Discovered::default();
        note(&mut discovered, find(fake).await);
        discovered
    }

    const CHASSIS: &str = r##"{"@odata.id":"/redfish/v1/Chassis","Members@odata.count":4,"Members":[
        {"@odata.id":"/redfish/v1/Chassis/../../admin"},{"@odata.id":"/redfish/v1/Chassis/%2e%2e"},{"@odata.id":"/redfish/v1/Chassis/Enclosure.Internal.0-1"},
        {"@odata.id":"/redfish/v1/Chassis/System.Embedded.1/"}]}"##;
    const POWER: &str = r#"{"PowerControl":[{"Name":"System Power Control","PowerConsumedWatts":412,"PowerCapacityWatts":1100},
        {"Name":"CPU Sub-system Power","PowerConsumedWatts":150}]}"#;

    #[tokio::test]
    async fn the_best_figure_of_a_controller_is_found() {
        let fake = Fake::new();
        assert!(find(fake.clone()).await.is_err());
        fake.json("/redfish/v1/Chassis", CHASSIS);
        fake.json("/redfish/v1/Chassis/../../admin/Power", POWER);
        fake.json("/redfish/v1/Chassis/%2e%2e/Power", POWER);
        assert!(matches!(find(fake.clone()).await, Err(SensorError::Nonsense(_))), "no chassis outside the collection");
        fake.json("/redfish/v1/Chassis/System.Embedded.1/Power", POWER);
        let mut polled = find(fake.clone()).await.unwrap();
        assert_eq!(polled.read().unwrap().value, Value::Gauge { milliwatts: 412_000 });
        assert_eq!((polled.description().kind, polled.description().tier), (Kind::Gauge, Tier::D));
        let metrics = "/redfish/v1/Chassis/System.Embedded.1/EnvironmentMetrics";
        fake.json(metrics, r#"{"PowerWatts":{"Reading":398.5},"EnergykWh":{"Reading":0}}"#);
        let reading = find(fake.clone()).await.unwrap().read().unwrap();
        assert_eq!(reading.value, Value::Gauge { milliwatts: 398_500 });
        fake.json(metrics, r#"{"PowerWatts":{"Reading":398.5},"EnergykWh":{"Reading":1.25}}"#);
        let mut polled = find(fake).await.unwrap();
        let counter = Value::Counter { microjoules: 4_500_000_000_000, wraps_after: None };
        assert_eq!((polled.read().unwrap().value, polled.description().tier), (counter, Tier::A));
        assert_eq!(polled.description().name, format!("redfish:meter{metrics}"));
    }

    #[test]
    fn what_is_no_figure_is_nonsense() {
        for wrong in [
            "{}",
            "[]",
            r#"{"EnergykWh":{"Reading":-1},"PowerWatts":{"Reading":-1}}"#,
            r#"{"PowerWatts":{"Reading":null}}"#,
        ] {
            assert!(matches!(energy(wrong.as_bytes()), Err(SensorError::Nonsense(_))), "{wrong}");
            assert!(matches!(power(wrong.as_bytes()), Err(SensorError::Nonsense(_))), "{wrong}");
        }
        for wrong in ["{}", r#"{"PowerControl":[]}"#, r#"{"PowerControl":[{"PowerConsumedWatts":2000000}]}"#] {
            assert!(matches!(consumed(wrong.as_bytes()), Err(SensorError::Nonsense(_))), "{wrong}");
        }
    }

    #[test]
    fn a_password_goes_through_tls_only() {
        let service = |url: &str, with_login: bool| {
            let login = with_login.then(|| Login { user: "root".to_owned(), password: "calvin".to_owned().into() });
            Service { url: url.parse().unwrap(), login, certificate: None }
        };
        for wrong in [service("http://10.0.0.5", true), service("http://root:calvin@10.0.0.5", false)] {
            assert!(open(wrong).is_err());
        }
        for right in ["https://10.0.0.5", "http://127.0.0.1:8080", "http://localhost", "http://[::1]"] {
            assert!(open(service(right, true)).is_ok(), "{right}");
        }
        assert!(open(service("http://10.0.0.5", false)).is_ok());
        assert!(!format!("{:?}", service("https://10.0.0.5", true)).contains("calvin"));
    }
}
