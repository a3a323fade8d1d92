//! Why no work arrives, in sentences that say what the operator can do. Pure.

use openapi::region::Region;

use super::copies;
use super::preference::Exclusion;
use super::skip::Skip;

/// A reason counts for something from this part of all requests on, in thousandths.
const NOTABLE_MILLI: u64 = 50;
/// An operator reads so many sentences.
const MOST: usize = 4;

/// What there is to know.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    pub(super) connected: bool,
    /// Two machines have its key.
    pub(super) copied_key: bool,
    pub(super) paused: bool,
    /// The end of the maintenance that goes on.
    pub(super) maintenance_until: Option<String>,
    pub(super) region: Option<Region>,
    /// Requests that it got.
    pub(super) chosen: u64,
    /// Why it did not get others, and how often.
    pub(super) skipped: Vec<(Skip, u64)>,
}

/// What to do, the most effective first. Empty when all is well.
pub(super) fn advice(situation: &Situation) -> Vec<String> {
    let mut advice = standstill(situation);
    let all = situation.skipped.iter().fold(situation.chosen, |sum, (_, count)| sum.saturating_add(*count));
    if advice.is_empty() && all == 0 {
        advice.push("No request for this node's models has come yet: there is nothing to do but wait.".to_owned());
    }
    let mut reasons = situation.skipped.clone();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let notable = |count: u64| count.saturating_mul(1_000) >= all.saturating_mul(NOTABLE_MILLI);
    let notable = reasons.into_iter().filter(|(_, count)| notable(*count));
    advice.extend(notable.filter_map(|(skip, _)| sentence(skip, situation)).take(MOST));
    if situation.copied_key {
        advice
            .insert(0, format!("Two machines use this node's key, and only one of them gets work. {}", copies::ADVICE));
    }
    advice
}

/// What keeps every request away.
fn standstill(situation: &Situation) -> Vec<String> {
    let mut reasons = Vec::new();
    if situation.paused {
        reasons.push("The node is paused: resume it with PATCH /api/nodes/{id} and {\"paused\": false}.".to_owned());
    }
    if let Some(until) = &situation.maintenance_until {
        reasons.push(format!(
            "Maintenance goes on until {until}: call it off with DELETE /api/nodes/{{id}}/maintenance/{{window}} if it is over."
        ));
    }
    if !situation.connected {
        reasons.push(
            "The node is not connected: start it with `commonwatt-node serve`, and read in its log why it does not stay."
                .to_owned(),
        );
    }
    reasons
}

/// What to do about one reason. None where nothing is to be said: it is said already, or all is as it should be.
fn sentence(skip: Skip, situation: &Situation) -> Option<String> {
    let sentence = match skip {
        Skip::Paused => return None,
        Skip::Unreachable => {
            "Its connection was lost, or it was stopping: read its log, and see whether its network stays up."
        }
        Skip::Tried => "It failed requests, which others then answered: read its log for errors.",
        Skip::AboveHold => "Your price is more than twice what is usual for this model: lower it.",
        Skip::CannotGoOn => {
            "Requests had begun on nodes with other weights or another version of the program: use the newest version."
        }
        Skip::Resting => "It rests after failures, each time for longer: read its log for errors.",
        Skip::Full => "All its slots were taken: work arrives. If the machine has room, raise COMMONWATT_SLOTS.",
        Skip::Outdone if situation.chosen > 0 => return None,
        Skip::Outdone => {
            "It would have done, and others were better each time: cheaper, faster, less busy or lower in energy. A lower \
             price brings work first."
        }
        Skip::Preference(exclusion) => return Some(unwanted(exclusion, situation.region.as_ref())),
    };
    Some(sentence.to_owned())
}

