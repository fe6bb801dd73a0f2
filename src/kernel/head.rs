//! Attention of one head of one row of the batch, in scratch memory linear in the length.
//!
//! Lengths and widths are padded to whole registers with values that change no bit, so a result does not depend on how
//! far its row is padded.

use super::dropout::Mask;
use super::simd::{LANES, exp, fma, max_of, sum_of, sum_of_pairs, vectorised};
use super::tile::{Table, multiply, multiply_transposed};
use crate::nn::{Place, Reach};
use pulp::Simd;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Queries worked on at a time.
const QUERIES: usize = 32;
/// What a hidden key's score becomes: finite, so that a row without any visible key is uniform.
const HIDDEN: f32 = -1e30;

/// The shape of an attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) heads: usize,
    /// Heads of keys and values, each of which serves `heads / groups` of queries.
    pub(super) groups: usize,
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

/// One head's inputs.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) query: Table<'a>,
    pub(super) key: Table<'a>,
    pub(super) value: Table<'a>,
    /// Nonzero where a key is visible.
    pub(super) visible: &'a [u8],
    /// What products of queries and keys are multiplied by.
    pub(super) scale: f32,
    pub(super) reach: Reach,
    /// What each place belongs to, where that bounds what it sees.
    pub(super) places: Option<&'a [Place]>,
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
    /// Added to scores: that of a query that sees something, and of one that sees nothing.
    biases: [Vec<f32>; 2],
    /// How many of the keys before each one are visible.
    visible_before: Vec<usize>,
    sights: Vec<Sight>,
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
            biases: [vec![0.0; keys], vec![0.0; keys]],
            visible_before: vec![0; shape.keys + 1],
            sights: vec![],
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
        let (real_keys, width) = (self.shape.keys, self.shape.padded_width());
        self.read(head);
        for first in (0..self.shape.queries).step_by(QUERIES) {
            let count = QUERIES.min(self.shape.queries - first);
            let span = self.scores(head, first, count);
            let (keys, real) = (span.len(), span.start..span.end.min(real_keys));
            let probabilities = &mut self.probabilities[..count * keys];
            let biases = self.biases.each_ref().map(|bias| &bias[span.clone()]);
            softmax(biases, head.scale, &self.sights, probabilities, &mut moments[first..first + count]);
            if let Some((mask, start)) = head.dropout {
                let start = start + first * real_keys + span.start;
                factors(mask, start, real_keys, real.len(), keys, &mut self.factors[..count * keys]);
                scale_by(&self.factors, probabilities);
            }
            self.out.fill(0.0);
            let left = Table { values: probabilities, stride: keys };
            let value = Table { values: &self.value[span.start * width..], stride: width };
            multiply(left, real.len(), value, width, &mut self.out[..count * width]);
            write(&self.out, width, &mut out[first..first + count]);
        }
    }

    /// Forgets the gradients of a key and value head.
    pub(super) fn begin(&mut self) {
        self.key_gradient.fill(0.0);
        self.value_gradient.fill(0.0);
    }

    /// Writes the gradient of the query, given that of the output and what [`forward`](Self::forward) wrote, and adds to
    /// those of key and value.
    pub(super) fn backward(&mut self, head: Head<'_>, gradient: Table<'_>, moments: &[[f32; 2]], mut query: Out<'_>) {
        let (width, real_keys) = (self.shape.padded_width(), self.shape.keys);
        self.read(head);
        pack(head.key, self.shape.width, width, &mut self.key[..real_keys * width]);
        pack_columns(head.value, self.shape, &self.zeros, &mut self.value_columns);
        pack(gradient, self.shape.width, width, &mut self.gradient);
        for first in (0..self.shape.queries).step_by(QUERIES) {
            let count = QUERIES.min(self.shape.queries - first);
            let span = self.scores(head, first, count);
            let (keys, real) = (span.len(), span.start..span.end.min(real_keys));
            let rows = real.start * width..real.end * width;
            let probabilities = &mut self.probabilities[..count * keys];
            let gradient = Table { values: &self.gradient[first * width..(first + count) * width], stride: width };
            let biases = self.biases.each_ref().map(|bias| &bias[span.clone()]);
            softmax_again(biases, head.scale, &self.sights, probabilities, &moments[first..first + count]);
            let changes = &mut self.changes[..count * keys];
            changes.fill(0.0);
            let value_columns = Table { values: &self.value_columns, stride: self.shape.padded_keys() };
            multiply(gradient, self.shape.width, value_columns.from(span.start), keys, changes);
            let value_gradient = &mut self.value_gradient[rows.clone()];
            if let Some((mask, start)) = head.dropout {
                let dropped = &mut self.factors[..count * keys];
                factors(mask, start + first * real_keys + span.start, real_keys, real.len(), keys, dropped);
                scale_by(dropped, changes);
                scale_by(probabilities, dropped);
                multiply_transposed(Table { values: dropped, stride: keys }, count, gradient, width, value_gradient);
            } else {
                let left = Table { values: probabilities, stride: keys };
                multiply_transposed(left, count, gradient, width, value_gradient);
            }
            softmax_backward(probabilities, keys, head.scale, changes);
            let left = Table { values: changes, stride: keys };
            let key = Table { values: &self.key[rows.start..], stride: width };
            self.out.fill(0.0);
            multiply(left, real.len(), key, width, &mut self.out[..count * width]);
            write(&self.out, width, &mut query[first..first + count]);
            let queries = Table { values: &self.query[first * width..(first + count) * width], stride: width };
            multiply_transposed(left, count, queries, width, &mut self.key_gradient[rows]);
        }
    }

    /// Writes the gradients of a key and value head.
    pub(super) fn finish(&self, mut key: Out<'_>, mut value: Out<'_>) {
        let width = self.shape.padded_width();
        write(&self.key_gradient, width, &mut key);
        write(&self.value_gradient, width, &mut value);
    }

    /// Copies a head's inputs to where its products read them.
    fn read(&mut self, head: Head<'_>) {
        let (width, keys) = (self.shape.padded_width(), self.shape.keys);
        pack(head.query, self.shape.width, width, &mut self.query);
        pack(head.value, self.shape.width, width, &mut self.value[..keys * width]);
        pack_columns(head.key, self.shape, &self.zeros, &mut self.key_columns);
        let [seeing, blind] = &mut self.biases;
        seeing.fill(HIDDEN);
        blind.fill(HIDDEN);
        blind[..keys].fill(0.0);
        for (index, visible) in head.visible.iter().enumerate() {
            let is_visible = *visible != 0;
            seeing[index] = if is_visible { 0.0 } else { HIDDEN };
            self.visible_before[index + 1] = self.visible_before[index] + usize::from(is_visible);
        }
    }

    /// Products of `count` queries with the keys that any of them sees; gives which keys those are, in whole registers.
    fn scores(&mut self, head: Head<'_>, first: usize, count: usize) -> Range<usize> {
        let width = self.shape.padded_width();
        let span = self.look(head, first, count);
        let scores = &mut self.probabilities[..count * span.len()];
        scores.fill(0.0);
        let left = Table { values: &self.query[first * width..], stride: width };
        let keys = Table { values: &self.key_columns, stride: self.shape.padded_keys() };
        multiply(left, self.shape.width, keys.from(span.start), span.len(), scores);
        span
    }

    /// Finds out what each of `count` queries sees, and what all of them see together.
    fn look(&mut self, head: Head<'_>, first: usize, count: usize) -> Range<usize> {
        let Shape { queries, keys, .. } = self.shape;
        let seen = |query: usize| {
            // The queries are the last places of the keys.
            let place = (query + keys).saturating_sub(queries);
            let range = within(head.reach.range(place, keys), head.places.map(|places| places[place].span));
            match self.visible_before[range.end] > self.visible_before[range.start] {
                true => Some(range),
                false => None,
            }
        };
        let seen: Vec<Option<Range<usize>>> = (first..first + count).map(seen).collect();
        let whole = |range: &Option<Range<usize>>| range.clone().unwrap_or(0..keys);
        let start = seen.iter().map(|range| whole(range).start).min().unwrap_or(0) / LANES * LANES;
        let end = seen.iter().map(|range| whole(range).end).max().unwrap_or(keys).next_multiple_of(LANES);
        self.sights.clear();
        let sight = |range: Option<Range<usize>>| range.map(|range| [range.start - start, range.end - start]);
        self.sights.extend(seen.into_iter().map(sight));
        start..end
    }
}

