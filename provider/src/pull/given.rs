//! An embedding model in a folder of the operator's own, as Sentence Transformers lays it out: `modules.json` names what
//! belongs to it. No catalogue knows its files, so the manifest is made of those that are there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use openapi::manifest::{ManifestFile, ModelManifest};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::SourceChoice;
use super::catalogue;
use super::verify::blocking;

const MODULES: &str = "modules.json";
/// Files that every such model has beside its weights.
const ALWAYS: [&str; 3] = ["config.json", MODULES, "tokenizer.json"];
/// Files that a module may have in its folder.
const OF_A_MODULE: [&str; 2] = ["config.json", "model.safetensors"];
/// The longest description of a file's tensors. Source: the safetensors format.
const LONGEST_HEADER: u64 = 100_000_000;
const BLOCK: usize = 1 << 20;

/// Why a folder is no model.
#[derive(Debug, Error)]
pub enum NotAModel {
    /// A model needs a name.
    #[error("the model in {} has no name yet: say with --model what it is called", folder.display())]
    Nameless { folder: PathBuf },
    /// The name is that of another model.
    #[error("`{name}` is another model's name in the catalogue: give the one in {} another with --model", folder.display())]
    NameTaken { name: String, folder: PathBuf },
    /// A file is missing, or can't be read.
    #[error("{}: {error}. An embedding model's folder has config.json, tokenizer.json, modules.json, what that names, and weights as .safetensors", path.display())]
    File { path: PathBuf, error: io::Error },
}

/// The folder that is meant, if it holds an embedding model.
pub fn folder(source: &SourceChoice) -> Option<&Path> {
    match source {
        SourceChoice::Path(path) if path.join(MODULES).is_file() => Some(path),
        _ => None,
    }
}

/// What the model in a folder is, under this name.
///
/// # Errors
/// [`NotAModel`], whose message says what to do.
pub async fn manifest(folder: &Path, name: Option<&str>, licence: &str) -> Result<ModelManifest, NotAModel> {
    let of = || folder.to_owned();
    let name = name.ok_or_else(|| NotAModel::Nameless { folder: of() })?.to_owned();
    if catalogue::find(&name).is_ok() {
        return Err(NotAModel::NameTaken { name, folder: of() });
    }
    let (folder, licence) = (of(), licence.to_owned());
    let at = folder.clone();
    let described = blocking(move || Ok(describe(&folder, name, licence)));
    described.await.map_err(|error| NotAModel::File { path: at, error })?
}

fn describe(folder: &Path, name: String, licence: String) -> Result<ModelManifest, NotAModel> {
    let failed = |path: &str| {
        let path = folder.join(path);
        move |error| NotAModel::File { path, error }
    };
    let mut files = Vec::new();
    for path in paths(folder).map_err(failed(MODULES))? {
        files.push(pinned(folder, &path).map_err(failed(&path))?);
    }
    let weights = || files.iter().map(|file| file.path.as_str()).filter(|path| is_weights(path));
    let mut bytes_by_type = BTreeMap::new();
    for path in weights() {
        count_types(&folder.join(path), &mut bytes_by_type).map_err(failed(path))?;
    }
    let missing = || failed("model.safetensors")(io::ErrorKind::NotFound.into());
    let (quantisation, _) = bytes_by_type.into_iter().max_by_key(|(_, bytes)| *bytes).ok_or_else(missing)?;
    Ok(ModelManifest { name, files, quantisation, licence, authors: Vec::new() })
}

/// The files of the model, in order.
fn paths(folder: &Path) -> io::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Module {
        path: String,
    }
    let modules: Vec<Module> = serde_json::from_slice(&std::fs::read(folder.join(MODULES))?)?;
    let mut paths: Vec<String> = ALWAYS.map(str::to_owned).to_vec();
    for entry in std::fs::read_dir(folder)? {
        paths.extend(entry?.file_name().into_string().ok().filter(|name| is_weights(name)));
    }
    for Module { path } in modules.into_iter().filter(|module| !module.path.is_empty()) {
        if !Path::new(&path).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(io::Error::other(format!("the module `{path}` lies outside the folder")));
        }
        let files = OF_A_MODULE.map(|file| format!("{path}/{file}"));
        paths.extend(files.into_iter().filter(|file| folder.join(file).is_file()));
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

fn is_weights(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("model") && name.ends_with(".safetensors")
}

