//! Whether an update left numbers behind.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// The path of the first parameter, of those whose id `asked` takes, that holds a NaN or an infinity. One transfer from
/// the device.
pub(crate) fn not_finite<M: Module>(model: &M, asked: impl Fn(u64) -> bool) -> Option<String> {
    let mut sums = Sums { asked, path: vec![], paths: vec![], sums: vec![] };
    model.visit(&mut sums);
    if sums.sums.is_empty() {
        return None;
    }
    let data = Tensor::cat(sums.sums, 0).into_data();
    let bad = data.iter::<f32>().position(|sum| !sum.is_finite())?;
    Some(sums.paths.swap_remove(bad))
}

/// Sums of parameters: one value that is not finite makes the sum so, in a single pass and without a copy.
struct Sums<F> {
    asked: F,
    path: Vec<String>,
    paths: Vec<String>,
    sums: Vec<Tensor<1>>,
}

impl<F: Fn(u64) -> bool> ModuleVisitor for Sums<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        if crate::params::is_container(container) {
            self.path.push(name.into());
        }
    }
    fn exit_module(&mut self, _: &str, container: &str) {
        if crate::params::is_container(container) {
            self.path.pop();
        }
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if (self.asked)(param.id.val()) {
            self.paths.push(self.path.join("."));
            self.sums.push(param.val().sum());
        }
    }
}