/// What to do when requests ask for something else.
fn unwanted(exclusion: Exclusion, region: Option<&Region>) -> String {
    let sentence = match (exclusion, region) {
        (Exclusion::NotNamed | Exclusion::NotInOrder, _) => {
            "Requests name the nodes that they want, and yours is not among them."
        }
        (Exclusion::Ignored, _) => "Requests name your node as one that they don't want.",
        (Exclusion::Partner, _) => {
            "Requests were not to leave the gateway, or came from one: its own nodes answer these, and a partner does not."
        }
        (Exclusion::WrongRegion, None) => "Requests asked for a region and your node has none: set COMMONWATT_REGION.",
        (Exclusion::WrongRegion, Some(region)) => {
            return format!("Requests asked for other regions than {region}, where your node says it is.");
        }
        (Exclusion::CollectsData, _) => {
            "Requests asked that nothing of them be kept: if that is true of your machine, set COMMONWATT_DATA_COLLECTION=deny."
        }
        (Exclusion::WrongQuantisation, _) => {
            "Requests asked for other quantisations than that of your weights: another model would have to be served."
        }
        (Exclusion::TooDear, _) => "Your price is above what requests allow with `max_price`: lower it.",
        (Exclusion::LacksParameters, _) => {
            "Requests had parameters that your node does not support: use the newest version of the program."
        }
        (Exclusion::TierTooLow, _) => {
            "Requests asked for energy that is measured better: `commonwatt-node doctor` says what would measure it here."
        }
        (Exclusion::TooMuchCarbon, _) => {
            "Requests allowed less carbon than your node stands for: set COMMONWATT_ZONE if it is not set, since what is not \
             known counts as much."
        }
    };
    sentence.to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn situation(chosen: u64, skipped: &[(Skip, u64)]) -> Situation {
        Situation {
            connected: true,
            copied_key: false,
            paused: false,
            maintenance_until: None,
            region: None,
            chosen,
            skipped: skipped.to_vec(),
        }
    }

    #[test]
    fn the_commonest_reason_comes_first_and_rare_ones_not_at_all() {
        let told = advice(&situation(10, &[(Skip::Full, 30), (Skip::AboveHold, 900), (Skip::Resting, 60)]));
        assert_eq!(told.len(), 2, "30 of 1000 is no reason: {told:?}");
        assert_eq!(told[0], "Your price is more than twice what is usual for this model: lower it.");
        assert!(told[1].starts_with("It rests after failures"));
    }

    #[test]
    fn what_keeps_every_request_away_comes_before_all_counts() {
        let mut now = situation(0, &[(Skip::Paused, 1_000), (Skip::Full, 500)]);
        now.paused = true;
        now.connected = false;
        now.maintenance_until = Some("2027-01-31T00:00:00Z".to_owned());
        let told = advice(&now);
        assert!(
            told[0].starts_with("The node is paused") && told[1].contains("until 2027-01-31T00:00:00Z"),
            "{told:?}"
        );
        assert!(told[2].starts_with("The node is not connected") && told[3].starts_with("All its slots"), "{told:?}");
        assert_eq!(told.len(), 4, "paused is said once");
        now.copied_key = true;
        assert!(advice(&now)[0].starts_with("Two machines use this node's key"), "money may go to a thief");
    }

    #[test]
    fn a_region_that_is_set_is_not_asked_for() {
        let wrong = [(Skip::Preference(Exclusion::WrongRegion), 1)];
        let mut now = situation(0, &wrong);
        assert_eq!(advice(&now), ["Requests asked for a region and your node has none: set COMMONWATT_REGION."]);
        now.region = Some("DE".parse().unwrap());
        assert_eq!(advice(&now), ["Requests asked for other regions than DE, where your node says it is."]);
    }

    #[test]
    fn a_node_that_works_is_left_alone() {
        assert_eq!(advice(&situation(10, &[(Skip::Outdone, 1_000)])), Vec::<String>::new());
        assert_eq!(advice(&situation(0, &[(Skip::Outdone, 1_000)])).len(), 1, "but not one that never works");
        assert_eq!(advice(&situation(3, &[])), Vec::<String>::new());
        assert!(advice(&situation(0, &[]))[0].starts_with("No request"));
    }

    #[test]
    fn every_reason_but_a_pause_has_something_to_say() {
        let told: BTreeSet<String> = Skip::all().flat_map(|skip| advice(&situation(0, &[(skip, u64::MAX)]))).collect();
        // All but `paused`; that a request names others is one sentence for two reasons.
        assert_eq!(told.len(), Skip::all().count() - 2);
        assert!(told.iter().all(|sentence| sentence.ends_with('.') && !sentence.contains("  ")), "{told:?}");
        let many: Vec<(Skip, u64)> = Skip::all().map(|skip| (skip, 5)).collect();
        assert_eq!(advice(&situation(0, &many)).len(), MOST);
    }
}
