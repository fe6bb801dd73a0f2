//! Attention of one head of one row of the batch, in scratch memory linear in the length.
//!
//! Lengths and widths are padded to whole registers with values that change no bit, so a result does not depend on how
//! far its row is padded.

use super::dropout::Mask;
use super::simd::{LANES, exp, fma, max_of, sum_of, sum_of_pairs, vectorised};
use super::tile::{Left, multiply, multiply_transposed};
use std::sync::{Mutex, PoisonError};

/// Queries worked on at a time.
const QUERIES: usize = 32;
/// What a hidden key's score becomes: finite, so that a row without any visible key is uniform.
const HIDDEN: f32 = -1e30;

/// The shape of an attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) heads: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    /// Of a head.
    pub(super) width: usize,
}

impl Shape {
    fn padded_keys(&self) -> usize {
        self.keys.next_multiple_of(LANES)
    }
    fn padded_width(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }
}

/// Where the values of a head stand: from the first on, every `stride`-th one starts a row.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

/// One head's inputs.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) query: Part<'a>,
    pub(super) key: Part<'a>,
    pub(super) value: Part<'a>,
    /// Nonzero where a key is visible.
    pub(super) visible: &'a [u8],
    /// The mask on probabilities and the index of this head's first one.
    pub(super) dropout: Option<(Mask, usize)>,
}

/// Rows of one head's output or gradient.
pub(super) type Out<'a> = Vec<&'a mut [f32]>;

/// The scratch memories of one attention: at most one a thread.
pub(super) struct Pool {
    shape: Shape,
    idle: Mutex<Vec<Scratch>>,
}

impl Pool {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, idle: Mutex::default() }
    }

    /// Lends a scratch memory.
    pub(super) fn with(&self, work: impl FnOnce(&mut Scratch)) {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut scratch = taken.unwrap_or_else(|| Scratch::new(self.shape));
        work(&mut scratch);
        idle().push(scratch);
    }
}

/// Memory for one head, used again for the next.
pub(super) struct Scratch {
    shape: Shape,
    bias: Vec<f32>,
    zeros: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    key_columns: Vec<f32>,
    value: Vec<f32>,
    value_columns: Vec<f32>,
    gradient: Vec<f32>,
    probabilities: Vec<f32>,
    changes: Vec<f32>,
    factors: Vec<f32>,
    out: Vec<f32>,
    key_gradient: Vec<f32>,
    value_gradient: Vec<f32>,
}

impl Scratch {
    fn new(shape: Shape) -> Self {
        let (keys, width) = (shape.padded_keys(), shape.padded_width());
        let block = || vec![0.0; QUERIES.min(shape.queries) * keys];
        let per_key = || vec![0.0; keys * width];
        Self {
            shape,
            bias: vec![0.0; keys],
            zeros: vec![0.0; width],
            query: vec![0.0; shape.queries * width],
            key: per_key(),
            key_columns: per_key(),
            value: per_key(),
            value_columns: per_key(),
            gradient: vec![0.0; shape.queries * width],
            probabilities: block(),
            changes: block(),
            factors: block(),
            out: vec![0.0; QUERIES * width],
            key_gradient: per_key(),
            value_gradient: per_key(),
        }
    }

    /// Writes the output, and of each query's scores the greatest and the reciprocal sum of exponentials.
    pub(super) fn forward(&mut self, head: Head<'_>, mut out: Out<'_>, moments: &mut [[f32; 2]]) {
        let (keys, width) = (self.shape.padded_keys(), self.shape.padded_width());
        self.read(head);
        for first in (0..self.shape.queries).step_by(QUERIES) {
            let count = QUERIES.min(self.shape.queries - first);
            let scale = self.scores(head, first, count);
            let probabilities = &mut self.probabilities[..count * keys];
            softmax(&self.bias, scale, probabilities, &mut moments[first..first + count]);
            if let Some((mask, start)) = head.dropout {
                let start = start + first * self.shape.keys;
                factors(mask, start, self.shape.keys, keys, &mut self.factors[..count * keys]);
                scale_by(&self.factors, probabilities);
            }
            self.out.fill(0.0);
            let left = Left { values: probabilities, stride: keys };
            multiply(left, self.shape.keys, &self.value, width, &mut self.out[..count * width]);
            write(&self.out, width, &mut out[first..first + count]);
        }
    }

