//! One look at a log: from what was believed last to what it says now.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, bail};
use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::entry::{Entry, Kind};
use openapi::log::policy::{NotBelieved, Policy};
use openapi::log::tile;
use openapi::log::tree::TreeHead;
use openapi::verify::What;
use openapi::verify::epoch::Auditor;
use openapi::verify::follow::{Followed, Follower, Told};
use serde::Serialize;

use super::MonitorSettings;
use super::alarm::{self, Alarm};
use crate::verify::epoch::audit;
use crate::verify::source::Source;
use crate::verify::{copy, read};

/// The last checkpoint that was believed.
const BELIEVED: &str = "believed.checkpoint";
/// What was named as a policy on the first look.
const FIRST_POLICY: &str = "believed.policy";

/// Whoever follows a log.
pub(super) struct Monitor {
    source: Source,
    folder: PathBuf,
    copy: Source,
    policy: Option<Policy>,
    keys: Option<Vec<u8>>,
    /// As far as the log is believed.
    follower: Follower,
    believed: Option<SignedCheckpoint>,
    /// Alarms that were raised already.
    raised: HashSet<String>,
}

/// What came of a look.
pub(super) struct Looked {
    pub(super) seen: Seen,
    pub(super) alarms: Vec<Alarm>,
}

/// What the log has, and what of it is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    pub(super) origin: String,
    pub(super) entries: u64,
    pub(super) new_entries: u64,
    pub(super) new_receipts: u64,
    /// Receipts that are not published any more.
    pub(super) missing: u64,
    pub(super) new_epochs: Vec<u32>,
    pub(super) alarms: usize,
}

/// What the entries between two checkpoints have told.
#[derive(Default)]
struct News {
    receipts: u64,
    missing: u64,
    /// Documents of epochs, by their number.
    epochs: Vec<(u32, String)>,
    wrong: Vec<(What, String)>,
}

impl Monitor {
    /// Goes on from what the folder has.
    pub(super) async fn open(settings: &MonitorSettings, source: Source) -> anyhow::Result<Self> {
        let folder = settings.folder.clone();
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let kept = folder.join(FIRST_POLICY);
        let policy = settings.policy.clone().or_else(|| kept.exists().then_some(kept));
        let policy = policy.as_deref().map(read).transpose()?;
        let policy = policy.map(|policy| Policy::read(&policy)).transpose().context("the policy is none")?;
        let keys = settings.keys.as_deref().map(read).transpose()?;
        let copy = Source::Folder(folder.clone());
        let follower = Follower::begin(keys.as_deref())?;
        let believed = folder.join(BELIEVED);
        let believed = if believed.exists() { Some(read(&believed)?) } else { None };
        let believed =
            believed.map(|text| String::from_utf8(text)?.parse::<SignedCheckpoint>().map_err(anyhow::Error::from));
        let believed = believed.transpose().with_context(|| format!("{BELIEVED} is no checkpoint"))?;
        let mut monitor = Self { source, folder, copy, policy, keys, follower, believed, raised: HashSet::new() };
        monitor.catch_up().await?;
        Ok(monitor)
    }

    /// Follows the copy to where it was believed.
    async fn catch_up(&mut self) -> anyhow::Result<()> {
        let Some(believed) = &self.believed else { return Ok(()) };
        let head = believed.checkpoint().tree();
        self.follower = self.follow(self.follower.clone(), head.size, &mut News::default()).await?;
        if self.follower.head() != head {
            bail!(
                "the copy in {} does not lead to its {BELIEVED}: somebody has changed it. Begin another in a new folder, and \
                 keep this one",
                self.folder.display()
            );
        }
        Ok(())
    }

    /// Looks once.
    ///
    /// # Errors
    /// When the log can't be read, or too few witnesses have seen its newest checkpoint.
    pub(super) async fn look(&mut self) -> anyhow::Result<Looked> {
        let policy = self.policy().await?;
        let newest = self.source.witnessed_checkpoint(&policy).await?;
        let (origin, head) = (newest.checkpoint().origin().to_owned(), newest.checkpoint().tree());
        let mut seen = Seen {
            origin,
            entries: head.size,
            new_entries: 0,
            new_receipts: 0,
            missing: 0,
            new_epochs: Vec::new(),
            alarms: 0,
        };
        match policy.judge(&newest) {
            Ok(_) => {}
            Err(error @ NotBelieved::NoQuorum(_)) => bail!("of a tree of {}: {error}", head.size),
            Err(error) => {
                let says = format!("the checkpoint is not to be believed: {error}");
                return self.found(seen, &newest, vec![(What::Witnesses, says)]);
            }
        }
        let before = self.follower.head();
        if let Some(forked) = self.has_forked(head).await? {
            return self.found(seen, &newest, vec![(What::Growth, forked)]);
        }
        if head.size <= before.size {
            return self.found(seen, &newest, Vec::new());
        }
        let fetched = copy::entries(&self.source, &self.folder, &newest).await?;
        let mut news = News::default();
        let ahead = self.follow(self.follower.clone(), head.size, &mut news).await?;
        if ahead.head() != head {
            // They are no part of the log that is believed, and what is may still come.
            copy::forget(&self.folder, &fetched)?;
            news.wrong.push((What::Growth, leads_elsewhere(before, head, ahead.head())));
            return self.found(seen, &newest, news.wrong);
        }
        for (number, document) in &news.epochs {
            seen.new_epochs.push(*number);
            news.wrong.extend(self.audit(*number, document, &newest, &policy).await?);
        }
        (seen.new_entries, seen.new_receipts, seen.missing) = (head.size - before.size, news.receipts, news.missing);
        copy::rest(&self.source, &self.folder).await?;
        let looked = self.found(seen, &newest, news.wrong)?;
        for name in ["checkpoint", BELIEVED] {
            copy::keep(&self.folder, name, newest.to_string().as_bytes())?;
        }
        (self.follower, self.believed) = (ahead, Some(newest));
        Ok(looked)
    }

