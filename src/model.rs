//! [`Model`]: a backbone under a head.

use crate::backbone::{Backbone, run_stages};
use crate::head::TaskHead;
use crate::nn::ReuseScope;
use burn::module::Module;

/// A backbone under a head. Parameter paths are `backbone.*` and `head.*`.
#[derive(Module, Debug)]
pub struct Model<B, H> {
    /// The pretrained network.
    pub backbone: B,
    /// What is put on it.
    pub head: H,
}

impl<B: Backbone, H: TaskHead<B::Features>> Model<B, H> {
    /// Puts a head on a backbone.
    pub fn new(backbone: B, head: H) -> Self {
        Self { backbone, head }
    }

    /// Input to the head's output. The caller has checked the input with [`Backbone::check`].
    pub fn forward(&self, input: B::Input) -> H::Output {
        self.head.forward(self.features(input))
    }

    /// Input to what the head sees, computed as far as the head reads it: with [`TaskHead::POOLED_ONLY`] the hidden states of
    /// tokens may be missing, which `backbone.forward` gives.
    pub fn features(&self, input: B::Input) -> B::Features {
        // What one stage lets go serves the next.
        let _reuse = ReuseScope::new();
        let stages = 1..self.backbone.stages().len();
        let state = run_stages(&self.backbone, stages, H::POOLED_ONLY, self.backbone.embed(input));
        self.backbone.finish(state)
    }

    /// The same body under another head: the hand-over from pretraining to the task.
    pub fn with_head<H2: TaskHead<B::Features>>(self, head: H2) -> Model<B, H2> {
        Model { backbone: self.backbone, head }
    }
}
