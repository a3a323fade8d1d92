//! Which requests are meant: the span of time, and what else narrows them down.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::error::Problem;
use crate::inference::record::Outcome;

/// Only requests with one of these; an empty list takes all.
#[derive(Debug, Default)]
pub struct Filters {
    pub keys: Vec<Uuid>,
    pub users: Vec<Uuid>,
    pub models: Vec<String>,
    pub nodes: Vec<Uuid>,
    pub outcomes: Vec<String>,
}

impl Filters {
    /// True when they take all.
    pub fn is_empty(&self) -> bool {
        let ids = [&self.keys, &self.users, &self.nodes];
        ids.into_iter().all(Vec::is_empty) && self.models.is_empty() && self.outcomes.is_empty()
    }

    /// At most one of each.
    pub fn one(
        key: Option<Uuid>,
        user: Option<Uuid>,
        model: Option<&str>,
        node: Option<Uuid>,
        outcome: Option<Outcome>,
    ) -> Self {
        Self {
            keys: key.into_iter().collect(),
            users: user.into_iter().collect(),
            models: model.map(without_nul).into_iter().collect(),
            nodes: node.into_iter().collect(),
            outcomes: outcome.map(|outcome| outcome.word().to_owned()).into_iter().collect(),
        }
    }
}

/// Postgres takes no NUL in a text. No model's name has one, so what stands in its place finds nothing either.
pub fn without_nul(model: &str) -> String {
    model.replace('\0', "\u{fffd}")
}

/// From when until when, the end exclusive: until now if no end is given, and for `usual` if no beginning is.
///
/// # Errors
/// When it would end before it begins.
pub fn span(
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
    usual: Duration,
) -> Result<(OffsetDateTime, OffsetDateTime), Problem> {
    let to = to.unwrap_or_else(OffsetDateTime::now_utc);
    let from = from.unwrap_or_else(|| to.saturating_sub(usual));
    if from >= to {
        return Err(Problem::bad_request("`from` lies before `to`."));
    }
    Ok((since_epoch(from), since_epoch(to)))
}

/// When the request of an id came, to the millisecond.
pub fn began(id: Uuid) -> OffsetDateTime {
    let milliseconds = i128::from(u64::try_from(id.as_u128() >> 80).unwrap_or_default());
    OffsetDateTime::from_unix_timestamp_nanos(milliseconds * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The time of an id begins in 1970.
pub fn since_epoch(at: OffsetDateTime) -> OffsetDateTime {
    at.max(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_words_are_those_of_the_wire() {
        for outcome in [Outcome::Completed, Outcome::CutShort, Outcome::ClientLeft, Outcome::GatewayFailed] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.word());
        }
    }

    #[test]
    fn a_span_has_a_usual_length_and_a_direction() {
        let (early, late) = (datetime!(2026-01-01 0:00 UTC), datetime!(2026-01-08 0:00 UTC));
        assert_eq!(span(None, Some(late), Duration::days(7)).unwrap(), (early, late));
        assert!(span(Some(late), Some(early), Duration::days(7)).is_err());
        assert!(span(Some(late), Some(late), Duration::days(7)).is_err());
        let ancient = datetime!(0000-01-01 0:00 UTC);
        assert_eq!(span(Some(ancient), Some(late), Duration::days(7)).unwrap().0, OffsetDateTime::UNIX_EPOCH);
    }
}
