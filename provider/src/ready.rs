//! Gets what computes ready: models are fetched, verified and loaded, or a server of the operator's own is asked for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use futures_util::FutureExt;
use openapi::manifest::{ManifestFile, ModelManifest};
use openapi::model::ModelKind;

use crate::blobs::Blobs;
use crate::chosen::price_of;
use crate::config::ServeConfig;
use crate::connect;
use crate::energy::pools::EnginePlace;
use crate::engine::{Embedder, Engine, LoadError};
use crate::keeper::{Keeper, Load};
use crate::measure;
use crate::memory;
use crate::node::{Backend, Offered};
use crate::pull::catalogue::{self, CatalogueEntry};
use crate::pull::{self, Peers, PullSettings, SourceChoice, given};
use crate::upstream::Upstream;
use crate::upstream::config::EngineChoice;

/// What servers take at once without their operator having thought about it.
const UPSTREAM_SLOTS: u32 = 8;

/// Models that can be asked, the first one first, and what there is to say of their machine.
pub(crate) struct Ready {
    pub(crate) models: Vec<Offered>,
    /// As many requests at once as suit each of the models.
    pub(crate) slots: u32,
    pub(crate) place: EnginePlace,
    /// The server, where there is one.
    pub(crate) upstream: Option<Arc<Upstream>>,
}

/// Gets all models ready, as the operator asks for them.
///
/// # Errors
/// The sentence says what to do.
pub(crate) async fn all(config: &ServeConfig) -> anyhow::Result<Ready> {
    let ready = match config.engine {
        EngineChoice::Mistralrs => load_all(config).await?,
        EngineChoice::Openai => join_all(config).await?,
    };
    let names: Vec<&str> = ready.models.iter().map(|model| model.manifest.name.as_str()).collect();
    let priced = config.price.iter().filter_map(|price| price.model.as_deref());
    if let Some(unknown) = priced.into_iter().find(|name| !names.contains(name)) {
        bail!("--price is for a model '{unknown}' that is not served here: name one of {}", names.join(", "));
    }
    Ok(ready)
}

/// A model whose files are here.
struct Fetched {
    manifest: ModelManifest,
    folder: PathBuf,
    /// What the engine loads of it; of an embedding model that is all.
    file: String,
    kind: ModelKind,
}

async fn load_all(config: &ServeConfig) -> anyhow::Result<Ready> {
    if config.upstream.upstream.is_some() {
        bail!("--upstream is for a server of yours: say --engine openai with it");
    }
    let mut fetched: Vec<Fetched> = Vec::new();
    for (name, source) in config.model.chosen() {
        let model = fetch(config, name, source).await?;
        check_name(fetched.iter().map(|other| &other.manifest), &model.manifest)?;
        fetched.push(model);
    }
    check_memory(&fetched)?;
    let (mut models, mut slots) = (Vec::new(), u32::MAX);
    for model in fetched {
        let (offered, suit) = load(config, model).await?;
        slots = slots.min(suit);
        models.push(offered);
    }
    Ok(Ready { models, slots, place: EnginePlace::Here, upstream: None })
}

fn check_name<'a>(mut others: impl Iterator<Item = &'a ModelManifest>, new: &ModelManifest) -> anyhow::Result<()> {
    if others.any(|other| other.name == new.name) {
        bail!("the model '{}' is named twice: leave one out, or give one another name", new.name);
    }
    Ok(())
}

/// Of a single model it shows by itself whether it fits.
fn check_memory(models: &[Fetched]) -> anyhow::Result<()> {
    let Some(available) = memory::available(Path::new("/")).filter(|_| models.len() > 1) else { return Ok(()) };
    let weights: Vec<_> = models.iter().map(|model| (model.manifest.name.as_str(), model.bytes_in_memory())).collect();
    memory::check(&weights, available).map_err(anyhow::Error::msg)
}

impl Fetched {
    /// What its weights take when they are loaded.
    fn bytes_in_memory(&self) -> u64 {
        let bytes: u64 = self.manifest.files.iter().map(|file| file.bytes).sum();
        let bytes = std::fs::metadata(self.folder.join(&self.file)).map_or(bytes, |loaded| bytes.max(loaded.len()));
        // Vectors are computed in numbers twice as wide as those in most files.
        if self.kind == ModelKind::Embedding { bytes.saturating_mul(2) } else { bytes }
    }
}

/// A model, fetched if it is not here, or in a folder of the operator's own.
async fn fetch(config: &ServeConfig, name: Option<&str>, source: &SourceChoice) -> anyhow::Result<Fetched> {
    if let Some(folder) = given::folder(source) {
        let manifest = given::manifest(folder, name, &config.upstream_model.licence).await?;
        return Ok(Fetched { manifest, folder: folder.to_owned(), file: String::new(), kind: ModelKind::Embedding });
    }
    let entry = catalogue::find(name.unwrap_or(catalogue::DEFAULT_MODEL))?;
    let folder = pulled(config, entry, source).await?;
    let file = entry.made_here().or(entry.files.first()).context("the catalogue names no file for this model")?;
    Ok(Fetched { manifest: manifest(entry), folder, file: file.path.to_owned(), kind: ModelKind::Text })
}

