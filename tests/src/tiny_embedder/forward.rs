//! The vector of a text, step by step as the papers have it, with numbers of double precision. Sources: Qwen3 Technical
//! Report (arXiv 2505.09388), with RMSNorm (1910.07467), rotary positions (2104.09864), grouped queries (2305.13245) and
//! SwiGLU (2002.05202).

use super::{EPSILON, HEAD, HEADS, KEY_HEADS, Layer, Matrix, THETA, TinyEmbedder};

/// A number for each dimension.
type Row = Vec<f64>;

impl TinyEmbedder {
    /// The vector of these tokens, of length 1: what the last of them knows after all layers.
    ///
    /// # Panics
    /// When there is no token, or one that the model doesn't know.
    pub fn vector(&self, tokens: &[u32]) -> Row {
        let row = |token: &u32| self.tokens.row(*token as usize).map(f64::from).collect();
        let mut rows: Vec<Row> = tokens.iter().map(row).collect();
        for layer in &self.layers {
            rows = layer.apply(rows);
        }
        let last = normalised(rows.last().expect("a token"), &self.last_norm);
        let length = dot(&last, &last).sqrt();
        last.into_iter().map(|number| number / length).collect()
    }
}

impl Matrix {
    fn row(&self, index: usize) -> impl Iterator<Item = f32> {
        self.numbers[index * self.columns..][..self.columns].iter().copied()
    }

    fn times(&self, row: &[f64]) -> Row {
        let rows = self.numbers.chunks_exact(self.columns);
        rows.map(|weights| weights.iter().zip(row).map(|(weight, number)| f64::from(*weight) * number).sum()).collect()
    }
}

impl Layer {
    fn apply(&self, rows: Vec<Row>) -> Vec<Row> {
        let rows = added(&rows, self.attend(&rows));
        let inner = rows.iter().map(|row| self.think(&normalised(row, &self.before_inner))).collect();
        added(&rows, inner)
    }

    fn think(&self, row: &[f64]) -> Row {
        let silu = |number: f64| number / (1.0 + (-number).exp());
        let gated = self.gate.times(row).into_iter().zip(self.up.times(row)).map(|(gate, up)| silu(gate) * up);
        self.down.times(&gated.collect::<Row>())
    }

    fn attend(&self, rows: &[Row]) -> Vec<Row> {
        let rows: Vec<Row> = rows.iter().map(|row| normalised(row, &self.before_attention)).collect();
        let queries = heads(&rows, &self.query, Some(&self.query_norm));
        let keys = heads(&rows, &self.key, Some(&self.key_norm));
        let values = heads(&rows, &self.value, None);
        let seen = |position: usize| looked(&queries[position], &keys[..=position], &values);
        (0..rows.len()).map(|position| self.out.times(&seen(position))).collect()
    }
}

/// For each row its heads; those of queries and keys are normalised and turned by their position.
fn heads(rows: &[Row], matrix: &Matrix, norm: Option<&[f32]>) -> Vec<Vec<Row>> {
    let of = |(position, row): (usize, &Row)| {
        let head = |head: &[f64]| match norm {
            Some(norm) => turned(&normalised(head, norm), position),
            None => head.to_vec(),
        };
        matrix.times(row).chunks_exact(HEAD).map(head).collect()
    };
    rows.iter().enumerate().map(of).collect()
}

/// What a token's queries find among the keys that it may see.
fn looked(queries: &[Row], keys: &[Vec<Row>], values: &[Vec<Row>]) -> Row {
    let mut found = Vec::new();
    for (head, query) in queries.iter().enumerate() {
        let shared = head / (HEADS / KEY_HEADS);
        let fits = keys.iter().map(|keys| dot(query, &keys[shared]) / (HEAD as f64).sqrt());
        let mut sum = vec![0.0; HEAD];
        for (share, values) in shares(fits.collect()).into_iter().zip(values) {
            sum.iter_mut().zip(&values[shared]).for_each(|(sum, value)| *sum += share * value);
        }
        found.extend(sum);
    }
    found
}

fn added(rows: &[Row], more: Vec<Row>) -> Vec<Row> {
    let sum = |(row, more): (&Row, Row)| row.iter().zip(more).map(|(a, b)| a + b).collect();
    rows.iter().zip(more).map(sum).collect()
}

fn normalised(row: &[f64], weights: &[f32]) -> Row {
    let scale = 1.0 / (dot(row, row) / row.len() as f64 + EPSILON).sqrt();
    row.iter().zip(weights).map(|(number, weight)| number * scale * f64::from(*weight)).collect()
}

/// Turned by its position: number `i` of the first half with number `i` of the second.
fn turned(head: &[f64], position: usize) -> Row {
    let half = HEAD / 2;
    let angle = |at: usize| position as f64 * THETA.powf(-2.0 * at as f64 / HEAD as f64);
    let first = (0..half).map(|at| head[at] * angle(at).cos() - head[half + at] * angle(at).sin());
    let second = (0..half).map(|at| head[half + at] * angle(at).cos() + head[at] * angle(at).sin());
    first.chain(second).collect()
}

fn shares(fits: Row) -> Row {
    let best = fits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Row = fits.into_iter().map(|fit| (fit - best).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