    /// Writes the gradients of query, key and value, given that of the output and what [`forward`](Self::forward) wrote.
    pub(super) fn backward(
        &mut self,
        head: Head<'_>,
        gradient: Part<'_>,
        moments: &[[f32; 2]],
        [mut query, mut key, mut value]: [Out<'_>; 3],
    ) {
        let (keys, width, real_keys) = (self.shape.padded_keys(), self.shape.padded_width(), self.shape.keys);
        self.read(head);
        pack(head.key, self.shape.width, width, &mut self.key[..real_keys * width]);
        pack_columns(head.value, self.shape, &self.zeros, &mut self.value_columns);
        pack(gradient, self.shape.width, width, &mut self.gradient);
        self.key_gradient.fill(0.0);
        self.value_gradient.fill(0.0);
        for first in (0..self.shape.queries).step_by(QUERIES) {
            let count = QUERIES.min(self.shape.queries - first);
            let scale = self.scores(head, first, count);
            let probabilities = &mut self.probabilities[..count * keys];
            let gradient = &self.gradient[first * width..(first + count) * width];
            softmax_again(&self.bias, scale, probabilities, &moments[first..first + count]);
            let changes = &mut self.changes[..count * keys];
            changes.fill(0.0);
            multiply(Left { values: gradient, stride: width }, self.shape.width, &self.value_columns, keys, changes);
            let value_gradient = &mut self.value_gradient[..real_keys * width];
            if let Some((mask, start)) = head.dropout {
                let dropped = &mut self.factors[..count * keys];
                factors(mask, start + first * real_keys, real_keys, keys, dropped);
                scale_by(dropped, changes);
                scale_by(probabilities, dropped);
                multiply_transposed(Left { values: dropped, stride: keys }, count, gradient, width, value_gradient);
            } else {
                let left = Left { values: probabilities, stride: keys };
                multiply_transposed(left, count, gradient, width, value_gradient);
            }
            softmax_backward(probabilities, keys, scale, changes);
            let left = Left { values: changes, stride: keys };
            self.out.fill(0.0);
            multiply(left, real_keys, &self.key, width, &mut self.out[..count * width]);
            write(&self.out, width, &mut query[first..first + count]);
            let queries = &self.query[first * width..(first + count) * width];
            multiply_transposed(left, count, queries, width, &mut self.key_gradient[..real_keys * width]);
        }
        write(&self.key_gradient, width, &mut key);
        write(&self.value_gradient, width, &mut value);
    }

    /// Copies a head's inputs to where its products read them.
    fn read(&mut self, head: Head<'_>) {
        let (width, keys) = (self.shape.padded_width(), self.shape.keys);
        pack(head.query, self.shape.width, width, &mut self.query);
        pack(head.value, self.shape.width, width, &mut self.value[..keys * width]);
        pack_columns(head.key, self.shape, &self.zeros, &mut self.key_columns);
        let blind = head.visible.iter().all(|visible| *visible == 0);
        self.bias.fill(HIDDEN);
        for (bias, visible) in self.bias.iter_mut().zip(head.visible) {
            *bias = if blind || *visible != 0 { 0.0 } else { HIDDEN };
        }
    }

    /// Products of `count` queries with all keys; gives what scales them: 0 where nothing is visible, so that all are
    /// equal and have no gradient.
    fn scores(&mut self, head: Head<'_>, first: usize, count: usize) -> f32 {
        let (keys, width) = (self.shape.padded_keys(), self.shape.padded_width());
        let scores = &mut self.probabilities[..count * keys];
        scores.fill(0.0);
        let left = Left { values: &self.query[first * width..], stride: width };
        multiply(left, self.shape.width, &self.key_columns, keys, scores);
        let blind = head.visible.iter().all(|visible| *visible == 0);
        if blind { 0.0 } else { 1.0 / (self.shape.width as f32).sqrt() }
    }
}

/// Rows of `width` to rows of `padded`.
fn pack(from: Part<'_>, width: usize, padded: usize, to: &mut [f32]) {
    for (to, from) in to.chunks_exact_mut(padded).zip(from.values.chunks(from.stride)) {
        to[..width].copy_from_slice(&from[..width]);
    }
}

/// Rows of keys or values to columns, padded with zeros.
fn pack_columns(from: Part<'_>, shape: Shape, zeros: &[f32], to: &mut [f32]) {
    let (padded, width) = (shape.padded_keys(), shape.width);
    for first in (0..shape.keys).step_by(LANES) {
        let rows: [&[f32]; LANES] = std::array::from_fn(|lane| match first + lane {
            row if row < shape.keys => &from.values[row * from.stride..][..width],
            _ => &zeros[..width],
        });
        for column in 0..width {
            let lanes: [f32; LANES] = std::array::from_fn(|lane| rows[lane][column]);
            to[column * padded + first..][..LANES].copy_from_slice(&lanes);
        }
    }
}

/// Padded rows to rows.
fn write(from: &[f32], padded: usize, to: &mut [&mut [f32]]) {
    for (to, from) in to.iter_mut().zip(from.chunks_exact(padded)) {
        to.copy_from_slice(&from[..to.len()]);
    }
}

vectorised! {
    fn softmax<'a, S>(bias: &'a [f32], scale: f32, scores: &'a mut [f32], moments: &'a mut [[f32; 2]]) {
        for (row, moments) in scores.chunks_exact_mut(bias.len()).zip(moments) {
            for (score, bias) in row.iter_mut().zip(bias) {
                *score = fma::<S>(*score, scale, *bias);
            }
            let greatest = max_of(row);
            for score in row.iter_mut() {
                *score = exp::<S>(*score - greatest);
            }
            let reciprocal = 1.0 / sum_of(row, |sum, value| sum + value);
            for value in row.iter_mut() {
                *value *= reciprocal;
            }
            *moments = [greatest, reciprocal];
        }
    }
}

