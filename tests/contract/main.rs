//! The contract of backbones: those of the crate keep it (`table.rs`), and backbones that break it are caught by the name of the stage.

mod table;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use rekindle::Model;
use rekindle::backbone::{Backbone, Stages};
use rekindle::head::Classifier;
use rekindle::params::{InventoryError, check_stages};

fn device() -> Device {
    let name = if cfg!(feature = "flex") { "flex" } else { "ndarray" };
    rekindle::device(name).expect("a device of this build")
}

/// How [`Towers`] break the contract.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// `first` also adds what `second` owns.
    Leaks,
    /// `second` does not add what it owns.
    Idle,
    /// `second` says that it reads the start alone, and reads what `first` made.
    ReadsMore,
    /// No stage owns what `second` reads.
    Unowned,
    /// A stage owns a path where there is nothing.
    Absent,
    /// `second` also adds what the start made, which the state does not show.
    Hides,
    /// `first` counts twice under autodiff.
    Moody,
}

/// A backbone of two independent towers, each of which adds one vector.
#[derive(Module, Debug)]
struct Towers {
    start: Tower,
    first: Tower,
    second: Tower,
    #[module(skip)]
    fault: Fault,
}

#[derive(Module, Debug)]
struct Tower {
    add: Param<Tensor<1>>,
}

impl Tower {
    fn new(value: f32) -> Self {
        Self { add: Param::from_tensor(Tensor::full([3], value, &device())) }
    }
    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        input + self.add.val().unsqueeze()
    }
}

#[derive(Clone, Debug)]
struct TowersState {
    first: Tensor<2>,
    second: Tensor<2>,
    hidden: Option<Tensor<2>>,
}
rekindle::rows!(TowersState { first, second });

impl Backbone for Towers {
    type Input = Tensor<2>;
    type State = TowersState;
    type Features = Tensor<2>;

    fn stages(&self) -> Stages {
        let tower = || Stages::new().stage("add");
        let stages = Stages::new().stage("start").beside("first", tower());
        match self.fault {
            Fault::Unowned => stages,
            Fault::Absent => stages.beside("second", tower()).stage("third"),
            _ => stages.beside("second", tower()),
        }
    }
    fn embed(&self, input: Tensor<2>) -> TowersState {
        let start = self.start.forward(input);
        let hidden = (self.fault == Fault::Hides).then(|| start.clone());
        TowersState { first: start.clone(), second: start, hidden }
    }
    fn stage(&self, index: usize, TowersState { first, second, hidden }: TowersState) -> TowersState {
        let twice = self.fault == Fault::Moody && first.device().is_autodiff();
        let (first, second) = match (index, self.fault) {
            (1, Fault::Leaks) => (self.second.forward(self.first.forward(first)), second),
            (1, _) if twice => (self.first.forward(self.first.forward(first)), second),
            (1, _) => (self.first.forward(first), second),
            (_, Fault::Idle) => (first, second * 2.0),
            (_, Fault::ReadsMore) => (first.clone(), self.second.forward(second + first)),
            (_, Fault::Hides) => (first, self.second.forward(second) + hidden.clone().expect("what the start made")),
            _ => (first, self.second.forward(second)),
        };
        TowersState { first, second, hidden }
    }
    fn finish(&self, state: TowersState) -> Tensor<2> {
        state.first + state.second
    }
}

fn check(fault: Fault) -> Result<(), InventoryError> {
    let backbone = Towers { start: Tower::new(0.5), first: Tower::new(1.0), second: Tower::new(2.0), fault };
    let model = Model { backbone, head: Classifier::new(3, 2, 1, &device()) };
    check_stages(&model, Tensor::from_data([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device()))
}

#[test]
fn two_towers_keep_the_contract() {
    check(Fault::None).expect("sound");
}

#[test]
fn a_broken_contract_is_caught_by_name() {
    for (fault, named) in [
        (Fault::Leaks, "stage `first.add` reads parameters that it does not own"),
        (Fault::Idle, "stage `second.add` does not use the parameters that it owns"),
        (Fault::ReadsMore, "stage `second.add` reads what a stage made that is not among its `reads`"),
        (Fault::Unowned, "no stage owns `backbone.second.add`"),
        (Fault::Absent, "stage `third` owns `third`"),
        (Fault::Hides, "stage `start` loses gradients where stages run one by one"),
        (Fault::Moody, "stage `first.add` gives another result when it runs again"),
    ] {
        let error = check(fault).err().map_or_else(String::new, |error| error.to_string());
        assert!(error.contains(named), "{fault:?}: {error}");
    }
}
