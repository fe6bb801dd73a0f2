//! One micro-batch forward and backward: with one graph of all that trains, or with one of a stage at a time.

use super::fit::Run;
use super::step::Forward;
use super::{Fit, TrainError};
use crate::backbone::trail::{Begin, NotRepeated, Trail, pull};
use crate::backbone::{Backbone, run_stages};
use crate::error::Error;
use crate::head::{Loss, TaskHead};
use crate::nn::RandomScope;
use crate::objective::Objective;
use crate::rows::RowsExt;
use burn::optim::{GradientsAccumulator, GradientsParams};

/// How much of a pass has a graph at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Graph {
    /// All that trains.
    Whole,
    /// One stage; whether it gives the same when it runs again is looked at if `checked`.
    OneStage { checked: bool },
}

impl Graph {
    pub(super) fn of(config: &Fit, checked: bool) -> Self {
        if config.gradient_checkpointing { Self::OneStage { checked } } else { Self::Whole }
    }
}

/// What a forward pass leaves for its backward pass.
pub(super) struct Pass<B: Backbone> {
    pub(super) loss: Loss,
    /// With a graph of one stage at a time, the way to each last state that the loss was taken from.
    trails: Vec<(Trail<B>, B::State)>,
}

impl<B: Backbone> Pass<B> {
    /// The gradients of the loss; `watch` is called where a graph is whole, once or for each stage.
    pub(super) fn backward<H, O>(
        self,
        forward: &Forward<'_, B, H, O>,
        watch: &mut dyn FnMut(),
    ) -> Result<GradientsParams, TrainError>
    where
        H: TaskHead<B::Features>,
        O: Objective,
    {
        let training = forward.training;
        watch();
        let mut found = self.loss.sum.backward();
        let trails: Vec<_> = self.trails.into_iter().map(|(trail, end)| (trail, pull(&end, &mut found))).collect();
        let above = GradientsParams::from_grads(found, training);
        if trails.is_empty() {
            return Ok(above);
        }
        let mut sum = GradientsAccumulator::new();
        sum.accumulate(training, above);
        let mut take = |found| sum.accumulate(training, GradientsParams::from_grads(found, training));
        for (trail, gradients) in trails {
            let done = trail.back(&training.backbone, forward.device, gradients, watch, &mut take);
            done.map_err(|NotRepeated { stage }| TrainError::NotRepeated {
                stage: training.backbone.stages()[stage].name.clone(),
            })?;
        }
        Ok(sum.grads())
    }
}

impl<B, H, O> Forward<'_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// The loss of what a batch begins with.
    pub(super) fn pass(&self, begin: Begin<B::Input, B::State>, targets: H::Targets) -> Result<Pass<B>, Error> {
        let (head, mut trails) = (&self.training.head, vec![]);
        let Some(alpha) = self.r_drop else {
            let loss = head.loss(self.features(begin, &mut trails), targets);
            return Ok(Pass { loss, trails });
        };
        let (first, second) = (self.features(begin.clone(), &mut trails), self.features(begin, &mut trails));
        let loss = head.r_drop(first, second, targets, alpha).ok_or(TrainError::NoRDrop)?;
        match RandomScope::sites() {
            0 => Err(TrainError::NothingDropsOut.into()),
            _ => Ok(Pass { loss, trails }),
        }
    }

    /// What the stages that are not plain make of a beginning.
    fn features(&self, begin: Begin<B::Input, B::State>, trails: &mut Vec<(Trail<B>, B::State)>) -> B::Features {
        let backbone = &self.training.backbone;
        let rest = (1..self.plain.len()).filter(|stage| !self.plain[*stage]);
        let state = match self.graph {
            Graph::Whole => {
                let state = match begin {
                    Begin::State(state) => state.lift(self.device),
                    Begin::Input(input) => backbone.embed(input.lift(self.device)),
                };
                run_stages(backbone, rest, H::POOLED_ONLY, state)
            }
            Graph::OneStage { checked } => {
                let plain = self.snapshot.backbone.clone();
                let (trail, state) = Trail::walk(plain, begin, rest, H::POOLED_ONLY, checked);
                let state = trail.end(state, self.device);
                trails.push((trail, state.clone()));
                state
            }
        };
        backbone.finish(state)
    }
}

impl<B, H, O> Run<'_, '_, B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features>,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    /// Stages are checked in the first step in which something trains.
    pub(super) fn graph(&self, step: usize) -> Graph {
        Graph::of(self.config, self.planning.begins(step))
    }
}
