//! AdamW, moving averages and the sum of squares, each in one pass over a parameter.

use super::buffer::{block, contiguous, tensor, values};
use super::reuse::blank;
use super::simd::{fma, sum_of, vectorised};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, Shape, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// The scalars of one update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalars {
    /// What the gradient is multiplied by first.
    pub(crate) scale: f32,
    /// What the parameter is multiplied by: one minus rate times decay.
    pub(crate) decay: f32,
    /// What the new gradient weighs in the first moment.
    pub(crate) weight_1: f32,
    /// What the old second moment weighs.
    pub(crate) beta_2: f32,
    /// What the new square weighs in the second moment.
    pub(crate) weight_2: f32,
    /// The root of the second moment's bias correction.
    pub(crate) correction_root: f32,
    pub(crate) epsilon: f32,
    /// The rate over the first moment's bias correction.
    pub(crate) step: f32,
}

/// One parameter's update, in the order of PyTorch's `_single_tensor_adamw`: the new parameter and moments. What nobody
/// else holds is changed in place.
pub(crate) fn adamw(
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    first: Tensor<1>,
    second: Tensor<1>,
    scalars: Scalars,
) -> [Tensor<1>; 3] {
    let (parameter, gradient) = (parameter.into_dispatch(), gradient.into_dispatch());
    let (first, second) = (first.into_dispatch(), second.into_dispatch());
    let (parameter, first, second) = Dispatch::fused_adamw(parameter, gradient, first, second, scalars);
    [parameter, first, second].map(Tensor::from_dispatch)
}

/// The sum of the squares of all values, `[1]`.
pub(crate) fn square_sum<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::fused_square_sum(x.into_dispatch()))
}

/// `average` moved towards `values` by a share of the distance, in place where nobody else holds it.
pub(crate) fn towards(average: Tensor<1>, values: Tensor<1>, share: f32) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::fused_towards(average.into_dispatch(), values.into_dispatch(), share))
}

#[backend_extension(Flex)]
trait OptimizerOps: Backend {
    fn fused_adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        scalars: Scalars,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn fused_square_sum(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_towards(average: FloatTensor<Self>, values: FloatTensor<Self>, share: f32) -> FloatTensor<Self>;
}

impl OptimizerOps for Flex {
    fn fused_adamw(
        parameter: FlexTensor,
        gradient: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        scalars: Scalars,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (parameter, gradient) = (contiguous(parameter), contiguous(gradient));
        let (mut first, mut second) = (contiguous(first), contiguous(second));
        let (old, mut parameter) = match parameter.is_unique() {
            true => (None, parameter),
            false => (Some(parameter.clone()), tensor(blank(values(&parameter).len()), parameter.shape())),
        };
        let old = old.as_ref().map(values);
        let moments = first.storage_mut::<f32>().par_chunks_mut(block(1));
        let moments = moments.zip(second.storage_mut::<f32>().par_chunks_mut(block(1)));
        let blocks = moments.zip(values(&gradient).par_chunks(block(1)));
        let blocks = blocks.zip(parameter.storage_mut::<f32>().par_chunks_mut(block(1)));
        blocks.enumerate().for_each(|(index, (((first, second), gradient), parameter))| {
            if let Some(old) = old {
                parameter.copy_from_slice(&old[index * block(1)..][..parameter.len()]);
            }
            update(scalars, gradient, first, second, parameter);
        });
        (parameter, first, second)
    }

    fn fused_square_sum(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        let parts: Vec<f32> = values(&x).par_chunks(block(1)).map(squares).collect();
        let sum = parts.iter().map(|part| f64::from(*part)).sum::<f64>() as f32;
        tensor(vec![sum], Shape::from([1]))
    }

    fn fused_towards(average: FlexTensor, new: FlexTensor, share: f32) -> FlexTensor {
        let (mut average, new) = (contiguous(average), contiguous(new));
        let blocks = average.storage_mut::<f32>().par_chunks_mut(block(1)).zip(values(&new).par_chunks(block(1)));
        blocks.for_each(|(average, new)| move_towards(share, new, average));
        average
    }
}

vectorised! {
    fn move_towards<'a, S>(share: f32, new: &'a [f32], average: &'a mut [f32]) {
        for (average, new) in average.iter_mut().zip(new) {
            *average += share * (new - *average);
        }
    }
}

vectorised! {
    fn update<'a, S>(
        scalars: Scalars,
        gradient: &'a [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
        parameter: &'a mut [f32],
    ) {
        let Scalars { scale, decay, weight_1, beta_2, weight_2, correction_root, epsilon, step } = scalars;
        let moments = first.iter_mut().zip(second.iter_mut());
        for (((first, second), gradient), parameter) in moments.zip(gradient).zip(parameter.iter_mut()) {
            let gradient = gradient * scale;
            *first += weight_1 * (gradient - *first);
            *second = *second * beta_2 + weight_2 * gradient * gradient;
            let root = second.sqrt() / correction_root + epsilon;
            *parameter = *parameter * decay - step * (*first / root);
        }
    }
}

vectorised! {
    fn squares<'a, S>(x: &'a [f32]) -> f32 {
        sum_of(x, |sum, x| fma::<S>(x, x, sum))
    }
}
