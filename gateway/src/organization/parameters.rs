//! What is asked, read from the query. Lists come as `name=a&name=b` or, from OpenAI's SDKs, as `name[]=a&name[]=b`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use openapi::error::{ApiError, echo};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::usage::filters::without_nul;
use crate::api::usage::sums::Bucket;

/// The last second of a year with four digits.
const END_OF_TIME: i64 = 253_402_300_799;

/// Which of the two is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Usage,
    Costs,
}

impl Kind {
    const fn groups(self) -> &'static [&'static str] {
        match self {
            Self::Usage => &["project_id", "user_id", "api_key_id", "model", "batch", "service_tier"],
            Self::Costs => &["project_id", "line_item", "api_key_id"],
        }
    }

    const fn widths(self) -> &'static str {
        match self {
            Self::Usage => "'1m', '1h' or '1d'",
            Self::Costs => "'1d'",
        }
    }

    /// Buckets in a reply: the usual number and the most.
    const fn limits(self, width: Width) -> (usize, usize) {
        match (self, width) {
            (Self::Costs, _) => (7, 180),
            (Self::Usage, Width::Day) => (7, 31),
            (Self::Usage, Width::Hour) => (24, 168),
            (Self::Usage, Width::Minute) => (60, 1440),
        }
    }
}

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
pub(super) enum Width {
    #[schema(rename = "1m")]
    Minute,
    #[schema(rename = "1h")]
    Hour,
    #[schema(rename = "1d")]
    Day,
}

impl Width {
    fn read(kind: Kind, word: &str) -> Option<Self> {
        match (kind, word) {
            (_, "1d") => Some(Self::Day),
            (Kind::Usage, "1h") => Some(Self::Hour),
            (Kind::Usage, "1m") => Some(Self::Minute),
            _ => None,
        }
    }

    const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// The same for the sums.
    pub(super) const fn bucket(self) -> Bucket {
        match self {
            Self::Minute => Bucket::Minute,
            Self::Hour => Bucket::Hour,
            Self::Day => Bucket::Day,
        }
    }

    /// When the bucket of this second begins: buckets keep to UTC's borders.
    pub(super) const fn border_before(self, second: i64) -> i64 {
        second - second.rem_euclid(self.seconds())
    }
}

/// What tells the results of a bucket apart.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeSet<String>);

impl Groups {
    /// True when grouped by this.
    pub(super) fn has(&self, word: &str) -> bool {
        self.0.contains(word)
    }
}

/// What is asked.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Beginning in Unix seconds, inclusive.
    start_time: i64,
    /// End in Unix seconds, exclusive; now if not given.
    end_time: Option<i64>,
    /// `1m`, `1h` or `1d`, for costs `1d` alone; `1d` if not given.
    #[param(inline, value_type = Option<Width>)]
    pub(super) bucket_width: Width,
    /// Only these projects: the account is one.
    #[param(value_type = Option<Vec<String>>)]
    project_ids: Vec<String>,
    /// Only keys that these users made.
    #[param(value_type = Option<Vec<Uuid>>)]
    pub(super) user_ids: Vec<Uuid>,
    /// Only these keys.
    #[param(value_type = Option<Vec<Uuid>>)]
    pub(super) api_key_ids: Vec<Uuid>,
    /// Only these models.
    #[param(value_type = Option<Vec<String>>)]
    pub(super) models: Vec<String>,
    /// `true`: only batch jobs, of which there are none.
    batch: Option<bool>,
    /// For usage `project_id`, `user_id`, `api_key_id`, `model`, `batch`, `service_tier`; for costs `project_id`,
    /// `line_item`, `api_key_id`.
    #[param(value_type = Option<Vec<String>>)]
    pub(super) group_by: Groups,
    /// Buckets in the reply. By the day 7 if not given and at most 31, for costs 180; by the hour 24 and 168; by the
    /// minute 60 and 1440.
    #[param(value_type = Option<u32>)]
    limit: usize,
    /// The `next_page` of the page before.
    #[param(value_type = Option<String>)]
    page: Option<i64>,
}

