#[cfg(feature = "flex")]
use super::Documents;
use super::{Dropout, Visible};
#[cfg(feature = "flex")]
use crate::kernel;
#[cfg(feature = "flex")]
use burn::tensor::Device;
use burn::tensor::{Bool, Tensor};

/// What is added to the scores of places that may not be looked at. Finite, so that a row without any true is uniform.
const HIDDEN: f64 = -1e30;

/// Scaled dot-product attention ([Vaswani et al., 2017](https://arxiv.org/abs/1706.03762)), `[batch, heads, seq, width]`.
///
/// `mask`, broadcast to `[batch, heads, query, key]`, is true where a query may look. A query that may look nowhere gets
/// the mean of all values, as in Transformers' eager attention, not a NaN. Dropout acts on the attention probabilities.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    dropout: &Dropout,
) -> Tensor<4> {
    let width = query.dims()[3];
    let scores = query.matmul(key.swap_dims(2, 3)) / (width as f64).sqrt();
    dropout.forward(softmax(masked(scores, mask))).matmul(value)
}

/// Which keys a query sees by their distance, counted in places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// All of them.
    #[default]
    Everywhere,
    /// Those at most so many places before or after it: half the window of a model that counts both sides.
    Within(usize),
    /// Itself and those before it.
    Back,
    /// Itself and those before it, so many keys in all.
    BackWithin(usize),
}

impl Reach {
    /// Whether a query at place `query` sees the key at place `key`.
    pub fn sees(self, query: usize, key: usize) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Within(places) => query.abs_diff(key) <= places,
            Self::Back => key <= query,
            Self::BackWithin(window) => key <= query && query - key < window,
        }
    }

    /// The places among `keys` that a query at place `query` sees.
    #[cfg(feature = "flex")]
    pub(crate) fn range(self, query: usize, keys: usize) -> std::ops::Range<usize> {
        let after = (query + 1).min(keys);
        match self {
            Self::Everywhere => 0..keys,
            Self::Within(places) => {
                query.saturating_sub(places).min(keys)..(query + 1).saturating_add(places).min(keys)
            }
            Self::Back => 0..after,
            Self::BackWithin(window) => (query + 1).saturating_sub(window).min(after)..after,
        }
    }

    /// Whether a query among `keys` places misses any of them.
    pub(super) fn hides(self, keys: usize) -> bool {
        match self {
            Self::Everywhere => false,
            Self::Within(places) => places + 1 < keys,
            Self::Back | Self::BackWithin(_) => true,
        }
    }
}

/// How [`attend`] scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    /// Products of query and key are multiplied by it: usually `1 / sqrt(width)`.
    pub scale: f64,
    /// Scores are kept within this: `cap * tanh(score / cap)`, Gemma 2's `attn_logit_softcapping`. Above 0.
    pub soft_cap: Option<f64>,
    /// Which keys a query sees.
    pub reach: Reach,
}

impl Scoring {
    /// Scores divided by the root of a head's width.
    pub fn of_width(width: usize, reach: Reach) -> Self {
        Self { scale: 1.0 / (width as f64).sqrt(), soft_cap: None, reach }
    }
}

/// Attention of any reach, in which each head of keys and values may serve several heads of queries ([Ainslie et al.,
/// 2023](https://arxiv.org/abs/2305.13245)).
///
/// `query` is `[batch, heads, queries, width]`; `key` and `value` are `[batch, groups, keys, width]`, where `groups`
/// divides `heads`, and head `h` reads group `h / (heads / groups)`. Queries are the last places of the keys. Gives
/// `[batch, heads, queries, width]`.
///
/// A query that may look nowhere gets the mean of all values, as in Transformers' eager attention, and its gradient. Dropout
/// acts on the probabilities. The same bits come out on plain and autodiff devices.
pub fn attend(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    scoring: Scoring,
    visible: impl Into<Visible>,
    dropout: &Dropout,
) -> Tensor<4> {
    let visible = visible.into();
    #[cfg(feature = "flex")]
    if scoring.soft_cap.is_none() && kernel::covers(&query) && kernel::covers(&key) && kernel::covers(&value) {
        let ([batch, heads, queries, width], [_, _, keys, _]) = (query.dims(), key.dims());
        let (real, documents) = parts(visible, [batch, keys], &query.device().inner());
        let (scale, reach) = (scoring.scale, scoring.reach);
        let how = kernel::Attention { heads, scale, reach, documents, draw: dropout.draw() };
        let merged = kernel::attention(query, key, value, real, how);
        return merged.reshape([batch, queries, heads, width]).swap_dims(1, 2);
    }
    attend_composed(query, key, value, scoring, visible, dropout)
}

