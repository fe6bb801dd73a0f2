//! A forward pass that keeps the states between stages alone, and its backward pass, in which each stage runs again with a
//! graph of its own ([Chen et al., 2016](https://arxiv.org/abs/1604.06174)).
//!
//! The gradient of a stage's output is put through it as that of `sum(output * gradient)`, whose slope by the output is the
//! gradient.

use super::{Backbone, run_stages};
use crate::nn::{Mark, RandomScope, Rehearsal};
use crate::rows::{Rows, RowsExt, RowsVisitor};
use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::tensor::{Bool, Device, Gradients, Int, Tensor};

/// What a forward pass that may drop out begins with, on the plain device.
#[derive(Clone, Debug)]
pub(crate) enum Begin<I, S> {
    Input(I),
    State(S),
}

/// The gradients of a state's float tensors, in the bundle's order; `None` where nothing read one.
pub(crate) type StateGradients = Vec<Option<Tensor<1>>>;

/// A stage that gave another result when it ran again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotRepeated {
    pub(crate) stage: usize,
}

/// The way of a pass through the stages.
#[derive(Debug)]
pub(crate) struct Trail<B: Backbone> {
    steps: Vec<Step<B>>,
    pooled_only: bool,
    /// The state that the step above began with, or the last one, where the second run is checked against the first.
    after: Option<B::State>,
}

#[derive(Debug)]
struct Step<B: Backbone> {
    stage: usize,
    before: Begin<B::Input, B::State>,
    mark: Mark,
}

impl<B: Backbone> Step<B> {
    fn at(stage: usize, before: Begin<B::Input, B::State>) -> Self {
        Self { stage, before, mark: RandomScope::mark() }
    }
}

impl<B: Backbone> Trail<B> {
    /// Runs the first stage, where there is an input, and then these, on a plain device.
    pub(crate) fn walk(
        backbone: B,
        begin: Begin<B::Input, B::State>,
        stages: impl Iterator<Item = usize>,
        pooled_only: bool,
        checked: bool,
    ) -> (Self, B::State) {
        let backbone = backbone.map(&mut Awaken);
        let _rehearsal = Rehearsal::new();
        let (mut steps, mut state) = match begin {
            Begin::State(state) => (vec![], state),
            Begin::Input(input) => (vec![Step::at(0, Begin::Input(input.clone()))], backbone.embed(input)),
        };
        for stage in stages {
            steps.push(Step::at(stage, Begin::State(state.clone())));
            state = run_stages(&backbone, std::iter::once(stage), pooled_only, state);
        }
        let after = checked.then(|| state.clone());
        (Self { steps, pooled_only, after }, state)
    }

    /// The last state as what the rest of the pass reads: gradients are kept for it where stages were run.
    pub(crate) fn end(&self, state: B::State, device: &Device) -> B::State {
        lifted(state, device, !self.steps.is_empty())
    }

    /// Runs the stages again on `device`, the last one first, and hands the gradients of each to `take`. `gradients` are
    /// those of the last state; `watch` is called where a stage's graph is whole.
    pub(crate) fn back(
        mut self,
        backbone: &B,
        device: &Device,
        mut gradients: StateGradients,
        watch: &mut dyn FnMut(),
        take: &mut dyn FnMut(Gradients),
    ) -> Result<(), NotRepeated> {
        while let Some(Step { stage, before, mark }) = self.steps.pop() {
            let before = before.lifted(device, !self.steps.is_empty());
            let output = {
                let _scope = RandomScope::again(mark);
                match before.clone() {
                    Begin::Input(input) => backbone.embed(input),
                    Begin::State(state) => run_stages(backbone, std::iter::once(stage), self.pooled_only, state),
                }
            };
            if let Some(after) = self.after.take() {
                if !is_near(&after, &output) {
                    return Err(NotRepeated { stage });
                }
                self.after = before.state().cloned();
            }
            let Some(root) = root(output, gradients) else { return Ok(()) };
            watch();
            let mut found = root.backward();
            gradients = before.state().map_or(vec![], |state| pull(state, &mut found));
            take(found);
        }
        Ok(())
    }
}