impl Asked {
    /// Reads the query.
    ///
    /// # Errors
    /// When a parameter is missing, unknown or wrong.
    pub(super) fn read(kind: Kind, uri: &Uri) -> Result<Self, ApiError> {
        let mut given = Given::read(uri)?;
        let start_time = given.second("start_time")?.ok_or_else(|| ApiError::missing("start_time"))?;
        let end_time = given.second("end_time")?;
        if end_time.is_some_and(|end| end <= start_time) {
            return Err(ApiError::invalid("'end_time' lies behind 'start_time'.").with_param("end_time"));
        }
        let width = given.one("bucket_width")?.unwrap_or_else(|| "1d".to_owned());
        let bucket_width = Width::read(kind, &width).ok_or_else(|| wrong("bucket_width", kind.widths()))?;
        let (usual, most) = kind.limits(bucket_width);
        let limit = given.parsed("limit", "a number")?.unwrap_or(usual);
        if !(1..=most).contains(&limit) {
            return Err(wrong("limit", &format!("a number between 1 and {most}")));
        }
        let page = given.one("page")?.map(|text| page(&text, bucket_width, start_time)).transpose()?;
        let group_by: BTreeSet<String> = given.many("group_by").into_iter().collect();
        if group_by.iter().any(|word| !kind.groups().contains(&word.as_str())) {
            return Err(wrong("group_by", &format!("a list of {}", kind.groups().join(", "))));
        }
        let asked = Self {
            start_time,
            end_time,
            bucket_width,
            project_ids: given.many("project_ids"),
            user_ids: given.ids("user_ids")?,
            api_key_ids: given.ids("api_key_ids")?,
            models: given.many("models").iter().map(|model| without_nul(model)).collect(),
            batch: given.parsed("batch", "'true' or 'false'")?,
            group_by: Groups(group_by),
            limit,
            page,
        };
        given.nothing_left()?;
        Ok(asked)
    }

    /// False when no request can be meant.
    pub(super) fn may_find(&self, account: Uuid) -> bool {
        let ours = |project: &String| Uuid::parse_str(project).is_ok_and(|project| project == account);
        self.batch != Some(true) && (self.project_ids.is_empty() || self.project_ids.iter().any(ours))
    }

    /// Beginning and end of each bucket of this page, and what to give as `page` for the next one. The first bucket
    /// begins with the span and the last one ends with it, if it has an end.
    pub(super) fn buckets(&self, now: i64) -> (Vec<(i64, i64)>, Option<String>) {
        let (mut start, end) = (self.page.unwrap_or(self.start_time), self.end_time.unwrap_or(now));
        let mut buckets = Vec::new();
        while start < end && buckets.len() < self.limit {
            let border = self.bucket_width.border_before(start) + self.bucket_width.seconds();
            buckets.push((start, border.min(self.end_time.unwrap_or(border))));
            start = border;
        }
        (buckets, (start < end).then(|| format!("page_{start}")))
    }
}

fn page(text: &str, width: Width, start_time: i64) -> Result<i64, ApiError> {
    let start = text.strip_prefix("page_").and_then(|second| second.parse().ok());
    let start =
        start.filter(|start| (start_time..=END_OF_TIME).contains(start) && width.border_before(*start) == *start);
    start.ok_or_else(|| wrong("page", "the 'next_page' of a page of this very query"))
}

/// Parameters by name, taken out as they are read.
struct Given(BTreeMap<String, Vec<String>>);

impl Given {
    fn read(uri: &Uri) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| ApiError::invalid("The query can't be read. Is it URL-encoded?"))?;
        let mut given = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in pairs.0 {
            let name = name.split_once('[').filter(|(_, rest)| rest.ends_with(']')).map_or(&*name, |(name, _)| name);
            // SDKs and dashboards send what they leave open as an empty text.
            if !value.is_empty() {
                given.entry(name.to_owned()).or_default().push(value);
            }
        }
        Ok(Self(given))
    }

    fn many(&mut self, name: &str) -> Vec<String> {
        self.0.remove(name).unwrap_or_default()
    }

    fn one(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.many(name);
        let value = values.pop();
        if values.is_empty() { Ok(value) } else { Err(wrong(name, "given once")) }
    }

    fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        self.one(name)?.map(|text| text.parse().map_err(|_| wrong(name, expected))).transpose()
    }

    fn second(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        const EXPECTED: &str = "a time in Unix seconds";
        let second = self.parsed::<i64>(name, EXPECTED)?;
        if second.is_none_or(|second| (0..=END_OF_TIME).contains(&second)) {
            Ok(second)
        } else {
            Err(wrong(name, EXPECTED))
        }
    }

    fn ids(&mut self, name: &str) -> Result<Vec<Uuid>, ApiError> {
        let expected = "a list of ids as this gateway shows them";
        self.many(name).iter().map(|text| Uuid::parse_str(text).map_err(|_| wrong(name, expected))).collect()
    }

    /// What is not understood would give other figures than those asked for.
    fn nothing_left(self) -> Result<(), ApiError> {
        let Some(name) = self.0.into_keys().next() else { return Ok(()) };
        let message = format!("Unknown parameter: '{}'.", echo(&name));
        Err(ApiError::invalid(message).with_param(&echo(&name)).with_code("unknown_parameter"))
    }
}

fn wrong(name: &str, expected: &str) -> ApiError {
    ApiError::invalid(format!("Invalid value for '{name}': it is {expected}."))
        .with_param(name)
        .with_code("invalid_value")
}
