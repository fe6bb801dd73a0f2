use super::Loss;
use burn::tensor::{Tensor, activation};

/// `(predicted - target)^2` of two tensors of one shape, whatever it is; its weight is the number of values, as for all
/// losses here.
pub fn squared_error<const D: usize>(predicted: Tensor<D>, targets: Tensor<D>) -> Loss {
    summed((predicted - targets).square())
}

/// `|predicted - target|`.
pub fn absolute_error<const D: usize>(predicted: Tensor<D>, targets: Tensor<D>) -> Loss {
    summed((predicted - targets).abs())
}

/// Half the squared error up to `delta`, linear beyond it ([Huber, 1964](https://doi.org/10.1214/aoms/1177703732)): PyTorch's
/// `huber_loss`. `delta` is above 0.
pub fn huber<const D: usize>(predicted: Tensor<D>, targets: Tensor<D>, delta: f64) -> Loss {
    let error = (predicted - targets).abs();
    let near = error.clone().clamp_max(delta);
    summed(near.clone() * (error - near / 2.0))
}

/// [`huber`] divided by its `beta` ([Girshick, 2015](https://arxiv.org/abs/1504.08083)): PyTorch's `smooth_l1_loss`.
pub fn smooth_l1<const D: usize>(predicted: Tensor<D>, targets: Tensor<D>, beta: f64) -> Loss {
    let Loss { sum, weight } = huber(predicted, targets, beta);
    Loss { sum: sum / beta, weight }
}

/// The pinball loss, least where predictions are the `quantile` of the targets, between 0 and 1: `quantile * (target -
/// predicted)` where that is above 0, else `(quantile - 1) * (target - predicted)` ([Koenker and Bassett,
/// 1978](https://doi.org/10.2307/1913643)).
pub fn pinball<const D: usize>(predicted: Tensor<D>, targets: Tensor<D>, quantile: f64) -> Loss {
    let above = targets - predicted;
    summed((above.clone() * quantile).max_pair(above * (quantile - 1.0)))
}

/// `log(cosh(predicted - target))`: nearly half the square where small, nearly linear where large.
pub fn log_cosh<const D: usize>(predicted: Tensor<D>, targets: Tensor<D>) -> Loss {
    let error = (predicted - targets).abs();
    summed(error.clone() + activation::softplus(error * -2.0, 1.0) - std::f64::consts::LN_2)
}

/// Negative log-likelihood of a normal distribution with the predicted mean and variance, without its constant:
/// `(log variance + (mean - target)^2 / variance) / 2`. Variances below 1e-6 count as that, as in PyTorch's
/// `gaussian_nll_loss`.
pub fn gaussian_nll<const D: usize>(mean: Tensor<D>, variance: Tensor<D>, targets: Tensor<D>) -> Loss {
    let variance = variance.clamp_min(1e-6);
    summed((variance.clone().log() + (mean - targets).square() / variance) / 2.0)
}

fn summed<const D: usize>(values: Tensor<D>) -> Loss {
    let weight = values.shape().num_elements() as f64;
    Loss { sum: values.sum(), weight }
}
