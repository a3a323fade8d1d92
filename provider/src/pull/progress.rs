//! Progress on stderr for a person who watches; nothing is drawn where stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

const TICK: Duration = Duration::from_millis(100);

/// A bar for a download of known length, with `start` bytes already there.
pub(super) fn bar(name: &str, start: u64, bytes: u64) -> ProgressBar {
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    styled(ProgressBar::new(bytes).with_position(start).with_message(name.to_owned()), template)
}

/// A spinner for work whose length is unknown; it shows its position as bytes.
pub(super) fn spinner(message: &str) -> ProgressBar {
    let spinner = styled(ProgressBar::new_spinner().with_message(message.to_owned()), "{spinner} {msg} {bytes}");
    spinner.enable_steady_tick(TICK);
    spinner
}

/// A spinner for waiting.
pub(super) fn waiting(message: &str) -> ProgressBar {
    let spinner = styled(ProgressBar::new_spinner().with_message(message.to_owned()), "{spinner} {msg} {elapsed}");
    spinner.enable_steady_tick(TICK);
    spinner
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_finish(ProgressFinish::AndClear)
}
