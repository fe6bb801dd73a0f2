//! Optimizer steps on a copy of a model: what is tried out before a run.

use super::step::{Forward, Gradients, Place, check_gradients, check_weights};
use super::{Fit, plain_device};
use crate::backbone::Backbone;
use crate::error::Error;
use crate::head::TaskHead;
use crate::model::Model;
use crate::objective::Objective;
use crate::optim::{GradientNorms, Optimizer, Update, clip_factor};
use crate::params::{Inventory, TrainPlan, apply_plan, missing_gradients};
use burn::module::Module;
use burn::tensor::Device;
use std::collections::HashMap;

/// A copy of a model under a plan, with an optimizer of its own.
pub(super) struct Trial<'a, B: Backbone, H, O: Objective> {
    pub(super) model: Model<B, H>,
    pub(super) inventory: Inventory,
    pub(super) plan: TrainPlan,
    pub(super) objective: &'a O,
    pub(super) examples: &'a [O::Example],
    pub(super) config: &'a Fit,
    pub(super) device: Device,
    optimizer: Optimizer,
}

impl<'a, B, H, O> Trial<'a, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    pub(super) fn new(
        model: &Model<B, H>,
        objective: &'a O,
        examples: &'a [O::Example],
        inventory: Inventory,
        plan: TrainPlan,
        config: &'a Fit,
    ) -> Self {
        // `valid` copies running statistics, which a clone would share with the caller's model.
        let copy = apply_plan(&plan, &inventory, model.valid());
        let device = plain_device(&copy).autodiff();
        let optimizer = Optimizer::new(config.optimizer);
        Self { model: copy, inventory, plan, objective, examples, config, device, optimizer }
    }

    /// What a step reads, `training` being the copy on the autodiff device.
    pub(super) fn forward<'b>(&'b self, training: &'b Model<B, H>) -> Forward<'b, B, H, O> {
        Forward {
            snapshot: &self.model,
            training,
            plain: &self.plan.plain,
            cache: None,
            objective: self.objective,
            examples: self.examples,
            device: &self.device,
        }
    }

    /// One optimizer step with every learning rate times `factor`, and its mean loss.
    pub(super) fn step(&mut self, micro_batches: &[Vec<usize>], place: Place, factor: f64) -> Result<f64, Error> {
        let training = self.model.clone().train();
        let gradients = self.forward(&training).gradients(micro_batches, place)?;
        let loss = gradients.loss_sum / gradients.weight;
        self.update(&training, gradients, micro_batches, place, factor)?;
        Ok(loss)
    }

    /// Updates the copy by gradients of it.
    pub(super) fn update(
        &mut self,
        training: &Model<B, H>,
        gradients: Gradients,
        micro_batches: &[Vec<usize>],
        place: Place,
        factor: f64,
    ) -> Result<(), Error> {
        let Gradients { summed, weight, .. } = gradients;
        let norms = GradientNorms::of(training, &summed);
        let missing = missing_gradients(&self.plan, &self.inventory, training, &summed);
        check_gradients(&norms, missing, micro_batches, place)?;
        let clip = self.config.clip_norm.map_or(1.0, |max_norm| clip_factor(norms.total() / weight, max_norm));
        let updates: HashMap<u64, Update> = self
            .plan
            .rows
            .iter()
            .map(|row| {
                let update = Update { lr: row.lr * factor, weight_decay: row.weight_decay };
                (self.inventory.entries[row.entry].id, update)
            })
            .collect();
        let stepped = self.optimizer.step(training.valid(), summed, &updates, clip / weight);
        check_weights(&stepped, &updates, micro_batches, place)?;
        self.model = Model { backbone: stepped.backbone.after_step(), head: stepped.head };
        Ok(())
    }
}
