//! Downloads a file from Hugging Face, or from a mirror with the same paths, into its partial file.
//! A download that broke off goes on where it ended, in this run or the next.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use reqwest::{Client, Response, StatusCode, header};
use tokio::{
    fs::File,
    io::{AsyncWriteExt, BufWriter},
};

use super::{
    catalogue::{CatalogueFile, HuggingFaceRepository},
    error::{SourceError, innermost},
    folder::remove_file,
    progress,
    source::PullSettings,
    verify::Wrong,
};

const RETRIES: u32 = 4;
const BUFFER: usize = 1 << 20;

struct Download<'a> {
    client: Client,
    url: String,
    file: &'a CatalogueFile,
    partial: &'a Path,
    bar: ProgressBar,
}

/// Brings `file` to `partial`, from where a former download of it ended.
pub(super) async fn fetch(
    repository: &HuggingFaceRepository,
    file: &CatalogueFile,
    partial: PathBuf,
    settings: &PullSettings,
) -> Result<PathBuf, SourceError> {
    let base = settings.hugging_face.trim_end_matches('/');
    let download = Download {
        client: client(settings)?,
        url: format!("{base}/{}/resolve/{}/{}", repository.name, repository.revision, file.path),
        file,
        partial: &partial,
        bar: progress::bar(file.path, 0, file.bytes),
    };
    let (mut reached, mut pause) = (false, settings.backoff);
    for retry in 0.. {
        let Err(error) = download.attempt().await else { break };
        reached |= !matches!(error, SourceError::Unreachable { .. });
        if retry == RETRIES || !may_pass(&error, reached) {
            return Err(error);
        }
        tracing::warn!(%error, pause_ms = pause.as_millis(), "trying again");
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(partial)
}

/// A host that never answered is given up at once, so that the next source gets its turn.
fn may_pass(error: &SourceError, reached: bool) -> bool {
    match error {
        SourceError::Unreachable { .. } => reached,
        SourceError::Interrupted { .. } => true,
        SourceError::Answer { passing, .. } => *passing,
        _ => false,
    }
}

pub(super) fn client(settings: &PullSettings) -> Result<Client, SourceError> {
    // A compressed answer has neither the file's length nor its ranges.
    let builder = Client::builder()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .user_agent(concat!("commonwatt-node/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.stall_timeout);
    builder.build().map_err(|error| SourceError::Program(format!("HTTPS could not be set up: {}", innermost(&error))))
}

impl Download<'_> {
    /// One connection: asks for what is missing and appends it.
    async fn attempt(&self) -> Result<(), SourceError> {
        let have = self.received()?;
        if have == self.file.bytes {
            return Ok(());
        }
        let mut request = self.client.get(&self.url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let answer = request.send().await.map_err(|error| {
            let (url, cause) = (self.url.clone(), cause_of(&error));
            if error.is_connect() || error.is_timeout() {
                return SourceError::Unreachable { url, cause };
            }
            SourceError::Interrupted { url, received: have, expected: self.file.bytes, cause }
        })?;
        let start = self.start_of(&answer, have)?;
        self.append(answer, start).await
    }

    /// What the partial file holds. One that is longer than the file can't be its beginning and goes.
    fn received(&self) -> Result<u64, SourceError> {
        let length = self.partial.metadata().map_or(0, |metadata| metadata.len());
        if length > self.file.bytes {
            remove_file(self.partial).map_err(SourceError::at(self.partial))?;
            return Ok(0);
        }
        Ok(length)
    }

    /// Where in the file the answer's body starts, once the answer is known to be about a file of the pinned length.
    fn start_of(&self, answer: &Response, have: u64) -> Result<u64, SourceError> {
        let status = answer.status();
        let (start, total) = match status {
            StatusCode::OK => (0, answer.content_length()),
            StatusCode::PARTIAL_CONTENT => match content_range(answer) {
                Some((start, total)) if start == have => (start, total),
                _ => return Err(self.odd_answer("with another range than it was asked for".to_owned(), false)),
            },
            _ => {
                let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                return Err(self.odd_answer(status.to_string(), passing));
            }
        };
        match total {
            Some(found) if found != self.file.bytes => {
                Err(self.refused(Wrong::Length { expected: self.file.bytes, found }))
            }
            _ => Ok(start),
        }
    }

    async fn append(&self, mut answer: Response, start: u64) -> Result<(), SourceError> {
        let disk = || SourceError::at(self.partial);
        let mut sink = BufWriter::with_capacity(BUFFER, self.open(start).await?);
        let mut received = start;
        let cause = loop {
            self.bar.set_position(received);
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    received += chunk.len() as u64;
                    if received > self.file.bytes {
                        remove_file(self.partial).map_err(disk())?;
                        return Err(self.refused(Wrong::TooLong { expected: self.file.bytes }));
                    }
                    sink.write_all(&chunk).await.map_err(disk())?;
                }
                Ok(None) => break "the answer ended".to_owned(),
                Err(error) => break cause_of(&error),
            }
        };
        sink.flush().await.map_err(disk())?;
        if received == self.file.bytes {
            return Ok(());
        }
        Err(SourceError::Interrupted { url: self.url.clone(), received, expected: self.file.bytes, cause })
    }

    async fn open(&self, start: u64) -> Result<File, SourceError> {
        let mut options = File::options();
        if start == 0 {
            options.write(true).create(true).truncate(true);
        } else {
            options.append(true);
        }
        options.open(self.partial).await.map_err(SourceError::at(self.partial))
    }

    fn odd_answer(&self, answer: String, passing: bool) -> SourceError {
        SourceError::Answer { url: self.url.clone(), answer, passing }
    }

    fn refused(&self, wrong: Wrong) -> SourceError {
        SourceError::Wrong { file: self.file.path, wrong }
    }
}

pub(super) fn cause_of(error: &reqwest::Error) -> String {
    if error.is_timeout() { "it took too long".to_owned() } else { innermost(error) }
}

/// First byte and total length out of `Content-Range: bytes 5-9/10`, where the total may be `*`.
fn content_range(answer: &Response) -> Option<(u64, Option<u64>)> {
    let value = answer.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        super::testing::{Folder, Host, Reply, entry_of, settings_for},
        *,
    };

    const CONTENT: &[u8] = b"0123456789";

    /// Fetches CONTENT from a host that gives these replies, with `there` in the partial file before.
    async fn fetch_from(replies: &[Reply], there: &[u8]) -> (Result<Vec<u8>, SourceError>, Vec<String>, bool) {
        let (folder, host) = (Folder::new(), Host::start(CONTENT, replies).await);
        let partial = folder.write("partial", there);
        let file = &entry_of(CONTENT, &[]).files[0];
        let repository = HuggingFaceRepository { name: "a/b", revision: "c" };
        let fetched = fetch(&repository, file, partial.clone(), &settings_for(&host)).await;
        (fetched.map(|path| fs::read(path).unwrap()), host.ranges(), partial.exists())
    }

    #[tokio::test]
    async fn a_cut_download_goes_on_where_it_ended() {
        let (fetched, ranges, _) = fetch_from(&[Reply::CutAfter(4), Reply::CutAfter(3), Reply::Whole], b"").await;
        assert_eq!(fetched.unwrap(), CONTENT);
        assert_eq!(ranges, ["", "bytes=4-", "bytes=7-"]);
    }

    #[tokio::test]
    async fn a_former_run_is_resumed_and_a_host_without_ranges_starts_over() {
        let (fetched, ranges, _) = fetch_from(&[Reply::Whole], b"01234").await;
        assert_eq!((fetched.unwrap().as_slice(), ranges.as_slice()), (CONTENT, &["bytes=5-".to_owned()][..]));
        let (fetched, ..) = fetch_from(&[Reply::WithoutRanges], b"01234").await;
        assert_eq!(fetched.unwrap(), CONTENT);
        let (fetched, ranges, _) = fetch_from(&[Reply::Whole], b"much longer than it is").await;
        assert_eq!((fetched.unwrap().as_slice(), ranges.as_slice()), (CONTENT, &[String::new()][..]));
    }

    #[tokio::test]
    async fn what_is_too_long_is_cut_off_and_refused() {
        let (fetched, _, kept) = fetch_from(&[Reply::Endless], b"").await;
        let error = fetched.unwrap_err();
        assert!(matches!(error, SourceError::Wrong { wrong: Wrong::TooLong { expected: 10 }, .. }), "{error}");
        assert!(!kept);
        let (fetched, ..) = fetch_from(&[Reply::Other(b"0123456789ab")], b"").await;
        assert!(fetched.unwrap_err().to_string().ends_with("expected 10 bytes, found 12"));
    }

    #[tokio::test]
    async fn retries_are_few_and_only_for_what_may_pass() {
        let (fetched, ranges, _) = fetch_from(&[Reply::Status(503), Reply::Whole], b"").await;
        assert_eq!((fetched.unwrap().as_slice(), ranges.len()), (CONTENT, 2));
        let (fetched, ranges, _) = fetch_from(&[Reply::CutAfter(0)], b"").await;
        assert!(matches!(fetched, Err(SourceError::Interrupted { received: 0, .. })));
        assert_eq!(ranges.len(), 5);
        let (fetched, ranges, _) = fetch_from(&[Reply::Status(404)], b"").await;
        assert!(fetched.unwrap_err().to_string().ends_with("/a/b/resolve/c/weights.gguf answered 404 Not Found"));
        assert_eq!(ranges.len(), 1);
    }

    #[tokio::test]
    async fn a_host_that_is_away_is_given_up_at_once() {
        let folder = Folder::new();
        let entry = entry_of(CONTENT, &[]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let hugging_face = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let settings = PullSettings { hugging_face, ..PullSettings::default() };
        let repository = HuggingFaceRepository { name: "a/b", revision: "c" };
        let error = fetch(&repository, &entry.files[0], folder.path().join("partial"), &settings).await.unwrap_err();
        assert!(matches!(&error, SourceError::Unreachable { cause, .. } if cause.contains("refused")), "{error}");
    }
}
