//! The contract of backbones: BERT keeps it, and backbones that break it are caught by the name of the stage.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{Backbone, Bert, BertConfig, Pooling, Stages, TextInput};
use rekindle::head::Classifier;
use rekindle::params::{InventoryError, check_stages};

fn device() -> Device {
    let name = if cfg!(feature = "flex") { "flex" } else { "ndarray" };
    rekindle::device(name).expect("a device of this build")
}

fn config() -> BertConfig {
    serde_json::from_str(
        r#"{"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
            "intermediate_size": 12, "max_position_embeddings": 9, "pad_token_id": 0}"#,
    )
    .expect("a configuration")
}

/// Two rows, the second one padded.
fn text() -> TextInput {
    let (device, shape) = (device(), [2, 5]);
    let ids: Vec<i64> = vec![2, 7, 8, 9, 3, 2, 11, 3, 0, 0];
    let mask: Vec<bool> = ids.iter().map(|id| *id != 0).collect();
    TextInput {
        ids: Tensor::from_data(TensorData::new(ids, shape), &device),
        type_ids: Tensor::from_data(TensorData::new(vec![0i64; 10], shape), &device),
        mask: Tensor::from_data(TensorData::new(mask, shape), &device),
    }
}

#[test]
fn bert_keeps_the_contract_with_every_pooling() {
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Pooler] {
        let bert = Bert::new(&config(), pooling, 1, &device());
        let names: Vec<_> = bert.stages().iter().map(|stage| stage.name.clone()).collect();
        let layers = ["embeddings", "encoder.layer.0", "encoder.layer.1", "encoder.layer.2"];
        assert_eq!(names[..4], layers);
        assert_eq!(names.get(4).map(String::as_str), (pooling == Pooling::Pooler).then_some("pooler"));
        let model = Model::new(bert, Classifier::new(8, 3, 1, &device()));
        check_stages(&model, text()).unwrap_or_else(|error| panic!("{pooling}: {error}"));
    }
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
        TowersState { first: start.clone(), second: start }
    }
    fn stage(&self, index: usize, TowersState { first, second }: TowersState) -> TowersState {
        match (index, self.fault) {
            (1, Fault::Leaks) => TowersState { first: self.second.forward(self.first.forward(first)), second },
            (1, _) => TowersState { first: self.first.forward(first), second },
            (_, Fault::Idle) => TowersState { first, second: second * 2.0 },
            (_, Fault::ReadsMore) => TowersState { second: self.second.forward(second + first.clone()), first },
            _ => TowersState { first, second: self.second.forward(second) },
        }
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
    ] {
        let error = check(fault).err().map_or_else(String::new, |error| error.to_string());
        assert!(error.contains(named), "{fault:?}: {error}");
    }
}