/// A file by its length and hashes.
fn pinned(folder: &Path, path: &str) -> io::Result<ManifestFile> {
    let mut file = File::open(folder.join(path))?;
    let (mut sha256, mut blake3) = (digest::Context::new(&digest::SHA256), blake3::Hasher::new());
    let (mut block, mut bytes) = (vec![0; BLOCK], 0);
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            break;
        }
        sha256.update(&block[..read]);
        blake3.update(&block[..read]);
        bytes += read as u64;
    }
    Ok(ManifestFile {
        path: path.to_owned(),
        bytes,
        sha256: HEXLOWER.encode(sha256.finish().as_ref()),
        blake3: Some(blake3.finalize().to_hex().to_string()),
    })
}

/// Adds how many bytes of weights there are of each type of number.
fn count_types(path: &Path, bytes_by_type: &mut BTreeMap<String, u64>) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Tensor {
        dtype: String,
        data_offsets: (u64, u64),
    }
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(io::Error::other("no file of the safetensors format"));
    }
    let tensors: BTreeMap<String, Value> = serde_json::from_reader(file.take(length))?;
    for (_, tensor) in tensors.into_iter().filter(|(name, _)| name != "__metadata__") {
        let Tensor { dtype, data_offsets: (from, to) } = serde_json::from_value(tensor)?;
        *bytes_by_type.entry(dtype).or_default() += to.saturating_sub(from);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Folder, hash_of},
        *,
    };

    const HEADER: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    const LAYOUT: &str = r#"[{"idx":0,"path":"","type":"a.Transformer"},{"idx":1,"path":"1_Pooling","type":"a.Pooling"},{"idx":2,"path":"2_Normalize","type":"a.Normalize"}]"#;

    fn model() -> Folder {
        let folder = Folder::new();
        for (name, content) in [("config.json", "{}"), ("tokenizer.json", "{}"), (MODULES, LAYOUT), ("README.md", "x")]
        {
            folder.write(name, content.as_bytes());
        }
        let weights = [&(HEADER.len() as u64).to_le_bytes()[..], HEADER.as_bytes(), &[0; 12]].concat();
        folder.write("model.safetensors", &weights);
        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        folder.write("1_Pooling/config.json", b"{}");
        folder
    }

    #[tokio::test]
    async fn the_manifest_names_what_belongs_to_the_model_and_its_numbers() {
        let model = model();
        let manifest = manifest(model.path(), Some("mine"), "MIT").await.unwrap();
        let paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["1_Pooling/config.json", "config.json", "model.safetensors", MODULES, "tokenizer.json"]);
        assert_eq!((manifest.quantisation.as_str(), manifest.licence.as_str()), ("BF16", "MIT"));
        let config = &manifest.files[1];
        assert_eq!((config.bytes, &config.sha256), (2, &hash_of(b"{}")));
        assert_eq!(config.blake3, Some(blake3::hash(b"{}").to_hex().to_string()));
    }

    #[tokio::test]
    async fn what_is_no_model_is_told() {
        let refusal = |model: Folder, name: Option<&'static str>| async move {
            manifest(model.path(), name, "MIT").await.unwrap_err().to_string()
        };
        assert!(refusal(model(), None).await.contains("say with --model what it is called"));
        assert!(refusal(model(), Some(catalogue::DEFAULT_MODEL)).await.contains("another model's name"));
        for missing in ["tokenizer.json", "model.safetensors"] {
            let model = model();
            std::fs::remove_file(model.path().join(missing)).unwrap();
            let told = refusal(model, Some("mine")).await;
            assert!(told.contains(missing) && told.contains("An embedding model's folder has"), "{told}");
        }
        let elsewhere = model();
        elsewhere.write(MODULES, br#"[{"path":"../x","type":"a.Pooling"}]"#);
        assert!(refusal(elsewhere, Some("mine")).await.contains("outside the folder"));
        let garbage = model();
        garbage.write("model.safetensors", &[255; 64]);
        assert!(refusal(garbage, Some("mine")).await.contains("no file of the safetensors format"));
    }

    #[test]
    fn only_a_folder_with_modules_is_meant() {
        let model = model();
        assert_eq!(folder(&SourceChoice::Path(model.path().to_owned())), Some(model.path()));
        assert_eq!(folder(&SourceChoice::Path(model.path().join("config.json"))), None);
        assert_eq!(folder(&SourceChoice::Auto), None);
    }
}
