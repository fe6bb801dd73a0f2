//! What a kept state depends on, as a hash.

use super::CacheDtype;
use crate::backbone::Backbone;
use crate::model::Model;
use crate::params::Inventory;
use crate::rows::Record;
use crate::train::plain_device;
use blake3::Hasher;
use burn::module::{DisplaySettings, Flag, Module, ModuleDisplay, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};

/// A BLAKE3 hash.
pub(crate) type Key = [u8; 32];

/// The format of records and segments, and what goes into keys.
const FORMAT: u32 = 1;

/// What the states after the plain stages depend on besides the input: this crate's version and kernels, the machine's
/// instruction set and the device, every setting that the backbone shows, which stages are plain, the values that they
/// read, how much of them the head reads, and the dtype of what is kept.
pub(crate) fn prefix_key<B: Backbone, H: Module + ModuleDisplay>(
    model: &Model<B, H>,
    inventory: &Inventory,
    plain: &[bool],
    pooled_only: bool,
    dtype: CacheDtype,
) -> Key {
    // `valid()` has every switch for training off, whatever the plan.
    let settings = model.backbone.valid().format(DisplaySettings::default().with_show_all_attributes(true));
    let leaves_out = |stage: usize| pooled_only && plain[stage] && model.backbone.leaves_out(stage);
    let left_out: Vec<usize> = (0..plain.len()).filter(|stage| leaves_out(*stage)).collect();
    let mut hasher = Hasher::new();
    for text in [
        format!("rekindle {} cache {FORMAT}", env!("CARGO_PKG_VERSION")),
        format!("{} {} {:?}", std::env::consts::ARCH, instructions(), plain_device(&model.backbone)),
        format!("{} {plain:?} {left_out:?} {dtype:?}", std::any::type_name::<B>()),
        format!("{:?}", &inventory.stages[..]),
        settings,
    ] {
        put(&mut hasher, text.as_bytes());
    }
    let mut wanted = vec![false; inventory.entries.len()];
    let plain_stages = (0..plain.len()).filter(|stage| plain[*stage]);
    plain_stages.for_each(|stage| inventory.owned[stage].iter().for_each(|entry| wanted[*entry] = true));
    let mut weights = Weights { hasher, inventory, wanted, index: 0 };
    model.visit(&mut weights);
    weights.hasher.finalize().into()
}

/// What an input is, without padding.
pub(crate) fn row_key(input: &Record) -> Key {
    blake3::hash(&input.to_bytes()).into()
}

/// What arithmetic the machine's kernels do.
fn instructions() -> String {
    #[cfg(feature = "flex")]
    return crate::kernel::instructions();
    #[cfg(not(feature = "flex"))]
    String::new()
}

/// Hashes bytes with their number, so that no two lists of them run together.
fn put(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

/// Hashes the wanted entries of the inventory, in its order.
struct Weights<'a> {
    hasher: Hasher,
    inventory: &'a Inventory,
    wanted: Vec<bool>,
    index: usize,
}

impl Weights<'_> {
    fn visit(&mut self, data: impl FnOnce() -> TensorData) {
        let index = self.index;
        self.index += 1;
        if self.wanted.get(index) != Some(&true) {
            return;
        }
        let data = data();
        let entry = &self.inventory.entries[index];
        put(&mut self.hasher, format!("{} {:?} {:?}", entry.path, entry.shape, data.dtype()).as_bytes());
        put(&mut self.hasher, data.as_bytes());
    }
}

impl ModuleVisitor for Weights<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.visit(|| param.val().into_data());
    }
    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.visit(|| param.val().into_data());
    }
    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.visit(|| param.val().into_data());
    }
    fn visit_flag(&mut self, _: &Param<Flag>) {
        self.index += 1;
    }
}
