//! Fetches a file from other nodes, through the gateway, which knows who has it and passes it on. Each group of the file
//! is verified when it has arrived, so a bad one costs a megabyte and names the node that gave it.
//!
//! Two pieces are under way at once and are appended in order: what is there is always the verified beginning of the
//! file, with which any run, and any source that appends, can go on.

mod gateway;

mod patience;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use openapi::blob::{BadGroup, BlobAddress, GROUP_BYTES, LONGEST_RANGE, Outline, WrongGroup};
use tokio::io::AsyncWriteExt;

pub use self::gateway::Peers;
use self::{
    gateway::{Answer, Gateway},
    patience::Patience,
};
use super::{catalogue::CatalogueFile, error::SourceError, progress, source::PullSettings, verify::blocking};

const PIECES_AT_ONCE: usize = 2;

/// Brings `file` to `partial`, after the beginning of it that is there.
pub(super) async fn fetch(
    peers: &Peers,
    file: &CatalogueFile,
    partial: PathBuf,
    settings: &PullSettings,
) -> Result<PathBuf, SourceError> {
    let disk = || SourceError::at(&partial);
    let download = Download {
        address: file.address().ok_or(SourceError::NotListed)?,
        gateway: Gateway::new(peers, settings)?,
        settings,
    };
    let outline = Arc::new(download.outline().await?);
    let (path, known) = (partial.clone(), Arc::clone(&outline));
    let kept = blocking(move || keep_verified(&path, &known)).await.map_err(disk())?;
    let bar = progress::bar(file.path, download.address.range(kept).start, file.bytes);
    let mut sink = tokio::fs::File::options().create(true).append(true).open(&partial).await.map_err(disk())?;
    let mut pieces =
        stream::iter(download.pieces(kept)).map(|groups| download.piece(&outline, groups)).buffered(PIECES_AT_ONCE);
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        sink.write_all(&piece).await.map_err(disk())?;
        sink.flush().await.map_err(disk())?;
        bar.inc(piece.len() as u64);
    }
    Ok(partial)
}

/// Counts the groups at the beginning of a partial file that are the file's, and cuts off what follows them.
fn keep_verified(partial: &Path, outline: &Outline) -> io::Result<u64> {
    let file = match File::options().read(true).write(true).open(partial) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let (mut kept, mut group) = (0, Vec::new());
    while kept < outline.address().groups() {
        group.clear();
        (&file).take(GROUP_BYTES).read_to_end(&mut group)?;
        if outline.check(kept, &group).is_err() {
            break;
        }
        kept += 1;
    }
    file.set_len(outline.address().range(kept).start)?;
    Ok(kept)
}

struct Download<'a> {
    address: BlobAddress,
    gateway: Gateway<'a>,
    settings: &'a PullSettings,
}

impl Download<'_> {
    /// The groups from `first` on, as many at a time as one call may ask for.
    fn pieces(&self, first: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        const GROUPS: u64 = LONGEST_RANGE / GROUP_BYTES;
        let end = self.address.groups();
        (first..end).step_by(GROUPS as usize).map(move |start| start..end.min(start + GROUPS))
    }

    async fn outline(&self) -> Result<Outline, SourceError> {
        let mut patience = Patience::new(self.settings);
        loop {
            match self.try_outline().await {
                Ok(outline) => return Ok(outline),
                Err(error) => patience.after(error).await?,
            }
        }
    }

    async fn try_outline(&self) -> Result<Outline, SourceError> {
        let mut answer = self.gateway.outline(&self.address).await?;
        let mut listed = Vec::new();
        while listed.len() as u64 <= self.address.outline_bytes()
            && let Some(chunk) = self.gateway.next(&mut answer).await?
        {
            listed.extend_from_slice(&chunk);
        }
        Outline::proven(self.address, &listed).map_err(|error| self.gateway.is_wrong(&answer, &error))
    }

    /// The bytes of some groups, each verified, from one node or several.
    async fn piece(&self, outline: &Outline, mut groups: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let (mut piece, mut patience) = (Vec::new(), Patience::new(self.settings));
        loop {
            let before = groups.start;
            let Err(error) = self.try_piece(outline, &mut groups, &mut piece).await else { return Ok(piece) };
            if groups.start > before {
                patience = Patience::new(self.settings);
            }
            patience.after(error).await?;
        }
    }

    /// Asks one node, and takes what is good off `groups`.
    async fn try_piece(
        &self,
        outline: &Outline,
        groups: &mut Range<u64>,
        piece: &mut Vec<u8>,
    ) -> Result<(), SourceError> {
        let bytes = self.address.range(groups.start).start..self.address.range(groups.end - 1).end;
        let mut answer = self.gateway.range(&self.address, bytes).await?;
        let mut arrived = Vec::new();
        while !groups.is_empty() {
            let chunk = self.gateway.next(&mut answer).await?;
            arrived.extend_from_slice(&chunk.ok_or_else(|| self.gateway.ended_early(&answer))?);
            while !groups.is_empty() && arrived.len() >= self.group_bytes(groups.start) {
                let rest = arrived.split_off(self.group_bytes(groups.start));
                if let Err(error) = outline.check(groups.start, &arrived) {
                    return Err(self.report(answer, error).await);
                }
                piece.append(&mut arrived);
                arrived = rest;
                groups.start += 1;
            }
        }
        Ok(())
    }

    /// Avoids the node that gave a bad group, and tells the gateway of it.
    async fn report(&self, answer: Answer, bad: WrongGroup) -> SourceError {
        let error = self.gateway.is_wrong(&answer, &bad);
        let source = answer.source;
        // Ends the call, before there is another.
        drop(answer);
        if let Some(source) = source {
            self.gateway.report(&self.address, BadGroup { source, group: bad.group }).await;
        }
        error
    }

    fn group_bytes(&self, group: u64) -> usize {
        let range = self.address.range(group);
        (range.end - range.start) as usize
    }
}
