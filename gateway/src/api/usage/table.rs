//! Rows on their way out: as JSON, or as CSV (RFC 4180) for spreadsheets. Either way a `Link` header names the next page.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::Json;
use crate::error::Problem;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
    Csv,
}

/// A page of rows.
#[derive(Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Where the next page begins; null on the last one.
    pub next: Option<String>,
}

/// What is the same for every row of a table.
pub struct Table {
    pub name: &'static str,
    /// In the order of the row's fields.
    pub columns: &'static [&'static str],
    /// The parameter that takes a page's `next`.
    pub cursor: &'static str,
}

/// How this client wants its rows.
pub struct Reply {
    uri: Uri,
    accepts_csv: bool,
}

impl<S: Sync> FromRequestParts<S> for Reply {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let accepted = parts.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut media = accepted.flat_map(|value| value.split(',')).filter_map(|media| media.split(';').next());
        let accepts_csv = media.any(|media| media.trim().eq_ignore_ascii_case("text/csv"));
        Ok(Self { uri: parts.uri.clone(), accepts_csv })
    }
}

impl Reply {
    /// Writes a page in the format that is asked for, or else in the one that is accepted.
    ///
    /// # Errors
    /// When a row can't be written.
    pub fn send<T: Serialize>(
        &self,
        table: &Table,
        format: Option<Format>,
        page: Page<T>,
    ) -> Result<Response, Problem> {
        let link = page.next.as_deref().and_then(|next| self.link(table.cursor, next));
        let usual = if self.accepts_csv { Format::Csv } else { Format::Json };
        let mut response = match format.unwrap_or(usual) {
            Format::Json => Json(page).into_response(),
            Format::Csv => csv_file(table, &page.data)?,
        };
        response.headers_mut().extend(link.map(|link| (header::LINK, link)));
        Ok(response)
    }

    fn link(&self, cursor: &str, next: &str) -> Option<HeaderValue> {
        let cursor = format!("{cursor}=");
        let pairs = self.uri.query().unwrap_or_default().split('&');
        let kept: String = pairs
            .filter(|pair| !pair.is_empty() && !pair.starts_with(&cursor))
            .map(|pair| format!("{pair}&"))
            .collect();
        HeaderValue::try_from(format!("<{}?{kept}{cursor}{next}>; rel=\"next\"", self.uri.path())).ok()
    }
}

/// Rows as a file of CSV.
///
/// # Errors
/// When a row can't be written.
pub(crate) fn csv_file<T: Serialize>(table: &Table, rows: &[T]) -> Result<Response, Problem> {
    let text = csv(table.columns, rows).map_err(|error| {
        tracing::error!(%error, "a table can't be written as CSV");
        Problem::internal()
    })?;
    let attachment = format!("attachment; filename=\"{}.csv\"", table.name);
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, attachment),
    ];
    Ok((headers, text).into_response())
}

/// The number of rows on a page.
pub(crate) fn checked_limit(given: Option<i64>, usual: i64, most: i64) -> Result<i64, Problem> {
    let limit = given.unwrap_or(usual);
    if (1..=most).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::bad_request(format!("`limit` lies between 1 and {most}.")))
    }
}

/// Takes the one row too many that was asked for, and says whether it was there.
pub(super) fn cut<T>(rows: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}

fn csv<T: Serialize>(columns: &[&str], rows: &[T]) -> Result<Vec<u8>, csv::Error> {
    let mut plain = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for row in rows {
        plain.serialize(row)?;
    }
    let plain = plain.into_inner().map_err(|error| error.into_error())?;
    let mut safe = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    safe.write_record(columns)?;
    // Over the written cells rather than the fields: no text of any row can be forgotten.
    for record in csv::ReaderBuilder::new().has_headers(false).from_reader(plain.as_slice()).records() {
        safe.write_record(record?.iter().map(harmless).map(|cell| cell.into_owned()))?;
    }
    Ok(safe.into_inner().map_err(|error| error.into_error())?)
}

/// A cell that no spreadsheet takes for a formula: names come from clients, and who opens the table trusts it.
/// Source: OWASP, "CSV Injection".
fn harmless(cell: &str) -> Cow<'_, str> {
    let begins = cell.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '|', '%']);
    if begins && cell.parse::<f64>().is_err() { format!("'{cell}").into() } else { cell.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        count: i64,
        gone: Option<i64>,
    }

    #[test]
    fn cells_are_quoted_and_formulas_disarmed() {
        let row = |name| Row { name, count: -1, gone: None };
        let rows = ["plain", "a,\"b\"\r\nc", "=1+1", " \t@SUM(A1)", "-5", "+a", ""].map(row);
        let text = String::from_utf8(csv(&["name", "count", "gone"], &rows).unwrap()).unwrap();
        let expected = "name,count,gone\r\nplain,-1,\r\n\"a,\"\"b\"\"\r\nc\",-1,\r\n'=1+1,-1,\r\n' \t@SUM(A1),-1,\r\n\
                        -5,-1,\r\n'+a,-1,\r\n,-1,\r\n";
        assert_eq!(text, expected);
        assert_eq!(csv::<Row>(&["name"], &[]).unwrap(), b"name\r\n");
    }

    #[test]
    fn the_next_page_is_asked_for_with_the_same_query() {
        let link = |uri: &'static str| {
            Reply { uri: Uri::from_static(uri), accepts_csv: false }
                .link("after", "n")
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(link("/t?a=1&after=x&b=%20"), "</t?a=1&b=%20&after=n>; rel=\"next\"");
        assert_eq!(link("/t"), "</t?after=n>; rel=\"next\"");
    }
}
