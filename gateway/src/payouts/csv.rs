//! What whoever pays has paid, as a table: `id,reference`.

use std::collections::HashMap;

use uuid::Uuid;

use super::checked_text;

/// More lines nobody pays at once.
const MOST_LINES: usize = 10_000;
const LONGEST_REFERENCE: usize = 200;
/// So many wrong lines are named.
const NAMED: usize = 20;
const HEAD: [&str; 2] = ["id", "reference"];

/// A payout and under which reference it was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// In the file; the head is the first.
    pub number: u64,
    pub payout: Uuid,
    pub reference: String,
}

/// Reads the table (RFC 4180).
///
/// # Errors
/// Sentences that say which lines are wrong and what they have to be.
pub fn read(text: &str) -> Result<Vec<Line>, Vec<String>> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    if !reader.headers().is_ok_and(|head| head.iter().eq(HEAD)) {
        return Err(vec!["The first line is 'id,reference'.".to_owned()]);
    }
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    let mut seen = HashMap::new();
    for record in reader.records() {
        let line = match &record {
            Err(error) => {
                let number = number(&text, error.position());
                Err(format!("Line {number}: it has not two cells, the payout's id and the reference."))
            }
            Ok(record) => line(record, number(&text, record.position())),
        };
        match line {
            Err(why) => wrong.push(why),
            Ok(line) => match seen.insert(line.payout, line.number) {
                Some(before) => wrong.push(format!("Line {}: the payout is in line {before} already.", line.number)),
                None => lines.push(line),
            },
        }
        if lines.len() + wrong.len() > MOST_LINES {
            return Err(vec![format!("There are more than {MOST_LINES} lines. Send them in parts.")]);
        }
    }
    if wrong.is_empty() { Ok(lines) } else { Err(wrong) }
}

/// The line of a record. The reader's own is that of the empty lines before it.
fn number(text: &str, position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let rest = usize::try_from(position.byte()).ok().and_then(|byte| text.as_bytes().get(byte..)).unwrap_or_default();
    position.line() + rest.iter().take_while(|byte| **byte == b'\n').count() as u64
}

fn line(record: &csv::StringRecord, number: u64) -> Result<Line, String> {
    let (id, reference) = (record.get(0).unwrap_or_default(), record.get(1).unwrap_or_default());
    let payout = id.parse().map_err(|_| format!("Line {number}: it begins with no payout's id."))?;
    let reference = checked_text(reference, LONGEST_REFERENCE).ok_or_else(|| {
        format!("Line {number}: a reference has 1 to {LONGEST_REFERENCE} characters, and no control characters.")
    })?;
    Ok(Line { number, payout, reference })
}

/// The sentences as one; of very many the first.
pub fn in_one(wrong: &[String]) -> String {
    let mut text = format!("Nothing was taken up. {}", wrong[..wrong.len().min(NAMED)].join(" "));
    if wrong.len() > NAMED {
        text.push_str(&format!(" {} more lines are wrong.", wrong.len() - NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00000000-0000-0000-0000-000000000007";

    fn refusals(text: &str) -> String {
        in_one(&read(text).unwrap_err())
    }

    #[test]
    fn what_spreadsheets_write_is_read() {
        let expected =
            |number, reference: &str| Line { number, payout: Uuid::from_u128(7), reference: reference.to_owned() };
        assert_eq!(read(&format!("id,reference\n{ID},r\n")), Ok(vec![expected(2, "r")]));
        let windows = format!("\u{feff}id,reference\r\n\r\n\"{ID}\",\" a,\"\"b\"\" \"");
        assert_eq!(read(&windows), Ok(vec![expected(3, "a,\"b\"")]));
        assert_eq!(read("id,reference"), Ok(Vec::new()));
    }

    #[test]
    fn every_wrong_line_is_named() {
        for head in ["", "reference,id\n", "id\n", "id,reference,state\n", &format!("{ID},r\n")] {
            assert!(refusals(head).contains("first line"), "{head:?}");
        }
        let other = Uuid::from_u128(8);
        let text = format!(
            "id,reference\n{ID},r\nnobody,r\n{ID},again\n{other}\n{other},\n{other},r,more\n{other},{}\n{other},r\n",
            "r".repeat(201)
        );
        let refused = refusals(&text);
        for (line, why) in
            [(3, "payout's id"), (4, "in line 2"), (5, "two cells"), (6, "1 to 200"), (7, "two cells"), (8, "1 to 200")]
        {
            assert!(refused.contains(&format!("Line {line}: ")) && refused.contains(why), "{line}: {refused}");
        }
        assert!(!refused.contains("Line 2") && !refused.contains("Line 9"), "{refused}");
    }

    #[test]
    fn ten_thousand_lines_are_read_and_no_more() {
        let lines = |count: u128| {
            let lines: Vec<String> = (0..count).map(|id| format!("{},r\n", Uuid::from_u128(id))).collect();
            format!("id,reference\n{}", lines.concat())
        };
        assert_eq!(read(&lines(10_000)).unwrap().len(), 10_000);
        assert!(refusals(&lines(10_001)).contains("in parts"));
        let wrong: Vec<String> = (0..25).map(|line| format!("Line {line}: no.")).collect();
        assert!(in_one(&wrong).ends_with("Line 19: no. 5 more lines are wrong."));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_read_or_refused(text in "(id,reference\n)?([0-9a-f\",\r\n -]|\\PC){0,80}") {
            if let Err(wrong) = read(&text) {
                prop_assert!(!in_one(&wrong).is_empty());
            }
        }
    }
}
