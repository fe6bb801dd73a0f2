//! The weights that training started from, which L2-SP and mixout hold on to.

use super::L2Sp;
use super::fit::Run;
use super::saved::{START, content_name, save_once};
use super::step::Place;
use crate::backbone::Backbone;
use crate::checkpoint::{CheckpointError, Tensors, held, load_selected};
use crate::error::Error;
use crate::head::TaskHead;
use crate::objective::Objective;
use crate::optim::{Mixout, Pull, l2_sp};
use crate::params::{Entry, Inventory, Kind, TrainPlan, list};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Starting weights `[values]` of the backbone's parameters that have trained, by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    values: HashMap<u64, Tensor<1>>,
    /// The file that holds them.
    file: Option<String>,
}

impl Start {
    /// Takes what trains under `plan` and did not before: what never trained is still as it was.
    pub(super) fn take<M: Module>(&mut self, model: &M, inventory: &Inventory, plan: &TrainPlan) {
        let entries = plan.rows.iter().map(|row| &inventory.entries[row.entry]).filter(|entry| entry.stage.is_some());
        let ids: HashSet<u64> = entries.map(|entry| entry.id).filter(|id| !self.values.contains_key(id)).collect();
        if !ids.is_empty() {
            model.visit(&mut Take(&ids, &mut self.values));
            self.file = None;
        }
    }

    /// Writes them once, under a name made from their content; `None` where there are none.
    pub(super) fn save<M: Module>(&mut self, model: &M, folder: &Path) -> Result<Option<String>, Error> {
        if self.file.is_none() && !self.values.is_empty() {
            let entries = list(model).into_iter().filter_map(|entry| Some((self.values.get(&entry.id)?, entry)));
            let tensors = entries.map(|(values, entry)| (entry.path, entry.shape, values.clone()));
            self.file = Some(save_once(folder, START, tensors.collect())?);
        }
        Ok(self.file.clone())
    }

    /// Reads what [`save`](Self::save) wrote for `model`.
    pub(super) fn load<M: Module>(model: &M, folder: &Path, file: &str) -> Result<Self, String> {
        let path = folder.join(file);
        let read = || {
            let tensors = Tensors::open_file(&path)?;
            let keys: HashSet<&str> = tensors.keys().collect();
            let filled = load_selected(model, &path, |path| keys.contains(path))?;
            let ids =
                list(&filled).into_iter().filter(|entry| keys.contains(entry.path.as_str())).map(|entry| entry.id);
            let whole = content_name(START, &held(&filled, |path| keys.contains(path))) == file;
            Ok::<_, CheckpointError>((ids.collect::<HashSet<u64>>(), filled, whole))
        };
        let (ids, filled, whole) = read().map_err(|error| error.to_string())?;
        if !whole {
            return Err(format!("`{file}` is not as it was written"));
        }
        let mut start = Self { file: Some(file.into()), ..Self::default() };
        filled.visit(&mut Take(&ids, &mut start.values));
        Ok(start)
    }
}

struct Take<'a>(&'a HashSet<u64>, &'a mut HashMap<u64, Tensor<1>>);

impl ModuleVisitor for Take<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.0.contains(&param.id.val()) {
            let values = param.val();
            let size = values.shape().num_elements();
            self.1.insert(param.id.val(), values.reshape([size]));
        }
    }
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// The masks of this step, where mixout is on.
    pub(super) fn mixout(&self, place: Place) -> Option<Mixout> {
        let prob = self.config.regularisation.mixout?;
        let position = [place.seed, place.epoch as u64, place.step as u64];
        let mut mixout = Mixout::default();
        let entries = self.plan.rows.iter().map(|row| &self.inventory.entries[row.entry]);
        for entry in entries.filter(|entry| entry.kind == Kind::Weight) {
            if let Some(start) = self.start_weights.values.get(&entry.id) {
                mixout.add(entry.id, &entry.path, &position, prob, start.clone());
            }
        }
        Some(mixout)
    }

    /// L2-SP's part of the mean loss, 0 where it is off; its gradient is added to those of a step of this weight.
    pub(super) fn penalty(&self, gradients: &mut GradientsParams, weight: f64) -> f64 {
        let Some(L2Sp { alpha, beta }) = self.config.regularisation.l2_sp else { return 0.0 };
        let entries = self.plan.rows.iter().map(|row| &self.inventory.entries[row.entry]);
        let pull = |entry: &Entry| match entry.stage {
            Some(_) => Pull { to: self.start_weights.values.get(&entry.id).cloned(), strength: alpha },
            None => Pull { to: None, strength: beta },
        };
        let pulls: HashMap<u64, Pull> = entries.map(|entry| (entry.id, pull(entry))).collect();
        l2_sp(&*self.model, gradients, &pulls, weight)
    }
}
