//! Recorded trees for the sensors' tests: `fixtures/sensors/<back end>/<case>.json` says what the machine shows at
//! which time and what must come of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use serde::Deserialize;

use super::root::Root;
use super::{Discovered, Finding, Kind, SensorError};
use crate::energy::guard::{Doubt, Guard, Taken};

/// What every back end is put through.
pub(super) const CASES: [&str; 5] = ["healthy", "wrap", "frozen", "spike", "denied"];

/// A folder that goes with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("commonwatt-sensors-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and the folders that it lies in.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// What is recorded here, and how it differs from its name where that can't happen to this source.
    pub about: String,
    pub steps: Vec<Step>,
    pub expect: Expected,
}

/// What the machine shows from a moment on. What a step does not name stays as it was.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub at_ms: u64,
    #[serde(default)]
    pub files: BTreeMap<String, Content>,
    /// What answers over HTTP, for those sensors that ask so.
    #[serde(default)]
    pub http: serde_json::Value,
    /// What a library says, for those sensors that call one.
    #[serde(default)]
    pub device: serde_json::Value,
}

/// A file's content; null removes it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Bytes { base64: String },
    Denied { denied: bool },
    Removed(()),
}

/// What must come of it. `tier`, `kind` and `taken` are of the first sensor of the back end, or of the one that is
/// named.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub tier: Option<String>,
    pub kind: Option<String>,
    /// One word per step: `begun`, `moved:<microjoules>`, `moved:<microjoules>/<foreign microjoules>`, `waiting` or
    /// `doubted:<frozen|spike|backwards|clock-back|silent>`.
    pub taken: Vec<String>,
    /// `found`, `unusable` or `absent`.
    pub finding: String,
}

/// A back end with whatever stands behind it that is not a file.
pub(super) struct BackEnd {
    pub name: &'static str,
    /// Told of every step after its files are in place, the first one before anything is discovered.
    pub set: Box<dyn FnMut(&Step)>,
    pub discover: Box<dyn Fn(&Root) -> Discovered>,
}

impl BackEnd {
    /// One that reads files only.
    pub(super) fn of_files(name: &'static str, discover: impl Fn(&Root) -> Discovered + 'static) -> Self {
        Self { name, set: Box::new(|_| ()), discover: Box::new(discover) }
    }
}

pub(super) fn load(back_end: &str, case: &str) -> Case {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/sensors/{back_end}/{case}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Plays a case step by step and says what came of it.
pub(super) fn play(back_end: &mut BackEnd, case: &Case) -> Expected {
    let (folder, begin) = (Folder::new(), Instant::now());
    let root = Root::new(folder.path());
    let mut show = |step: &Step| {
        root.set_now(begin + Duration::from_millis(step.at_ms));
        step.files.iter().for_each(|(path, content)| put(&folder, &root, path, content));
        (back_end.set)(step);
    };
    let (first, rest) = case.steps.split_first().unwrap();
    show(first);
    let Discovered { mut sensors, findings } = (back_end.discover)(&root);
    let wanted = case.expect.name.as_deref();
    let sensor = sensors.iter_mut().find(|sensor| {
        let description = sensor.description();
        description.back_end == back_end.name && wanted.is_none_or(|wanted| wanted == description.name)
    });
    let finding = findings.iter().find_map(|finding| verdict(finding, back_end.name)).unwrap_or("none").to_owned();
    let Some(sensor) = sensor else {
        return Expected { name: case.expect.name.clone(), tier: None, kind: None, taken: vec![], finding };
    };
    let description = sensor.description().clone();
    let mut guard = Guard::new(&description);
    let mut taken = vec![word(&guard.take(sensor.read()))];
    for step in rest {
        show(step);
        taken.push(word(&guard.take(sensor.read())));
    }
    let kind = match description.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Estimate => "estimate",
    };
    Expected {
        name: case.expect.name.clone(),
        tier: Some(description.tier.letter().to_owned()),
        kind: Some(kind.to_owned()),
        taken,
        finding,
    }
}

fn put(folder: &Folder, root: &Root, path: &str, content: &Content) {
    match content {
        Content::Text(text) => folder.write(path, text.as_bytes()),
        Content::Bytes { base64 } => {
            folder.write(path, &base64::engine::general_purpose::STANDARD.decode(base64).unwrap());
        }
        Content::Denied { denied } => {
            if !root.exists(path) {
                folder.write(path, b"");
            }
            root.deny(path, *denied);
        }
        Content::Removed(()) => fs::remove_file(folder.path().join(path)).unwrap(),
    }
}

fn verdict(finding: &Finding, wanted: &str) -> Option<&'static str> {
    match finding {
        Finding::Found(description) => (description.back_end == wanted).then_some("found"),
        Finding::Unusable { back_end, .. } => (*back_end == wanted).then_some("unusable"),
        Finding::Absent { back_end, .. } => (*back_end == wanted).then_some("absent"),
    }
}

fn word(taken: &Taken) -> String {
    match taken {
        Taken::Begun => "begun".to_owned(),
        Taken::Moved { microjoules, foreign_microjoules: 0, .. } => format!("moved:{microjoules}"),
        Taken::Moved { microjoules, foreign_microjoules, .. } => format!("moved:{microjoules}/{foreign_microjoules}"),
        Taken::Waiting => "waiting".to_owned(),
        Taken::Doubted(doubt) => format!(
            "doubted:{}",
            match doubt {
                Doubt::Frozen(_) => "frozen",
                Doubt::Spike { .. } => "spike",
                Doubt::Backwards => "backwards",
                Doubt::ClockBack => "clock-back",
                Doubt::Silent(SensorError::Denied { .. } | SensorError::Gone(_) | SensorError::Nonsense(_)) => "silent",
            }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BACK_ENDS, amdgpu, hwmon, intel_gpu, processor, rapl};
    use super::*;

    /// Those that read files. Devices that are no files have a matrix of their own.
    fn back_ends() -> Vec<BackEnd> {
        let mut all = vec![rapl::tests::back_end(), hwmon::tests::back_end(), amdgpu::tests::back_end()];
        all.extend(intel_gpu::tests::back_ends());
        all.extend(processor::tests::back_ends());
        all
    }

    #[test]
    fn every_source_is_recorded_in_every_case() {
        for back_end in BACK_ENDS {
            for name in CASES {
                let Case { about, steps, .. } = load(back_end, name);
                assert!(!about.is_empty() && !steps.is_empty(), "{back_end} {name} does not say what it is");
            }
        }
    }

    /// Prints what every back end makes of every case, and holds it against the recording.
    #[test]
    fn every_back_end_survives_every_case() {
        let mut wrong = Vec::new();
        for mut back_end in back_ends() {
            for name in CASES {
                let case = load(back_end.name, name);
                let came = play(&mut back_end, &case);
                let tier = came.tier.as_deref().unwrap_or("-");
                println!("{:<15} {name:<8} {tier} {:<9} {}", back_end.name, came.finding, came.taken.join(" "));
                if came != case.expect {
                    wrong.push(format!("{} {name}: {came:#?} instead of {:#?}", back_end.name, case.expect));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
