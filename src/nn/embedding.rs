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
