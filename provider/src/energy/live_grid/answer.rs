//! What each service answers.

use std::time::SystemTime;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

use super::{LiveError, Service};

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub mg_per_kwh: u64,
    /// In the words of [`openapi::grid::Source::basis`].
    pub basis: &'static str,
    /// None where the service does not say: now.
    pub at: Option<SystemTime>,
}

/// `GET /intensity`, <https://carbon-intensity.github.io/api-definitions/>.
#[derive(Deserialize)]
struct CarbonIntensity {
    data: Vec<HalfHour>,
}

#[derive(Deserialize)]
struct HalfHour {
    from: String,
    intensity: Intensity,
}

#[derive(Deserialize)]
struct Intensity {
    /// Estimated from what the power stations meter; missing until that is in.
    actual: Option<f64>,
    forecast: Option<f64>,
}

/// `GET /v3/carbon-intensity/latest`, <https://app.electricitymaps.com/developer-hub/api/reference>.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Latest {
    zone: String,
    carbon_intensity: f64,
    datetime: String,
    emission_factor_type: Option<FactorType>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FactorType {
    Lifecycle,
    Direct,
}

#[derive(Deserialize)]
struct Own {
    g_per_kwh: f64,
}

/// Reads an answer of this service.
pub(super) fn read(service: &Service, body: &[u8]) -> Result<Figure, LiveError> {
    let figure = match service {
        Service::CarbonIntensity => carbon_intensity(body),
        Service::ElectricityMaps { zone, .. } => {
            let latest = parse::<Latest>(body).ok_or(LiveError::Nonsense(service.source()))?;
            if latest.zone != *zone {
                return Err(LiveError::OtherZone(service.source()));
            }
            electricity_maps(&latest)
        }
        Service::Address(_) => parse::<Own>(body).and_then(|own| {
            let mg_per_kwh = milligrams(own.g_per_kwh)?;
            Some(Figure { mg_per_kwh, basis: "operator-claim", at: None })
        }),
    };
    figure.ok_or(LiveError::Nonsense(service.source()))
}

/// Carbon dioxide of generation, with that of imports.
fn carbon_intensity(body: &[u8]) -> Option<Figure> {
    let answer: CarbonIntensity = parse(body)?;
    let half_hour = answer.data.first()?;
    let grams = half_hour.intensity.actual.or(half_hour.intensity.forecast)?;
    let mg_per_kwh = milligrams(grams)?;
    Some(Figure { mg_per_kwh, basis: "direct-consumption-co2", at: Some(moment(&half_hour.from)?) })
}

fn electricity_maps(latest: &Latest) -> Option<Figure> {
    let basis = match latest.emission_factor_type {
        // What the service counts unless it is asked for the other.
        None | Some(FactorType::Lifecycle) => "lifecycle-consumption",
        Some(FactorType::Direct) => "direct-consumption",
    };
    Some(Figure { mg_per_kwh: milligrams(latest.carbon_intensity)?, basis, at: Some(moment(&latest.datetime)?) })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

fn milligrams(grams: f64) -> Option<u64> {
    let milligrams = (grams * 1e3).round();
    // A negative figure is none; one that is too high is refused with the zone's range.
    (milligrams >= 0.0).then_some(milligrams as u64)
}

fn moment(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Iso8601::DEFAULT).ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::SecretString;

    use super::*;

    fn maps() -> Service {
        Service::ElectricityMaps { zone: "DE".to_owned(), key: SecretString::from("key") }
    }

    fn own() -> Service {
        Service::Address(SecretString::from("http://localhost"))
    }

    fn seconds(figure: &Figure) -> u64 {
        figure.at.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    /// The example of the service's documentation.
    #[test]
    fn great_britain() {
        let body = br#"{"data":[{"from":"2018-01-20T12:00Z","to":"2018-01-20T12:30Z","intensity":{"forecast":266,"actual":263,"index":"moderate"}}]}"#;
        let figure = read(&Service::CarbonIntensity, body).unwrap();
        assert_eq!(
            (figure.mg_per_kwh, figure.basis, seconds(&figure)),
            (263_000, "direct-consumption-co2", 1_516_449_600)
        );
        let early = br#"{"data":[{"from":"2018-01-20T12:00Z","intensity":{"forecast":266,"actual":null}}]}"#;
        assert_eq!(read(&Service::CarbonIntensity, early).unwrap().mg_per_kwh, 266_000);
    }

    #[test]
    fn electricity_maps() {
        let body = br#"{"zone":"DE","carbonIntensity":302.5,"datetime":"2018-04-25T18:00:00.000Z","updatedAt":"2018-04-25T18:07:00.350Z","emissionFactorType":"lifecycle","isEstimated":true}"#;
        let figure = read(&maps(), body).unwrap();
        assert_eq!(
            (figure.mg_per_kwh, figure.basis, seconds(&figure)),
            (302_500, "lifecycle-consumption", 1_524_679_200)
        );
        let direct =
            br#"{"zone":"DE","carbonIntensity":1,"datetime":"2018-04-25T18:00:00Z","emissionFactorType":"direct"}"#;
        assert_eq!(read(&maps(), direct).unwrap().basis, "direct-consumption");
        let elsewhere = br#"{"zone":"PL","carbonIntensity":1,"datetime":"2018-04-25T18:00:00Z"}"#;
        assert_eq!(read(&maps(), elsewhere), Err(LiveError::OtherZone("electricity-maps-live")));
    }

    #[test]
    fn an_address_of_ones_own() {
        let figure = read(&own(), br#"{"g_per_kwh":123.4567,"more":1}"#).unwrap();
        assert_eq!(figure, Figure { mg_per_kwh: 123_457, basis: "operator-claim", at: None });
    }

    #[test]
    fn everything_else_is_not_understood() {
        let wrong = [
            (Service::CarbonIntensity, r#"{"data":[]}"#),
            (Service::CarbonIntensity, r#"{"data":[{"from":"2018-01-20T12:00Z","intensity":{}}]}"#),
            (Service::CarbonIntensity, r#"{"data":[{"from":"noon","intensity":{"actual":1}}]}"#),
            (maps(), r#"{"zone":"DE","carbonIntensity":null,"datetime":"2018-04-25T18:00:00Z"}"#),
            (
                maps(),
                r#"{"zone":"DE","carbonIntensity":1,"datetime":"2018-04-25T18:00:00Z","emissionFactorType":"marginal"}"#,
            ),
            (own(), r#"{"g_per_kwh":-1}"#),
            (own(), r#"{"g_per_kwh":"12"}"#),
            (own(), r#"{"g_per_kwh":1e999}"#),
            (own(), ""),
        ];
        for (service, body) in wrong {
            assert_eq!(read(&service, body.as_bytes()), Err(LiveError::Nonsense(service.source())), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(body in prop::collection::vec(any::<u8>(), 0..200), grams in any::<f64>()) {
            for service in [Service::CarbonIntensity, maps(), own()] {
                prop_assert!(read(&service, &body).is_err());
            }
            let figure = read(&own(), serde_json::json!({"g_per_kwh": grams}).to_string().as_bytes());
            prop_assert_eq!(figure.is_ok(), grams.is_finite() && (grams * 1e3).round() >= 0.0);
        }
    }
}
