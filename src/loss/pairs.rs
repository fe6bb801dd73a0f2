use super::{Loss, cross_entropy, squared_error};
use burn::tensor::{Int, Tensor, activation};

/// Each row divided by its length, `[rows, width]`; a row of zeros stays one.
pub fn normalise(vectors: Tensor<2>) -> Tensor<2> {
    // The square is kept above 0, where a root has no slope.
    let length = vectors.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
    vectors / length
}

/// The cosine of each row of `first` with the same row of `second`, both `[rows, width]`; `[rows, 1]`.
pub fn cosine_similarity(first: Tensor<2>, second: Tensor<2>) -> Tensor<2> {
    (normalise(first) * normalise(second)).sum_dim(1)
}

/// The squared difference of each pair's cosine and its score, `[rows, 1]`: sentence-transformers' `CosineSimilarityLoss`.
/// Its weight is the number of pairs.
pub fn cosine_error(first: Tensor<2>, second: Tensor<2>, scores: Tensor<2>) -> Loss {
    squared_error(cosine_similarity(first, second), scores)
}

/// CoSENT ([Su, 2022](https://kexue.fm/archives/8847)): `log(1 + sum of exp(scale * (cos_i - cos_j)))` over the pairs `i`,
/// `j` of rows with `score_i < score_j`, scores `[rows, 1]`: sentence-transformers' `CoSENTLoss`, whose `scale` is 20. One
/// value a batch, so its weight is 1.
pub fn cosent(first: Tensor<2>, second: Tensor<2>, scores: Tensor<2>, scale: f64) -> Loss {
    let cosines = cosine_similarity(first, second) * scale;
    let [rows, _] = cosines.dims();
    let unordered = scores.clone().greater_equal(scores.transpose());
    let differences = cosines.clone() - cosines.transpose();
    let differences = differences.mask_fill(unordered, f32::MIN).reshape([1, rows * rows]);
    let one = Tensor::zeros([1, 1], &differences.device());
    let exponents = Tensor::cat(vec![one, differences], 1);
    let greatest = exponents.clone().detach().max_dim(1);
    let sum = ((exponents - greatest.clone()).exp().sum_dim(1).log() + greatest).sum();
    Loss { sum, weight: 1.0 }
}

/// In-batch negatives: the cross-entropy of `scale` times the cosine of each row of `anchors` with all `candidates`, of
/// which the one with the anchor's index is right ([Henderson et al., 2017](https://arxiv.org/abs/1705.00652)):
/// sentence-transformers' `MultipleNegativesRankingLoss`, whose `scale` is 20. `candidates` may have more rows than
/// `anchors`: hard negatives, put after the right ones. Its weight is the number of anchors.
pub fn in_batch_negatives(anchors: Tensor<2>, candidates: Tensor<2>, scale: f64) -> Loss {
    right_is_diagonal(normalise(anchors).matmul(normalise(candidates).transpose()) * scale)
}

/// CLIP's loss ([Radford et al., 2021](https://arxiv.org/abs/2103.00020)) of a square table of similarities, already scaled,
/// whose diagonal holds the pairs that belong together: the mean of the cross-entropies by rows and by columns. Its weight
/// is the number of pairs.
pub fn symmetric_contrastive(logits: Tensor<2>) -> Loss {
    let (rows, columns) = (right_is_diagonal(logits.clone()), right_is_diagonal(logits.transpose()));
    Loss { sum: (rows.sum + columns.sum) / 2.0, weight: rows.weight }
}

/// SigLIP's loss ([Zhai et al., 2023](https://arxiv.org/abs/2303.15343)) of a square table of logits (scaled similarities
/// plus bias): each pair of rows is a decision of its own, yes on the diagonal and no elsewhere. Its weight is the number of
/// rows.
pub fn sigmoid_contrastive(logits: Tensor<2>) -> Loss {
    let [rows, _] = logits.dims();
    let signs = Tensor::<2>::eye(rows, &logits.device().inner()) * 2.0 - 1.0;
    Loss { sum: -activation::log_sigmoid(logits * signs).sum(), weight: rows as f64 }
}

/// Cross-entropy of `[rows, candidates]` where each row's own index is right.
fn right_is_diagonal(logits: Tensor<2>) -> Loss {
    let [rows, _] = logits.dims();
    let own = Tensor::<1, Int>::arange(0..rows as i64, &logits.device().inner());
    cross_entropy(logits, own)
}