vectorised! {
    /// What [`softmax`] gave, from its moments: the same bits.
    fn softmax_again<'a, S>(bias: &'a [f32], scale: f32, scores: &'a mut [f32], moments: &'a [[f32; 2]]) {
        for (row, [greatest, reciprocal]) in scores.chunks_exact_mut(bias.len()).zip(moments) {
            for (score, bias) in row.iter_mut().zip(bias) {
                *score = exp::<S>(fma::<S>(*score, scale, *bias) - greatest) * reciprocal;
            }
        }
    }
}

vectorised! {
    /// Turns gradients of probabilities into those of scores before scaling.
    fn softmax_backward<'a, S>(probabilities: &'a [f32], keys: usize, scale: f32, changes: &'a mut [f32]) {
        for (changes, probabilities) in changes.chunks_exact_mut(keys).zip(probabilities.chunks_exact(keys)) {
            let mean = sum_of_pairs(changes, probabilities, |sum, change, value| fma::<S>(change, value, sum));
            for (change, value) in changes.iter_mut().zip(probabilities) {
                *change = value * (*change - mean) * scale;
            }
        }
    }
}

vectorised! {
    /// The dropout mask of rows of `keys` values, each padded to `padded`.
    fn factors<'a, S>(mask: Mask, first: usize, keys: usize, padded: usize, out: &'a mut [f32]) {
        for (index, row) in out.chunks_exact_mut(padded).enumerate() {
            mask.fill(first + index * keys, &mut row[..keys]);
        }
    }
}

vectorised! {
    fn scale_by<'a, S>(factors: &'a [f32], values: &'a mut [f32]) {
        for (value, factor) in values.iter_mut().zip(factors) {
            *value *= factor;
        }
    }
}
