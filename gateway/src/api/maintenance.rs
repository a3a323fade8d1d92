//! Times of maintenance of a node, in which it gets no new work.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use uuid::Uuid;

use super::nodes::reach;
use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path};
use crate::error::Problem;
use crate::nodes::operate::{self, MOST_WINDOWS, Planned, Window};

/// Maintenance ends within this time from now.
const FARTHEST: Duration = Duration::days(366);

/// A time to come, or one that goes on.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWindow {
    /// When it begins, as `2027-01-31T00:00:00Z`.
    #[serde(with = "time::serde::rfc3339")]
    from: OffsetDateTime,
    /// When it is over: at most a year from now.
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
}

/// A time in which the node gets no new work.
#[derive(Serialize, ToSchema)]
pub struct MaintenanceWindow {
    id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
}

/// All that are not over, the earliest first.
#[derive(Serialize, ToSchema)]
pub struct MaintenanceList {
    data: Vec<MaintenanceWindow>,
}

impl From<Window> for MaintenanceWindow {
    fn from(Window { id, from, until }: Window) -> Self {
        Self { id, from, until }
    }
}

/// Plans maintenance of a node: it gets no new work then, and answers that run when it begins go on.
#[utoipa::path(post, path = "/api/nodes/{id}/maintenance", tag = "Nodes", security(("session" = [])),
    params(("id" = Uuid, Path)), request_body = NewWindow,
    responses((status = 201, body = MaintenanceWindow), (status = 409, description = "There are too many already"), Problem))]
pub async fn plan(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Json(new): Json<NewWindow>,
) -> Result<(StatusCode, Json<MaintenanceWindow>), Problem> {
    let times = checked(new, OffsetDateTime::now_utc())?;
    let window = match operate::plan(&app.database, reach(&user), id, times).await? {
        Planned::Window(window) => window,
        Planned::NoNode => return Err(Problem::not_found("node")),
        Planned::TooMany => {
            let advice = format!("A node has at most {MOST_WINDOWS} times of maintenance ahead. Call one off first.");
            return Err(Problem::of(StatusCode::CONFLICT, advice));
        }
    };
    app.nodes.register(&app.database, Some(id)).await?;
    Ok((StatusCode::CREATED, Json(window.into())))
}

/// Lists the maintenance of a node that goes on or is to come.
#[utoipa::path(get, path = "/api/nodes/{id}/maintenance", tag = "Nodes", security(("session" = [])),
    params(("id" = Uuid, Path)), responses((status = 200, body = MaintenanceList), Problem))]
pub async fn list(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<MaintenanceList>, Problem> {
    let windows = operate::windows(&app.database, reach(&user), id).await?.ok_or_else(|| Problem::not_found("node"))?;
    Ok(Json(MaintenanceList { data: windows.into_iter().map(MaintenanceWindow::from).collect() }))
}

/// Calls maintenance off; if it goes on, it is over.
#[utoipa::path(delete, path = "/api/nodes/{id}/maintenance/{window}", tag = "Nodes", security(("session" = [])),
    params(("id" = Uuid, Path), ("window" = Uuid, Path)), responses((status = 204), Problem))]
pub async fn call_off(app: App, user: User, Path((id, window)): Path<(Uuid, Uuid)>) -> Result<StatusCode, Problem> {
    if !operate::call_off(&app.database, reach(&user), id, window).await? {
        return Err(Problem::not_found("maintenance"));
    }
    app.nodes.register(&app.database, Some(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn checked(
    NewWindow { from, until }: NewWindow,
    now: OffsetDateTime,
) -> Result<(OffsetDateTime, OffsetDateTime), Problem> {
    if until <= from {
        Err(Problem::bad_request("`until` comes after `from`."))
    } else if until <= now {
        Err(Problem::bad_request("This time is past. Give one that goes on or is to come."))
    } else if until - now > FARTHEST {
        Err(Problem::bad_request(
            "Maintenance is planned for at most a year from now. To stop for longer, pause the node.",
        ))
    } else {
        Ok((from, until))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_lies_ahead_at_least_with_its_end_and_at_most_a_year() {
        let now = OffsetDateTime::now_utc();
        let check =
            |from: Duration, until: Duration| checked(NewWindow { from: now + from, until: now + until }, now).is_ok();
        let (hour, day) = (Duration::hours(1), Duration::days(1));
        assert!(check(hour, day) && check(-hour, hour) && check(Duration::ZERO, FARTHEST));
        assert!(!check(day, hour) && !check(hour, hour), "the wrong way round, and no time at all");
        assert!(!check(-day, -hour) && !check(-day, Duration::ZERO), "past");
        assert!(!check(hour, FARTHEST + Duration::SECOND), "too far");
    }

    #[test]
    fn times_are_read_as_rfc_3339_says() {
        let read = |body: serde_json::Value| serde_json::from_value::<NewWindow>(body);
        let good = read(json!({"from": "2027-01-31T00:00:00Z", "until": "2027-01-31T04:00:00+02:00"})).unwrap();
        assert_eq!(good.until - good.from, Duration::hours(2));
        for wrong in [
            json!({"from": "2027-01-31T00:00:00Z"}),
            json!({"from": "tomorrow", "until": "later"}),
            json!({"from": "2027-01-31T00:00:00Z", "until": "2027-02-01T00:00:00Z", "why": "disk"}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