/// [`attend`] in Burn's operations.
pub(crate) fn attend_composed(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    scoring: Scoring,
    visible: impl Into<Visible>,
    dropout: &Dropout,
) -> Tensor<4> {
    let [batch, heads, queries, width] = query.dims();
    let [_, groups, keys, _] = key.dims();
    // The heads of a group read the same keys, so they are one matrix of queries.
    let rows = heads / groups * queries;
    let mut scores = query.reshape([batch, groups, rows, width]).matmul(key.swap_dims(2, 3)) * scoring.scale;
    if let Some(cap) = scoring.soft_cap {
        scores = (scores / cap).tanh() * cap;
    }
    let device = scores.device().inner();
    let mask = visible.into().mask(scoring.reach, [batch, queries, keys], &device);
    let scores = masked(scores.reshape([batch, heads, queries, keys]), mask);
    let probabilities = dropout.forward(softmax(scores)).reshape([batch, groups, rows, keys]);
    probabilities.matmul(value).reshape([batch, heads, queries, width])
}

/// What a kernel reads of `visible`: for each key whether it may be looked at, `[batch, keys]`, and the documents.
#[cfg(feature = "flex")]
fn parts(visible: Visible, shape: [usize; 2], device: &Device) -> (Tensor<2, Bool>, Option<Documents>) {
    match visible {
        Visible::Real(real) => (real, None),
        Visible::All => (Tensor::full(shape, true, device), None),
        Visible::Documents(documents) => (Tensor::full(shape, true, device), Some(documents)),
    }
}

/// [`attention`] over `[batch, seq, hidden]`, split into `heads`, which divides `hidden`.
pub fn multi_head_attention(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    heads: usize,
    visible: impl Into<Visible>,
    dropout: &Dropout,
) -> Tensor<3> {
    let visible = visible.into();
    #[cfg(feature = "flex")]
    if heads > 0
        && query.dims()[2].is_multiple_of(heads)
        && kernel::covers(&query)
        && kernel::covers(&key)
        && kernel::covers(&value)
    {
        let [batch, keys, _] = key.dims();
        let (real, documents) = parts(visible, [batch, keys], &query.device().inner());
        let scale = 1.0 / ((query.dims()[2] / heads) as f64).sqrt();
        let how = kernel::Attention { heads, scale, reach: Reach::Everywhere, documents, draw: dropout.draw() };
        return kernel::attention(query, key, value, real, how);
    }
    let ([batch, queries, _], [_, keys, _]) = (query.dims(), key.dims());
    let mask = visible.mask(Reach::Everywhere, [batch, queries, keys], &query.device().inner());
    let [query, key, value] = [query, key, value].map(|input| split_heads(input, heads));
    merge_heads(attention(query, key, value, mask, dropout))
}

/// Scores `[batch, heads, query, key]` without what `mask`, broadcast to them, does not allow. It is added, not filled in, as
/// in Transformers: a query that may look nowhere still passes gradients on.
pub(super) fn masked(scores: Tensor<4>, mask: Option<Tensor<4, Bool>>) -> Tensor<4> {
    match mask {
        Some(mask) => {
            let shape = scores.dims();
            let hidden = (mask.bool_not().float() * HIDDEN).cast(scores.dtype());
            scores + hidden.expand(shape)
        }
        None => scores,
    }
}

/// Softmax over the last axis. Burn 0.22's own differs in the last bits between plain Flex and autodiff.
pub(crate) fn softmax<const D: usize>(scores: Tensor<D>) -> Tensor<D> {
    let exponents = (scores.clone() - scores.detach().max_dim(D - 1)).exp();
    let sum = exponents.clone().sum_dim(D - 1);
    exponents / sum
}

/// `[batch, seq, heads * width]` to `[batch, heads, seq, width]`.
pub fn split_heads(input: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, seq, hidden] = input.dims();
    input.reshape([batch, seq, heads, hidden / heads]).swap_dims(1, 2)
}

