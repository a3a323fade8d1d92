//! How income is shared.

use axum::http::StatusCode;
use openapi::price::Split;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use super::administrators_only;
use crate::app::App;
use crate::auth::User;
use crate::body::Json;
use crate::error::Problem;
use crate::ledger::split::{self, SplitVersion};

/// A split to come.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSplit {
    /// In parts per million, which add up to a million.
    split: Split,
    /// From when it counts, as `2027-01-31T00:00:00Z`; the earliest time that the notice allows if not given.
    #[serde(default, with = "time::serde::rfc3339::option")]
    effective_from: Option<OffsetDateTime>,
}

/// A split, and where everybody finds it.
#[derive(Debug, Serialize, ToSchema)]
pub struct SplitView {
    #[serde(flatten)]
    split: SplitVersion,
    /// Its leaf in the log. Until there is one the split does not count.
    log_index: Option<u64>,
}

impl From<SplitVersion> for SplitView {
    fn from(split: SplitVersion) -> Self {
        Self { log_index: split.log_index, split }
    }
}

/// All splits.
#[derive(Debug, Serialize, ToSchema)]
pub struct SplitList {
    /// The version that counts now.
    in_force: i32,
    /// From when one that is added now can count.
    #[serde(with = "time::serde::rfc3339")]
    earliest: OffsetDateTime,
    /// The last to come first.
    data: Vec<SplitView>,
}

/// Sets how income is shared from a later time on: no earlier than the notice allows, during which everybody can read it in
/// the log. For administrators.
#[utoipa::path(post, path = "/api/splits", tag = "Ledger", security(("session" = [])), request_body = NewSplit,
    responses((status = 201, body = SplitView), Problem))]
pub async fn add(app: App, user: User, Json(new): Json<NewSplit>) -> Result<(StatusCode, Json<SplitView>), Problem> {
    administrators_only(&user)?;
    if !new.split.is_whole() {
        return Err(Problem::bad_request("The parts of a split add up to 1000000, parts per million."));
    }
    let from = begins(new.effective_from, OffsetDateTime::now_utc(), app.split_notice)?;
    let added = split::add(&app.database, new.split, from, user.id).await?;
    app.log.wake();
    Ok((StatusCode::CREATED, Json(added.into())))
}

/// From when a split is to count that was asked for now.
fn begins(asked: Option<OffsetDateTime>, now: OffsetDateTime, notice: Duration) -> Result<OffsetDateTime, Problem> {
    const MARGIN: Duration = Duration::MINUTE;
    let earliest = now + notice;
    match asked {
        Some(asked) if asked < earliest => {
            // Whoever takes the time that is named here takes a moment to do so.
            let named = (earliest + MARGIN).replace_nanosecond(0).unwrap_or(earliest);
            Err(Problem::bad_request(format!(
                "A split is announced {} hours before it counts: `effective_from` can be {} or later. Leave it out for the \
                 earliest time.",
                notice.whole_hours(),
                named.format(&Rfc3339).unwrap_or_default()
            )))
        }
        asked => Ok(asked.unwrap_or(earliest)),
    }
}

/// Lists how income was, is and will be shared.
#[utoipa::path(get, path = "/api/splits", tag = "Ledger", security(("session" = [])),
    responses((status = 200, body = SplitList), Problem))]
pub async fn list(app: App, _: User) -> Result<Json<SplitList>, Problem> {
    let splits = split::list(&mut *app.database.acquire().await?).await?;
    let now = OffsetDateTime::now_utc();
    let in_force = split::of(&splits, now).ok_or_else(Problem::internal)?.version;
    let data = splits.into_iter().map(SplitView::from).collect();
    Ok(Json(SplitList { in_force, earliest: now + app.split_notice, data }))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn nobody_s_share_changes_without_notice() {
        let now = datetime!(2027-01-01 12:00:00.25 UTC);
        let notice = Duration::hours(336);
        assert_eq!(begins(None, now, notice).unwrap(), datetime!(2027-01-15 12:00:00.25 UTC));
        assert_eq!(begins(Some(now + notice), now, notice).unwrap(), now + notice);
        let late = datetime!(2028-01-01 0:00 UTC);
        assert_eq!(begins(Some(late), now, notice).unwrap(), late);
        let early = begins(Some(now + notice - Duration::microseconds(1)), now, notice).unwrap_err();
        let early = serde_json::to_value(early).unwrap()["detail"].to_string();
        assert!(early.contains("336 hours") && early.contains("2027-01-15T12:01:00Z"), "{early}");
        let named = datetime!(2027-01-15 12:01 UTC);
        assert!(begins(Some(named), now + Duration::seconds(59), notice).is_ok(), "what is named is taken");
    }

    #[test]
    fn without_a_notice_the_past_is_refused_all_the_same() {
        let now = datetime!(2027-01-01 12:00 UTC);
        assert_eq!(begins(None, now, Duration::ZERO).unwrap(), now);
        assert!(begins(Some(now - Duration::SECOND), now, Duration::ZERO).is_err());
    }
}
