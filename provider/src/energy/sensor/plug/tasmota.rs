//! Plugs with Tasmota's firmware.
//!
//! Source: "Commands" and "JSON Status Responses" at tasmota.github.io/docs: `Status 10` shows the sensors, which old
//! versions show as `Status 8`.

use std::time::Duration;

use serde::Deserialize;

use super::{Meter, Transport, Trouble, UNKNOWN, Useless};
use crate::energy::sensor::remote::{Figure, ask, parse};
use crate::energy::sensor::{SensorError, Value, figure};

pub(super) const NAME: &str = "tasmota";

/// The total has three decimals of a kilowatt-hour: 3600 J are 72 s at 50 W.
const RESOLUTION: Duration = Duration::from_secs(72);
/// Plugs are made for 16 A at up to 250 V.
const MOST_MILLIWATTS: u64 = 4_000_000;

/// Asks for the sensors in both ways.
pub(super) async fn recognise(transport: &impl Transport) -> Result<Meter, Useless> {
    let mut back_end = UNKNOWN;
    for path in ["/cm?cmnd=Status%2010", "/cm?cmnd=Status%208"] {
        match ask(transport, path).await {
            Ok(body) => match total(&body) {
                Err(error @ SensorError::Denied { .. }) => return Err(Useless { back_end: NAME, error }),
                Err(_) if is_status(&body) => back_end = NAME,
                Err(_) => {}
                Ok(_) => {
                    let (path, figure): (_, Figure) = (path.to_owned(), Box::new(total));
                    let (resolution, most_milliwatts) = (RESOLUTION, MOST_MILLIWATTS);
                    return Ok(Meter { back_end: NAME, path, figure, resolution, most_milliwatts });
                }
            },
            Err(trouble @ Trouble::Denied(_)) => return Err(Useless::new(NAME, trouble)),
            Err(trouble @ Trouble::Silent(_)) => return Err(Useless::new(UNKNOWN, trouble)),
            Err(_) => {}
        }
    }
    Err(Useless { back_end, error: SensorError::Nonsense("nothing that counts energy answers there".to_owned()) })
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "StatusSNS")]
    sensors: Option<Sensors>,
    /// Of versions before 6.
    #[serde(rename = "StatusPWR")]
    power: Option<Energy>,
    #[serde(rename = "WARNING")]
    warning: Option<String>,
}

#[derive(Deserialize)]
struct Sensors {
    #[serde(rename = "ENERGY")]
    energy: Option<Energy>,
}

#[derive(Deserialize)]
struct Energy {
    /// Kilowatt-hours.
    #[serde(rename = "Total")]
    total: f64,
}

fn is_status(body: &[u8]) -> bool {
    parse::<Status>(body).is_ok_and(|status| status.sensors.is_some())
}

fn total(body: &[u8]) -> Result<Value, SensorError> {
    let Status { sensors, power, warning } = parse(body)?;
    if warning.is_some() {
        // Old versions say so with status 200.
        return Err(SensorError::Denied { path: "/cm".into() });
    }
    let energy = sensors.and_then(|sensors| sensors.energy).or(power);
    let energy = energy.ok_or_else(|| SensorError::Nonsense("a device that does not monitor energy".to_owned()))?;
    let microjoules = figure::microjoules(energy.total * 1e3)?;
    Ok(Value::Counter { microjoules, wraps_after: None })
}

#[cfg(test)]
mod tests {
    use super::super::super::remote::fake::Fake;
    use super::*;

    const STATUS: &str = r#"{"StatusSNS":{"Time":"2026-10-04T12:00:00","ENERGY":{"TotalStartTime":"2024-01-01T00:00:00",
        "Total":35.269,"Yesterday":1.204,"Today":0.337,"Power":61,"ApparentPower":75,"Factor":0.81,"Voltage":235,"Current":0.319}}}"#;
    const NOTHING: &str = r#"{"StatusSNS":{"Time":"2026-10-04T12:00:00","Switch1":"OFF"}}"#;

    #[test]
    fn kilowatt_hours_are_read_from_new_and_old_versions() {
        let microjoules = |microjoules| Ok(Value::Counter { microjoules, wraps_after: None });
        assert_eq!(total(STATUS.as_bytes()), microjoules(126_968_400_000_000));
        assert_eq!(total(br#"{"StatusPWR":{"Total":0.520,"Power":27}}"#), microjoules(1_872_000_000_000));
        let asks = br#"{"WARNING":"Need user=<username>&password=<password>"}"#;
        assert!(matches!(total(asks), Err(SensorError::Denied { .. })));
        for wrong in [
            "{}",
            NOTHING,
            r#"{"Command":"Unknown"}"#,
            r#"{"StatusSNS":{"ENERGY":{"Total":-0.1}}}"#,
            r#"{"StatusSNS":{"ENERGY":{"Total":[1,2]}}}"#,
            r#"{"StatusSNS":{"ENERGY":{"Total":1e9}}}"#,
        ] {
            assert!(matches!(total(wrong.as_bytes()), Err(SensorError::Nonsense(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_question_that_is_understood_is_found() {
        let fake = Fake::new();
        fake.json("/cm?cmnd=Status%2010", NOTHING);
        let nothing = recognise(&fake).await.err().unwrap();
        assert_eq!((nothing.back_end, matches!(nothing.error, SensorError::Nonsense(_))), (NAME, true));
        fake.json("/cm?cmnd=Status%208", r#"{"StatusPWR":{"Total":0.520,"Power":27}}"#);
        assert_eq!(recognise(&fake).await.ok().unwrap().path, "/cm?cmnd=Status%208");
        fake.json("/cm?cmnd=Status%2010", STATUS);
        assert_eq!(recognise(&fake).await.ok().unwrap().path, "/cm?cmnd=Status%2010");
    }
}
