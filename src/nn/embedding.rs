#[cfg(feature = "flex")]
use crate::kernel;
use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, module::embedding};

/// A table of vectors looked up by id.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[entries, hidden]`.
    pub weight: Param<Tensor<2>>,
    padding_idx: Option<usize>,
}

impl Embedding {
    /// A table with the given weight, `[entries, hidden]`. A lookup of `padding_idx` adds nothing to the gradient of its
    /// row, as in `torch.nn.Embedding`.
    pub fn new(weight: Tensor<2>, padding_idx: Option<usize>) -> Self {
        Self::from_param(Param::from_tensor(weight), padding_idx)
    }

    pub(super) fn from_param(weight: Param<Tensor<2>>, padding_idx: Option<usize>) -> Self {
        Self { weight, padding_idx }
    }

    /// `[batch, seq]` to `[batch, seq, hidden]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let weight = self.weight.val();
        #[cfg(feature = "flex")]
        if kernel::covers(&weight) && ids.shape().num_elements() > 0 {
            return kernel::embedding(weight, ids, self.padding_idx);
        }
        let output = embedding(weight, ids.clone());
        match self.padding_idx {
            Some(padding) if output.is_tracked() => {
                let [batch, seq, hidden] = output.dims();
                let is_padding = ids.equal_elem(padding as i64).reshape([batch, seq, 1]).expand([batch, seq, hidden]);
                output.clone().mask_where(is_padding, output.detach())
            }
            _ => output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Init, test_device};
    use burn::tensor::Tolerance;

    /// Ids that come often, once and never, in more rows than one task takes.
    #[test]
    fn vectors_and_gradients_are_those_of_burn() {
        let device = test_device();
        for (entries, hidden, padding) in [(7, 3, Some(2)), (7, 3, None), (3000, 65, Some(0)), (1, 1, None)] {
            let table = Init::new(1, 1.0, &device).normal([entries, hidden]).autodiff().require_grad();
            let ids: Vec<i64> = (0..10).map(|place| place * place * 97 % 11 % entries as i64).collect();
            let ids = Tensor::<1, Int>::from_data(ids.as_slice(), &device).reshape([2, 5]);
            let weights = Init::new(2, 1.0, &device).normal([2, 5, hidden]);
            let layer = Embedding::new(table.clone(), padding);
            let found = layer.forward(ids.clone());
            let wanted = embedding(table.clone(), ids.clone());
            found.clone().inner().into_data().assert_eq(&wanted.clone().inner().into_data(), true);
            let plain = Embedding::new(table.clone().inner(), padding).forward(ids.clone());
            plain.into_data().assert_eq(&found.clone().inner().into_data(), true);

            let kept = ids.equal_elem(padding.map_or(-1, |padding| padding as i64)).bool_not().float();
            let kept = weights.clone() * kept.reshape([2, 5, 1]);
            let found = (found * weights.autodiff()).sum().backward();
            let wanted = (wanted * kept.autodiff()).sum().backward();
            let [found, wanted] =
                [found, wanted].map(|gradients| table.grad(&gradients).expect("a gradient").into_data());
            found.assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-6));
        }
    }
}
