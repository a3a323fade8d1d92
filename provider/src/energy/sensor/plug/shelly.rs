//! Shelly plugs, relays and energy meters.
//!
//! Sources: "Gen1 Device API" (`/shelly`, `/status`) and "Gen2+ Device API" (Switch, PM1, EM, EM1, EMData, EM1Data) at
//! shelly-api-docs.shelly.cloud.

use std::time::Duration;

use serde::Deserialize;

use super::{Meter, Transport, Trouble, Useless};
use crate::energy::sensor::remote::{Figure, ask, parse};
use crate::energy::sensor::{SensorError, Value, figure};

pub(super) const FIRST: &str = "shelly-gen1";
pub(super) const SECOND: &str = "shelly-gen2";

/// The firmware books energy by the minute: `counters` and `by_minute` hold the last three.
const RESOLUTION: Duration = Duration::from_secs(60);
/// A relay switches 16 A at up to 250 V.
const RELAY_MILLIWATTS: u64 = 4_000_000;
/// An energy meter has three clamps for 120 A at up to 250 V.
const CLAMPS_MILLIWATTS: u64 = 90_000_000;

/// The answer to `/shelly`, which needs no password. The first generation has a `type`, later ones a `gen`.
#[derive(Deserialize)]
struct About {
    r#gen: Option<u32>,
    r#type: Option<String>,
}