/// The folder with a model of the catalogue. Other nodes give it to the gateway's own nodes alone, so a newcomer enrols
/// first.
async fn pulled(config: &ServeConfig, entry: &CatalogueEntry, source: &SourceChoice) -> anyhow::Result<PathBuf> {
    if let Ok(Some(folder)) = pull::verify_present(entry, &config.model.data).await {
        return Ok(folder);
    }
    connect::enrol_ahead(config).await?;
    let peers = Peers::among(&config.gateway, &config.model.data)?;
    let settings = PullSettings { peers, ..PullSettings::default() };
    Ok(pull::pull_with(entry, source, &config.model.data, &settings).await?)
}

/// Loads a model; with it, how many requests at once suit it. Each is loaded at the start, since only then is it known that
/// it can be, and how long its context is.
async fn load(config: &ServeConfig, model: Fetched) -> anyhow::Result<(Offered, u32)> {
    let Fetched { manifest, folder, file, kind } = model;
    let blobs = Blobs::new(&manifest, &folder);
    tracing::info!(model = manifest.name, id = manifest.id(), "loading");
    let context = config.context;
    let load: Load = Box::new(move || loaded(folder.clone(), file.clone(), kind, context).boxed());
    let backend = load().await?;
    let measured = match (&backend, config.slots) {
        (Backend::Engine(engine), None) => Some(measure::measured(engine, &manifest.id(), &config.model.data).await?),
        (Backend::Engine(engine), Some(slots)) if slots > 1 && engine.has_memory_for(slots) == Some(false) => bail!(
            "--slots {slots} needs the weights of '{}' {slots} times in memory, and this machine has too little: lower it, or \
             leave it out and it is measured",
            manifest.name
        ),
        _ => None,
    };
    // One text that is embedded keeps all processors busy.
    let slots = config.slots.or(measured.map(|measured| measured.slots)).unwrap_or(1);
    let price = price_of(&config.price, &manifest.name);
    let tokens_per_second = measured.map(|measured| measured.tokens_per_second);
    let keeper = Keeper::new(backend, Some(load));
    Ok((Offered { keeper, manifest, blobs, price, tokens_per_second }, slots))
}

async fn loaded(folder: PathBuf, file: String, kind: ModelKind, context: Option<usize>) -> Result<Backend, LoadError> {
    Ok(match kind {
        ModelKind::Text => Backend::Engine(Arc::new(Engine::load(&folder, &file, context).await?)),
        ModelKind::Embedding => Backend::Embedder(Arc::new(Embedder::load(&folder, context).await?)),
    })
}

/// Asks the operator's own server for its models.
async fn join_all(config: &ServeConfig) -> anyhow::Result<Ready> {
    let own = config.upstream_model.upstream_model.as_deref();
    let mut names: Vec<(&str, &str)> =
        config.model.model.iter().map(|public| (public.name.as_str(), own.unwrap_or(&public.name))).collect();
    match (names.len(), own) {
        (0, Some(own)) => names.push((own, own)),
        (0, None) => bail!("say which of the server's models is meant, with --model or --upstream-model"),
        (1, _) | (_, None) => {}
        (_, Some(_)) => {
            bail!("--upstream-model is for one model: leave it out, and each is called what the server calls it")
        }
    }
    let mut ready = Ready {
        models: Vec::new(),
        slots: config.slots.unwrap_or(UPSTREAM_SLOTS),
        place: EnginePlace::Elsewhere,
        upstream: None,
    };
    for (name, own) in names {
        let upstream = Arc::new(Upstream::connect(&config.upstream, own, config.context).await?);
        let context = upstream.context_length();
        tracing::info!(upstream = upstream.address(), model = own, context, "the server has the model");
        let offered = of_server(config, name, Backend::Upstream(Arc::clone(&upstream)));
        check_name(ready.models.iter().map(|other| &other.manifest), &offered.manifest)?;
        ready.models.push(offered);
        let is_here = upstream.is_here() || config.upstream_model.upstream_here;
        ready.place = if is_here { EnginePlace::Beside } else { EnginePlace::Elsewhere };
        ready.upstream.get_or_insert(upstream);
    }
    Ok(ready)
}

fn of_server(config: &ServeConfig, name: &str, backend: Backend) -> Offered {
    let manifest = ModelManifest {
        name: name.to_owned(),
        // Nobody has seen them: such a model is known by its name alone.
        files: Vec::new(),
        quantisation: config.upstream_model.quantisation.clone(),
        licence: config.upstream_model.licence.clone(),
        authors: Vec::new(),
    };
    let blobs = Blobs::new(&manifest, &config.model.data);
    let price = price_of(&config.price, name);
    Offered { keeper: Keeper::new(backend, None), manifest, blobs, price, tokens_per_second: None }
}

fn manifest(entry: &CatalogueEntry) -> ModelManifest {
    let file = |file: &catalogue::CatalogueFile| ManifestFile {
        path: file.path.to_owned(),
        bytes: file.bytes,
        sha256: file.sha256.to_owned(),
        blake3: Some(file.blake3.to_owned()),
    };
    ModelManifest {
        name: entry.name.to_owned(),
        files: entry.files.iter().map(file).collect(),
        quantisation: entry.quantisation.to_owned(),
        licence: entry.licence.to_owned(),
        authors: entry.authors.iter().map(ToString::to_string).collect(),
    }
}