    /// The policy that is believed, which on the first look may be the gateway's own.
    async fn policy(&mut self) -> anyhow::Result<Policy> {
        if let Some(policy) = &self.policy {
            return Ok(policy.clone());
        }
        let own = self.source.policy().await?;
        let policy = Policy::read(&own).context("the gateway's policy is none")?;
        for name in ["policy", FIRST_POLICY] {
            copy::keep(&self.folder, name, &own)?;
        }
        self.policy = Some(policy.clone());
        Ok(policy)
    }

    /// Whether the log shows another tree than it did, of a size that is known.
    async fn has_forked(&self, head: TreeHead) -> anyhow::Result<Option<String>> {
        let before = self.follower.head();
        if head.size > before.size || head == before {
            return Ok(None);
        }
        // A replica may be behind: what it shows has to be what was there then.
        let then = self.follow(Follower::default(), head.size, &mut News::default()).await?.head();
        Ok((then != head).then(|| {
            format!(
                "the log has forked: it shows a tree of {} with the root {}, and the one of that size that was believed had {}. \
                 Keep both checkpoints: each bears the log's own signature",
                head.size, head.root, then.root
            )
        }))
    }

    /// Takes entries of the copy, from where a follower is up to a size.
    async fn follow(&self, mut follower: Follower, to: u64, news: &mut News) -> anyhow::Result<Follower> {
        let from = follower.head().size;
        for tile in tile::new_entries(from, to) {
            let entries = self.copy.entries(tile).await?;
            let documents = self.copy.documents(tile, &entries, &vec![true; entries.len()]).await?;
            let skip = usize::try_from(from.saturating_sub(tile.start()))?;
            for (entry, document) in entries.iter().zip(documents).skip(skip) {
                let followed = follower.take(entry, document.as_deref());
                news.add(followed, document);
            }
        }
        Ok(follower)
    }

    /// Makes an epoch again, out of the copy.
    async fn audit(
        &self,
        number: u32,
        document: &str,
        newest: &SignedCheckpoint,
        policy: &Policy,
    ) -> anyhow::Result<Vec<(What, String)>> {
        let auditor = match Auditor::begin(document, self.keys.as_deref(), None) {
            Ok(auditor) => auditor,
            Err(unreadable) => return Ok(vec![(What::Epoch, format!("epoch {number}: {unreadable}"))]),
        };
        let verdict = audit(&self.copy, auditor, newest, policy).await?;
        let fails = verdict.findings.into_iter().filter(|finding| finding.holds == Some(false));
        Ok(fails.map(|finding| (finding.what, format!("epoch {number}: {}", finding.says))).collect())
    }

    /// Keeps the evidence of what was not found before.
    fn found(&mut self, seen: Seen, newest: &SignedCheckpoint, wrong: Vec<(What, String)>) -> anyhow::Result<Looked> {
        let mut alarms = Vec::new();
        for (what, says) in wrong {
            if self.raised.insert(alarm::key(what, &says, self.believed.as_ref())) {
                alarms.push(Alarm::keep(&self.folder, (what, says), self.believed.as_ref(), newest)?);
            }
        }
        Ok(Looked { seen: Seen { alarms: alarms.len(), ..seen }, alarms })
    }
}

fn leads_elsewhere(before: TreeHead, head: TreeHead, found: TreeHead) -> String {
    format!(
        "the entries that are served do not lead from the tree of {} with the root {} to the one of {} with the root {}: they lead \
         to {}. Either the log has forked, or it serves other entries than it has: keep both checkpoints and the copy",
        before.size, before.root, head.size, head.root, found.root
    )
}

impl News {
    fn add(&mut self, followed: Followed, document: Option<String>) {
        let index = followed.index;
        self.wrong.extend(followed.wrong.into_iter().map(|wrong| (wrong.what, wrong.says)));
        match (followed.told, followed.entry) {
            (Some(Told::Receipt(_)), _) => self.receipts += 1,
            (Some(Told::Epoch(epoch)), _) => {
                self.epochs.extend(document.map(|document| (epoch.epoch.number, document)))
            }
            (None, Some(Entry { kind: Kind::Receipt, .. })) if document.is_none() => self.missing += 1,
            (None, Some(entry)) if document.is_none() => {
                self.wrong.push((What::Documents, format!("entry {index}: {entry} is not published")));
            }
            _ => {}
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, entries, new_entries, new_receipts, missing, new_epochs, alarms } = self;
        write!(formatter, "{origin}: {entries} entries, {new_entries} of them new with {new_receipts} receipts")?;
        if *missing > 0 {
            write!(formatter, ", {missing} more not published any more")?;
        }
        if let [first, .., last] | [first @ last] = new_epochs.as_slice() {
            let epochs = if first == last { format!("epoch {first}") } else { format!("epochs {first} to {last}") };
            write!(formatter, "; {epochs} made again")?;
        }
        match alarms {
            0 => write!(formatter, "; nothing speaks against it"),
            1 => write!(formatter, "; 1 alarm"),
            alarms => write!(formatter, "; {alarms} alarms"),
        }
    }
}