/// What Shelly stands there, if it is one. Without a channel it is the first relay, or all phases of an energy meter.
pub(super) async fn recognise(transport: &impl Transport, channel: Option<usize>) -> Result<Option<Meter>, Useless> {
    let about = match ask(transport, "/shelly").await {
        Ok(body) => parse::<About>(&body).ok(),
        Err(trouble @ Trouble::Silent(_)) => return Err(Useless::new(super::UNKNOWN, trouble)),
        Err(_) => None,
    };
    match about {
        Some(About { r#gen: Some(_), .. }) => second(transport, channel.unwrap_or_default()).await.map(Some),
        Some(About { r#type: Some(model), .. }) => Ok(Some(first(&model, channel))),
        _ => Ok(None),
    }
}

fn first(model: &str, channel: Option<usize>) -> Meter {
    let has_clamps = model.starts_with("SHEM");
    Meter {
        back_end: FIRST,
        path: "/status".to_owned(),
        figure: Box::new(move |body| status(body, channel)),
        resolution: RESOLUTION,
        most_milliwatts: if has_clamps { CLAMPS_MILLIWATTS } else { RELAY_MILLIWATTS },
    }
}

/// Totals of a relay's meters are in watt-minutes, those of an energy meter's clamps in watt-hours.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    meters: Vec<Total>,
    #[serde(default)]
    emeters: Vec<Total>,
}

#[derive(Deserialize)]
struct Total {
    total: Option<f64>,
    #[serde(default = "yes")]
    is_valid: bool,
}

fn yes() -> bool {
    true
}

fn status(body: &[u8], channel: Option<usize>) -> Result<Value, SensorError> {
    let Status { meters, emeters } = parse(body)?;
    let (totals, per_watt_hour) = if emeters.is_empty() { (&meters, 60.0) } else { (&emeters, 1.0) };
    let all = channel.is_none() && !emeters.is_empty();
    let chosen = if all { totals.as_slice() } else { std::slice::from_ref(nth(totals, channel.unwrap_or_default())?) };
    let mut sum = 0;
    for total in chosen {
        let count = total.total.filter(|_| total.is_valid);
        let count = count.ok_or_else(|| SensorError::Nonsense("a meter that shows no valid total".to_owned()))?;
        sum += figure::microjoules(count / per_watt_hour)?;
    }
    Ok(counter(sum))
}

fn nth(totals: &[Total], channel: usize) -> Result<&Total, SensorError> {
    totals.get(channel).ok_or_else(|| SensorError::Nonsense(format!("it has no meter {channel}")))
}

/// The total of one of the components that count energy, in watt-hours.
#[derive(Deserialize)]
struct Component {
    /// Of a switch or a power meter.
    aenergy: Option<Energy>,
    /// Of all phases.
    total_act: Option<f64>,
    /// Of a single phase.
    total_act_energy: Option<f64>,
}

#[derive(Deserialize)]
struct Energy {
    total: f64,
}

/// Asks for the components in turn: a device does not have most of them.
async fn second(transport: &impl Transport, channel: usize) -> Result<Meter, Useless> {
    const COMPONENTS: [(&str, u64); 4] = [
        ("Switch", RELAY_MILLIWATTS),
        ("PM1", RELAY_MILLIWATTS),
        ("EMData", CLAMPS_MILLIWATTS),
        ("EM1Data", CLAMPS_MILLIWATTS),
    ];
    for (component, most_milliwatts) in COMPONENTS {
        let path = format!("/rpc/{component}.GetStatus?id={channel}");
        match ask(transport, &path).await {
            Ok(body) if total(&body).is_ok() => {
                let figure: Figure = Box::new(total);
                return Ok(Meter { back_end: SECOND, path, figure, resolution: RESOLUTION, most_milliwatts });
            }
            Err(trouble @ (Trouble::Denied(_) | Trouble::Silent(_))) => return Err(Useless::new(SECOND, trouble)),
            Ok(_) | Err(_) => {}
        }
    }
    let error = SensorError::Nonsense(format!("no component {channel} of it counts energy"));
    Err(Useless { back_end: SECOND, error })
}

fn total(body: &[u8]) -> Result<Value, SensorError> {
    let Component { aenergy, total_act, total_act_energy } = parse(body)?;
    let watt_hours = aenergy.map(|energy| energy.total).or(total_act).or(total_act_energy);
    let watt_hours = watt_hours.ok_or_else(|| SensorError::Nonsense("a component that shows no energy".to_owned()))?;
    figure::microjoules(watt_hours).map(counter)
}

/// Totals begin anew only when somebody resets them.
fn counter(microjoules: u64) -> Value {
    Value::Counter { microjoules, wraps_after: None }
}

#[cfg(test)]
mod tests {
    use super::super::super::remote::fake::Fake;
    use super::*;

    const SWITCH: &str = r#"{"id":0,"source":"init","output":true,"apower":123.4,"voltage":231.3,"current":0.55,
        "aenergy":{"total":8629.125,"by_minute":[2056.3,2049.9,2061.0],"minute_ts":1760000040},"temperature":{"tC":44.3,"tF":111.7}}"#;
    const ABOUT: &str =
        r#"{"id":"shellyplusplugs-0123456789ab","mac":"0123456789AB","model":"SNPL-00112EU","gen":2,"auth_en":false}"#;

    fn microjoules(value: Result<Value, SensorError>) -> u64 {
        match value.unwrap() {
            Value::Counter { microjoules, wraps_after: None } => microjoules,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_generation_counts_watt_minutes_or_watt_hours() {
        let relays = r#"{"meters":[{"power":61.4,"is_valid":true,"timestamp":1760000000,"counters":[61.2,60.9,61.3],"total":120},
            {"power":0,"is_valid":true,"total":60}],"uptime":5}"#;
        assert_eq!(microjoules(status(relays.as_bytes(), None)), 7_200_000_000, "120 W·min are 2 Wh");
        assert_eq!(microjoules(status(relays.as_bytes(), Some(1))), 3_600_000_000);
        assert!(status(relays.as_bytes(), Some(2)).is_err());
        let clamps = r#"{"meters":[],"emeters":[{"power":10.66,"pf":1,"is_valid":true,"total":5.3,"total_returned":0},
            {"power":0,"is_valid":true,"total":0.7},{"power":0,"is_valid":true,"total":0}]}"#;
        assert_eq!(microjoules(status(clamps.as_bytes(), None)), 21_600_000_000);
        assert_eq!(microjoules(status(clamps.as_bytes(), Some(1))), 2_520_000_000);
        for wrong in [
            "{}",
            r#"{"meters":[{"power":0,"is_valid":true}]}"#,
            r#"{"meters":[{"total":5,"is_valid":false}]}"#,
            r#"{"meters":[{"total":-5}]}"#,
            r#"{"meters":[{"total":1e12}]}"#,
            r#"{"meters":[{"total":"5"}]}"#,
        ] {
            assert!(matches!(status(wrong.as_bytes(), None), Err(SensorError::Nonsense(_))), "{wrong}");
        }
    }

    #[test]
    fn later_generations_count_watt_hours() {
        assert_eq!(microjoules(total(SWITCH.as_bytes())), 31_064_850_000_000);
        assert_eq!(
            microjoules(total(br#"{"id":0,"a_total_act_energy":1,"total_act":11.5,"total_act_ret":0}"#)),
            41_400_000_000
        );
        assert_eq!(microjoules(total(br#"{"id":0,"total_act_energy":0.5,"total_act_ret_energy":0}"#)), 1_800_000_000);
        for wrong in ["{}", r#"{"aenergy":{}}"#, r#"{"aenergy":{"total":-1}}"#, r#"{"aenergy":{"total":null}}"#, "[]"] {
            assert!(matches!(total(wrong.as_bytes()), Err(SensorError::Nonsense(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_component_that_counts_is_found() {
        let fake = Fake::new();
        fake.json("/shelly", ABOUT);
        let nothing = recognise(&fake, None).await.err().unwrap();
        assert!(matches!(nothing.error, SensorError::Nonsense(_)));
        fake.json("/rpc/EMData.GetStatus?id=0", r#"{"id":0,"total_act":11.5}"#);
        fake.json("/rpc/Switch.GetStatus?id=0", r#"{"id":0,"output":true}"#);
        let meter = recognise(&fake, None).await.ok().unwrap().unwrap();
        assert_eq!((&*meter.path, meter.most_milliwatts), ("/rpc/EMData.GetStatus?id=0", CLAMPS_MILLIWATTS));
        fake.json("/rpc/Switch.GetStatus?id=1", SWITCH);
        let meter = recognise(&fake, Some(1)).await.ok().unwrap().unwrap();
        assert_eq!((&*meter.path, meter.most_milliwatts), ("/rpc/Switch.GetStatus?id=1", RELAY_MILLIWATTS));
        fake.json("/shelly", r#"{"type":"SHPLG-S","mac":"0123456789AB","auth":false,"num_meters":1}"#);
        assert_eq!(recognise(&fake, None).await.ok().unwrap().unwrap().back_end, FIRST);
        fake.json("/shelly", "{}");
        assert!(recognise(&fake, None).await.ok().unwrap().is_none());
    }
}