impl<I: Rows, S: Rows> Begin<I, S> {
    fn lifted(self, device: &Device, keeps_gradients: bool) -> Self {
        match self {
            Self::Input(input) => Self::Input(input.lift(device)),
            Self::State(state) => Self::State(lifted(state, device, keeps_gradients)),
        }
    }

    fn state(&self) -> Option<&S> {
        match self {
            Self::Input(_) => None,
            Self::State(state) => Some(state),
        }
    }
}

fn lifted<S: Rows>(state: S, device: &Device, keeps_gradients: bool) -> S {
    let mut state = state.lift(device);
    if keeps_gradients {
        state.each(&mut Keep);
    }
    state
}

/// Takes the gradients of a state's float tensors out of those that a backward pass found.
pub(crate) fn pull<S: Rows>(state: &S, found: &mut Gradients) -> StateGradients {
    let mut pull = Pull { found, gradients: vec![] };
    state.clone().each(&mut pull);
    pull.gradients
}

/// A scalar whose slope by each float tensor of the state is the gradient given for it; `None` where none of them depends on
/// a parameter or on what came before.
pub(crate) fn root<S: Rows>(mut state: S, gradients: StateGradients) -> Option<Tensor<1>> {
    let mut root = Root { gradients: gradients.into_iter(), sum: None };
    state.each(&mut root);
    root.sum
}

/// The values of a state's float tensors, on the plain device, in the form of gradients.
pub(crate) fn floats<S: Rows>(state: &S) -> StateGradients {
    let mut floats = Floats(vec![]);
    state.clone().each(&mut floats);
    floats.0
}

/// Whether the second run of a stage gave what the first gave, to a thousandth of the largest value of each tensor.
fn is_near<S: Rows>(first: &S, second: &S) -> bool {
    let floats =
        |state: &S| floats(state).into_iter().flatten().filter(|values| values.dims() != [0]).collect::<Vec<_>>();
    let near = |(first, second): (Tensor<1>, Tensor<1>)| {
        let largest = |tensor: Tensor<1>| tensor.abs().max().into_scalar::<f32>();
        // What is not a number compares as near: the loss or a gradient will show it.
        first.dims() == second.dims() && !(largest(first.clone() - second) > 1e-3 * largest(first))
    };
    let (first, second) = (floats(first), floats(second));
    first.len() == second.len() && first.into_iter().zip(second).all(near)
}

/// Puts training flags, which are off in a plain model after a step, to what they are in training.
struct Awaken;

impl ModuleMapper for Awaken {
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag.train()
    }
}

struct Keep;

impl RowsVisitor for Keep {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        *tensor = tensor.clone().require_grad();
    }
    fn int<const D: usize>(&mut self, _: &mut Tensor<D, Int>) {}
    fn bool<const D: usize>(&mut self, _: &mut Tensor<D, Bool>) {}
}

struct Pull<'a> {
    found: &'a mut Gradients,
    gradients: StateGradients,
}

impl RowsVisitor for Pull<'_> {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        let gradient = tensor.grad_remove(self.found);
        self.gradients.push(gradient.map(flat));
    }
    fn int<const D: usize>(&mut self, _: &mut Tensor<D, Int>) {}
    fn bool<const D: usize>(&mut self, _: &mut Tensor<D, Bool>) {}
}

struct Root {
    gradients: std::vec::IntoIter<Option<Tensor<1>>>,
    sum: Option<Tensor<1>>,
}

impl RowsVisitor for Root {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        let Some(gradient) = self.gradients.next().flatten().filter(|_| tensor.is_tracked()) else { return };
        let term = (tensor.clone() * gradient.reshape(tensor.dims())).sum();
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + term,
            None => term,
        });
    }
    fn int<const D: usize>(&mut self, _: &mut Tensor<D, Int>) {}
    fn bool<const D: usize>(&mut self, _: &mut Tensor<D, Bool>) {}
}

struct Floats(StateGradients);

impl RowsVisitor for Floats {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        self.0.push(Some(flat(tensor.clone().without_autodiff())));
    }
    fn int<const D: usize>(&mut self, _: &mut Tensor<D, Int>) {}
    fn bool<const D: usize>(&mut self, _: &mut Tensor<D, Bool>) {}
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let values = tensor.shape().num_elements();
    tensor.reshape([values])
}