/// `[batch, heads, seq, width]` to `[batch, seq, heads * width]`.
pub fn merge_heads(input: Tensor<4>) -> Tensor<3> {
    let [batch, heads, seq, width] = input.dims();
    input.swap_dims(1, 2).reshape([batch, seq, heads * width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Init, test_device};
    use burn::tensor::Tolerance;

    const SEQ: usize = 5;
    const WIDTH: usize = 2;

    fn values(tensor: &Tensor<4>) -> Vec<f64> {
        tensor.to_data().iter::<f64>().collect()
    }

    /// One head of one row, place by place in f64.
    fn by_hand(query: &[f64], key: &[f64], value: &[f64], scoring: Scoring, visible: &[bool]) -> Vec<f64> {
        let place = |values: &[f64], at: usize| values[at * WIDTH..(at + 1) * WIDTH].to_vec();
        let mut output = vec![];
        for at in 0..SEQ {
            let score = |other: usize| {
                let product: f64 = place(query, at).iter().zip(place(key, other)).map(|(a, b)| a * b).sum();
                let score = product * scoring.scale;
                scoring.soft_cap.map_or(score, |cap| cap * (score / cap).tanh()).exp()
            };
            let seen = (0..SEQ).filter(|other| visible[*other] && scoring.reach.sees(at, *other));
            let mut weights: Vec<(usize, f64)> = seen.map(|other| (other, score(other))).collect();
            if weights.is_empty() {
                weights = (0..SEQ).map(|other| (other, 1.0)).collect();
            }
            let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
            let mean = |axis| weights.iter().map(|(other, weight)| weight / sum * place(value, *other)[axis]).sum();
            output.extend((0..WIDTH).map(|axis| -> f64 { mean(axis) }));
        }
        output
    }

    #[test]
    fn every_reach_scale_cap_and_padding_is_that_of_a_loop() {
        let device = test_device();
        let mut init = Init::new(5, 1.5, &device);
        let (heads, groups) = (4, 2);
        let query = init.normal([2, heads, SEQ, WIDTH]);
        let [key, value] = [0, 1].map(|_| init.normal([2, groups, SEQ, WIDTH]));
        // The second row is padded on the left.
        let visible = [[true, true, true, true, false], [false, false, true, true, true]];
        for reach in [Reach::Everywhere, Reach::Within(1), Reach::Back, Reach::BackWithin(2)] {
            for soft_cap in [None, Some(0.8)] {
                let scoring = Scoring { scale: 0.7, soft_cap, reach };
                let mask = Tensor::<2, Bool>::from_data(visible, &device);
                let (q, k, v) = (query.clone(), key.clone(), value.clone());
                let output = attend(q, k, v, scoring, Some(mask), &Dropout::new(0.0));
                let head = |tensor: &Tensor<4>, row: usize, head: usize| {
                    values(&tensor.clone().narrow(0, row, 1).narrow(1, head, 1))
                };
                for (row, visible) in visible.iter().enumerate() {
                    for number in 0..heads {
                        let group = number / (heads / groups);
                        let (q, k, v) = (head(&query, row, number), head(&key, row, group), head(&value, row, group));
                        let expected = by_hand(&q, &k, &v, scoring, visible);
                        for (ours, wanted) in head(&output, row, number).iter().zip(&expected) {
                            assert!((ours - wanted).abs() < 2e-6, "{scoring:?}: {ours} {wanted}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_last_queries_alone_give_the_last_results() {
        let device = test_device();
        let mut init = Init::new(6, 1.0, &device);
        let [query, key, value] = [0, 1, 2].map(|_| init.normal([1, 1, SEQ, WIDTH]));
        let scoring = Scoring::of_width(WIDTH, Reach::BackWithin(3));
        let run = |query| attend(query, key.clone(), value.clone(), scoring, None, &Dropout::new(0.0));
        let (all, last) = (run(query.clone()), run(query.narrow(2, 3, 2)));
        last.into_data().assert_approx_eq::<f32>(&all.narrow(2, 3, 2).into_data(), Tolerance::absolute(1e-6));
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_query_that_sees_nothing_has_the_gradient_of_equal_probabilities() {
        let device = test_device();
        let mut init = Init::new(8, 1.0, &device);
        let [query, key, value] = [0, 1, 2].map(|_| init.normal([1, 1, 2, WIDTH]).autodiff().require_grad());
        let scoring = Scoring { scale: 1.0, soft_cap: None, reach: Reach::Back };
        let nothing = Tensor::<2, Bool>::from_data([[false, false]], &device);
        let output = attend(query.clone(), key.clone(), value.clone(), scoring, Some(nothing), &Dropout::new(0.0));
        let gradients = output.narrow(2, 0, 1).narrow(3, 0, 1).sum().backward();
        let [key, value] = [key, value].map(|tensor| values(&tensor.inner()));
        // Of probabilities 1/2 each: (value 0 - value 1) (key 0 - key 1) / 4.
        let expected = [0, 1].map(|axis| (value[0] - value[2]) * (key[axis] - key[2 + axis]) / 4.0);
        let found = values(&query.grad(&gradients).expect("a gradient"));
        for axis in [0, 1] {
            assert!((found[axis] - expected[axis]).abs() < 1e-6, "{found:?} {expected:?}");
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn plain_and_autodiff_devices_give_the_same_bits() {
        let device = test_device();
        let mut init = Init::new(7, 1.0, &device);
        let query = init.normal([2, 4, 7, 6]);
        let [key, value] = [0, 1].map(|_| init.normal([2, 2, 7, 6]));
        let scoring = Scoring { scale: 0.3, soft_cap: Some(2.0), reach: Reach::BackWithin(3) };
        let run = |query, key, value| attend(query, key, value, scoring, None, &Dropout::new(0.0));
        let plain = run(query.clone(), key.clone(), value.clone());
        let tracked = [query, key, value].map(|tensor| tensor.autodiff().require_grad());
        let [query, key, value] = tracked;
        assert_eq!(plain.into_data(), run(query, key, value).inner().into_data());
    }
}