/// The part of a range that is in a span.
fn within(range: Range<usize>, span: Option<[u32; 2]>) -> Range<usize> {
    let Some([start, end]) = span else { return range };
    range.start.max(start as usize)..range.end.min(end as usize)
}

/// The first key that a query sees and the first after them that it does not, among those that a block of queries sees;
/// `None` where there is none: its scores are all equal, so that it gets the mean of all values. Their gradient is that of
/// the products, as where Transformers adds a mask to them.
type Sight = Option<[usize; 2]>;

/// Rows of `width` to rows of `padded`.
fn pack(from: Table<'_>, width: usize, padded: usize, to: &mut [f32]) {
    for (to, from) in to.chunks_exact_mut(padded).zip(from.values.chunks(from.stride)) {
        to[..width].copy_from_slice(&from[..width]);
    }
}

/// Rows of keys or values to columns, padded with zeros.
fn pack_columns(from: Table<'_>, shape: Shape, zeros: &[f32], to: &mut [f32]) {
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

/// Scales a row of products, and hides what is not seen.
#[inline(always)]
fn score<S: Simd>(products: &mut [f32], biases: [&[f32]; 2], scale: f32, sight: Sight) {
    let (scale, bias) = if sight.is_some() { (scale, biases[0]) } else { (0.0, biases[1]) };
    for (score, bias) in products.iter_mut().zip(bias) {
        *score = fma::<S>(*score, scale, *bias);
    }
    if let Some([start, end]) = sight {
        products[..start].fill(HIDDEN);
        products[end..].fill(HIDDEN);
    }
}

vectorised! {
    fn softmax<'a, S>(
        biases: [&'a [f32]; 2],
        scale: f32,
        sights: &'a [Sight],
        scores: &'a mut [f32],
        moments: &'a mut [[f32; 2]],
    ) {
        for ((row, moments), sight) in scores.chunks_exact_mut(biases[0].len()).zip(moments).zip(sights) {
            score::<S>(row, biases, scale, *sight);
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
    fn softmax_again<'a, S>(
        biases: [&'a [f32]; 2],
        scale: f32,
        sights: &'a [Sight],
        scores: &'a mut [f32],
        moments: &'a [[f32; 2]],
    ) {
        let rows = scores.chunks_exact_mut(biases[0].len());
        for ((row, [greatest, reciprocal]), sight) in rows.zip(moments).zip(sights) {
            score::<S>(row, biases, scale, *sight);
            for score in row.iter_mut() {
                *score = exp::<S>(*score - greatest) * reciprocal;
            }
        }
    }
}

vectorised! {
    /// Turns gradients of probabilities into those of products.
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
    /// The dropout mask of `real` values of each row, from `first` on, `stride` apart; each row padded to `padded`.
    fn factors<'a, S>(mask: Mask, first: usize, stride: usize, real: usize, padded: usize, out: &'a mut [f32]) {
        for (index, row) in out.chunks_exact_mut(padded).enumerate() {
            mask.fill(first + index * stride, &mut row[..real]);
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
