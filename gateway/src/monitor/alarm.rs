//! What becomes of what was found: a line, a folder that keeps the evidence, and somebody's own program.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use openapi::log::checkpoint::SignedCheckpoint;
use openapi::verify::What;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::MonitorSettings;
use crate::verify::copy::keep;

/// A program that takes longer is left alone.
const PATIENCE: Duration = Duration::from_secs(30);
const FOLDER: &str = "alarms";

/// Something that doesn't hold, of which the evidence is kept.
#[derive(Clone, Debug)]
pub(super) struct Alarm {
    what: What,
    says: String,
    /// As one line of JSON.
    line: String,
}

/// An alarm as programs get it.
#[derive(Serialize)]
struct Line<'a> {
    alarm: What,
    says: &'a str,
    origin: &'a str,
    at: String,
    /// The last checkpoint that was believed, and the one that was shown, as they are signed.
    believed: Option<String>,
    shown: String,
    /// Where they are kept.
    evidence: String,
}

impl Alarm {
    /// Keeps the evidence, before anything is said.
    pub(super) fn keep(
        folder: &Path,
        (what, says): (What, String),
        believed: Option<&SignedCheckpoint>,
        shown: &SignedCheckpoint,
    ) -> anyhow::Result<Self> {
        let name = free(folder);
        let line = serde_json::to_string(&Line {
            alarm: what,
            says: &says,
            origin: shown.checkpoint().origin(),
            at: OffsetDateTime::now_utc().format(&Rfc3339)?,
            believed: believed.map(ToString::to_string),
            shown: shown.to_string(),
            evidence: folder.join(&name).display().to_string(),
        })?;
        keep(folder, &format!("{name}/shown.checkpoint"), shown.to_string().as_bytes())?;
        if let Some(believed) = believed {
            keep(folder, &format!("{name}/believed.checkpoint"), believed.to_string().as_bytes())?;
        }
        keep(folder, &format!("{name}/alarm.json"), line.as_bytes())?;
        Ok(Self { what, says, line })
    }

    #[cfg(test)]
    pub(super) fn what(&self) -> What {
        self.what
    }

    #[cfg(test)]
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Says it, and tells the program.
    pub(super) async fn raise(&self, settings: &MonitorSettings) -> anyhow::Result<()> {
        let words = format!("ALARM {}: {}", self.what.word(), self.says);
        writeln!(std::io::stdout(), "{}", if settings.json { &self.line } else { &words })?;
        if let Some(program) = &settings.alarm
            && let Err(error) = tell(program, &self.line).await
        {
            writeln!(std::io::stderr(), "{} was not told: {error:#}", program.display())?;
        }
        Ok(())
    }
}

/// What an alarm is raised by once. That nothing leads on from a believed tree is the same however the other grows.
pub(super) fn key(what: What, says: &str, believed: Option<&SignedCheckpoint>) -> String {
    let believed = believed.map_or(0, |believed| believed.checkpoint().tree().size);
    match what {
        What::Growth | What::Witnesses => format!("{} {believed}", what.word()),
        _ => format!("{} {says}", what.word()),
    }
}

/// A folder that nothing is in yet.
fn free(folder: &Path) -> String {
    let second = OffsetDateTime::now_utc().unix_timestamp();
    let name = |number: usize| format!("{FOLDER}/{second}-{number}");
    (1..).map(name).find(|name| !folder.join(name).exists()).unwrap_or_else(|| name(0))
}

async fn tell(program: &Path, line: &str) -> anyhow::Result<()> {
    let mut child = Command::new(program).stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut input = child.stdin.take().context("it takes no input")?;
    let told = async {
        input.write_all(format!("{line}\n").as_bytes()).await?;
        drop(input);
        let status = child.wait().await?;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(())
    };
    tokio::time::timeout(PATIENCE, told).await.context("it takes too long")?
}
