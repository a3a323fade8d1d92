//! A small embedding model of the Qwen3-Embedding architecture with random weights, made on the spot, and what its vectors
//! must be, computed from the published formulas alone.

mod files;

mod forward;

use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Numbers in a vector.
pub const DIMENSIONS: usize = 32;
pub(crate) const LAYERS: usize = 2;
pub(crate) const HEADS: usize = 4;
pub(crate) const KEY_HEADS: usize = 2;
/// Not `DIMENSIONS / HEADS`, as in the real ones.
pub(crate) const HEAD: usize = 16;
pub(crate) const INNER: usize = 48;
/// A token for each byte, and the one that ends a text.
pub(crate) const VOCABULARY: usize = 257;
/// What the model's tokenizer puts behind every text.
pub const END: u32 = 256;
pub(crate) const CONTEXT: usize = 4096;
pub(crate) const EPSILON: f64 = 1e-6;
pub(crate) const THETA: f64 = 1_000_000.0;

/// What weights are multiplied with: row after row, a row for each number that comes out.
pub(crate) struct Matrix {
    pub(crate) columns: usize,
    pub(crate) numbers: Vec<f32>,
}

pub(crate) struct Layer {
    pub(crate) before_attention: Vec<f32>,
    pub(crate) query: Matrix,
    pub(crate) key: Matrix,
    pub(crate) value: Matrix,
    pub(crate) out: Matrix,
    pub(crate) query_norm: Vec<f32>,
    pub(crate) key_norm: Vec<f32>,
    pub(crate) before_inner: Vec<f32>,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
}

/// The model, in memory and in a folder that goes with it.
pub struct TinyEmbedder {
    folder: PathBuf,
    pub(crate) tokens: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) last_norm: Vec<f32>,
}

impl TinyEmbedder {
    /// Makes the model of this seed and writes it to a folder.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn make(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let model = Self {
            folder: std::env::temp_dir().join(format!("tiny-embedder-{}", Uuid::now_v7())),
            tokens: matrix(&mut random, VOCABULARY, DIMENSIONS),
            layers: (0..LAYERS).map(|_| Layer::random(&mut random)).collect(),
            last_norm: norm(&mut random, DIMENSIONS),
        };
        model.write().expect("the model's folder");
        model
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Arguments of a node that serves it as `tiny-embedder`.
    ///
    /// # Panics
    /// When the folder's name is not text.
    pub fn arguments(&self) -> [&str; 4] {
        ["--source", self.folder.to_str().expect("text"), "--model", Self::NAME]
    }

    /// What it is called.
    pub const NAME: &'static str = "tiny-embedder";

    /// The tokens of a text.
    pub fn tokenize(text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).chain([END]).collect()
    }
}

impl Layer {
    fn random(random: &mut fastrand::Rng) -> Self {
        Self {
            before_attention: norm(random, DIMENSIONS),
            query: matrix(random, HEADS * HEAD, DIMENSIONS),
            key: matrix(random, KEY_HEADS * HEAD, DIMENSIONS),
            value: matrix(random, KEY_HEADS * HEAD, DIMENSIONS),
            out: matrix(random, DIMENSIONS, HEADS * HEAD),
            query_norm: norm(random, HEAD),
            key_norm: norm(random, HEAD),
            before_inner: norm(random, DIMENSIONS),
            gate: matrix(random, INNER, DIMENSIONS),
            up: matrix(random, INNER, DIMENSIONS),
            down: matrix(random, DIMENSIONS, INNER),
        }
    }
}

/// Of a size that neither dies out nor explodes on its way through the layers.
fn matrix(random: &mut fastrand::Rng, rows: usize, columns: usize) -> Matrix {
    let size = (3.0 / columns as f64).sqrt();
    let numbers = (0..rows * columns).map(|_| ((random.f64() * 2.0 - 1.0) * size) as f32).collect();
    Matrix { columns, numbers }
}

fn norm(random: &mut fastrand::Rng, length: usize) -> Vec<f32> {
    (0..length).map(|_| (0.5 + random.f64()) as f32).collect()
}

impl Drop for TinyEmbedder {
    fn drop(&mut self) {
        // Left behind at worst in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
