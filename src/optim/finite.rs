//! Whether an update left numbers behind.

use crate::params::list;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// The path of the first parameter, of those whose id `asked` takes, that holds a NaN or an infinity. One transfer from
/// the device.
pub(crate) fn not_finite<M: Module>(model: &M, asked: impl Fn(u64) -> bool) -> Option<String> {
    let mut sums = Sums { asked, ids: vec![], sums: vec![] };
    model.visit(&mut sums);
    if sums.sums.is_empty() {
        return None;
    }
    let data = Tensor::cat(sums.sums, 0).into_data();
    let bad = data.iter::<f32>().position(|sum| !sum.is_finite())?;
    list(model).into_iter().find(|entry| entry.id == sums.ids[bad]).map(|entry| entry.path)
}

/// Sums of parameters: one value that is not finite makes the sum so, in a single pass and without a copy.
struct Sums<F> {
    asked: F,
    ids: Vec<u64>,
    sums: Vec<Tensor<1>>,
}

impl<F: Fn(u64) -> bool> ModuleVisitor for Sums<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if (self.asked)(param.id.val()) {
            self.ids.push(param.id.val());
            self.sums.push(param.val().sum());
        }
    }
}
