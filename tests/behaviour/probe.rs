//! Relative gradients: against Transformers' own, and that measuring changes nothing.

use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{Backbone, Bert, BertConfig, Pooling, Stages, TextInput};
use rekindle::checkpoint::{Checkpoint, Tensors};
use rekindle::data::DataError;
use rekindle::head::{Classifier, Loss, TaskHead};
use rekindle::objective::{Batch, Draws, Objective};
use rekindle::params::{Freeze, Inventory, Progress, Rates, TrainPlan};
use rekindle::train::{
    Control, Data, Event, Fit, Observer, ObserverError, Regularisation, TrainError, first_plan, fit, relative_gradients,
};

use super::support::*;

/// The batch of the fixture; an example is one of its rows.
struct Fixture(Tensors);

impl Objective for Fixture {
    type Example = usize;
    type Input = TextInput;
    type Targets = Tensor<1, Int>;

    fn batch(
        &self,
        rows: &[&usize],
        _: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<1, Int>>, DataError> {
        let table = |key: &str| {
            let (all, width) = (self.0.i64(key).unwrap(), self.0.shape(key).unwrap().get(1).copied().unwrap_or(1));
            let values: Vec<i64> = rows.iter().flat_map(|row| all[**row * width..][..width].to_vec()).collect();
            Tensor::<2, Int>::from_data(TensorData::new(values, [rows.len(), width]), device)
        };
        let mask = table("attention_mask").equal_elem(1);
        let input = TextInput { ids: table("input_ids"), type_ids: table("token_type_ids"), mask, documents: None };
        Ok(Batch { input, targets: table("labels").reshape([rows.len()]) })
    }
}

#[test]
fn they_are_those_of_transformers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert_seqcls");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let config: BertConfig = checkpoint.config::<Bert>().unwrap();
    let fresh = Bert::new(&config, Pooling::Pooler, 1, &device());
    let head = Classifier::new(config.hidden_size, 3, 1, &device());
    let model = checkpoint.model(&Model::new(fresh, head)).unwrap().module;
    let fixture = Fixture(Tensors::open_file(folder.join("inputs.safetensors")).unwrap());
    let (gradients, values) = (Tensors::open_file(folder.join("grads.safetensors")).unwrap(), checkpoint.tensors());
    let norm = |tensors: &Tensors, prefix: &str| {
        let keys = tensors.keys().filter(|key| key.starts_with(prefix) && gradients.contains(key));
        let squares = keys.flat_map(|key| tensors.f32(key).unwrap()).map(|value| f64::from(value).powi(2));
        squares.sum::<f64>().sqrt()
    };
    for batch_size in [3, 2] {
        let measured = relative_gradients(&model, &fixture, &[0, 1, 2], batch_size, 1).unwrap();
        assert_eq!(measured.parameters.len(), gradients.keys().count());
        let groups = measured.groups();
        let names: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["embeddings", "encoder.layer.0", "encoder.layer.1", "pooler", "head"]);
        for group in &groups {
            let prefix = if group.name == "head" { "classifier.".into() } else { format!("bert.{}.", group.name) };
            let (gradient, weight) = (norm(&gradients, &prefix), norm(values, &prefix));
            assert!((group.gradient / gradient - 1.0).abs() < 1e-5, "{group:?} {gradient}");
            assert!((group.weight / weight - 1.0).abs() < 1e-9, "{group:?} {weight}");
            assert!((group.ratio() / (gradient / weight) - 1.0).abs() < 1e-5);
        }
        let query = measured.select(&"**.layer.0.attention.query.weight".parse().unwrap()).unwrap();
        let key = "bert.encoder.layer.0.attention.self.query.weight";
        assert!((query.gradient / norm(&gradients, key) - 1.0).abs() < 1e-5);
        assert!(measured.select(&"backbone.layer".parse().unwrap()).is_err());
    }
}

/// The active flags and the bits of a model, and whether its parameters would train.
fn state(model: &Model<Bert, Classifier>) -> String {
    format!("{model:?} {:?}", bits(model))
}

#[test]
fn measuring_changes_nothing_and_depends_on_nothing_else() {
    let rows = rows(24);
    let mut model = classifier(2, 0.3);
    let before = state(&model);
    let first = relative_gradients(&model, &task(), &rows, 8, 1).unwrap();
    assert!(state(&model) == before);
    // Dropout is off, and what a run before froze is free again.
    assert!(relative_gradients(&model, &task(), &rows, 8, 2).unwrap() == first);
    assert!(first.parameters.iter().all(|row| row.gradient > 0.0 || row.name.ends_with("key.bias")));
    let data = Data { train: &rows, validation: &[] };
    fit(&mut model, &task(), data, &Freeze::Backbone, &fit_config(1, 1e-30), &mut []).unwrap();
    let before = state(&model);
    assert!(relative_gradients(&model, &task(), &rows, 8, 1).unwrap() == first);
    assert!(state(&model) == before);

    let none = relative_gradients(&model, &task(), &[], 8, 1).unwrap_err();
    assert!(matches!(none, rekindle::Error::Train(TrainError::NoData { set: "probe" })), "{none}");
}

#[test]
fn a_run_begins_as_if_it_had_not_been_measured() {
    // With all stages chosen, surgery is full fine-tuning.
    let rows = rows(32);
    let run = |policy: &Freeze| {
        let (mut model, data) = (classifier(2, 0.1), Data { train: &rows, validation: &[] });
        let report = fit(&mut model, &task(), data, policy, &fit_config(5, 1e-3), &mut []).unwrap();
        (report.losses, bits(&model))
    };
    assert!(run(&Freeze::Surgical { stages: 3 }) == run(&Freeze::Nothing));
}

/// Keeps the first plan.
struct First(Option<TrainPlan>);

impl Observer for First {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        if let Event::Plan { plan, .. } = event {
            self.0.get_or_insert((*plan).clone());
        }
        Ok(Control::Continue)
    }
}

#[test]
fn the_first_plan_can_be_seen_before() {
    let (mut model, rows) = (classifier(3, 0.1), rows(200));
    let config = Fit { bucket: true, ..fit_config(2, 1e-3) };
    for policy in [Freeze::Surgical { stages: 2 }, Freeze::Bottom(2)] {
        let data = || Data { train: rows.as_slice(), validation: &[] };
        let plan = first_plan(&model, &task(), &data(), &policy, &config).unwrap();
        let mut first = First(None);
        fit(&mut model, &task(), data(), &policy, &config, &mut [&mut first]).unwrap();
        assert_eq!(first.0, Some(plan));
        model = classifier(3, 0.1);
    }
    let inventory = Inventory::of(&model).unwrap();
    let gradients = relative_gradients(&model, &task(), &rows[..64], 8, 5).unwrap();
    let at = Progress { gradients: Some(&gradients), ..Progress::default() };
    let plan = TrainPlan::new(&inventory, &Freeze::Surgical { stages: 1 }, &Rates::new(1e-3), at).unwrap();
    let mut groups = gradients.groups();
    groups.retain(|group| group.name != "head");
    groups.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()));
    let chosen = |row: &usize| inventory.group_name(&inventory.entries[*row]).to_string();
    let trains: Vec<String> = plan.rows.iter().map(|row| chosen(&row.entry)).filter(|name| name != "head").collect();
    assert!(!trains.is_empty() && trains.iter().all(|name| *name == groups[0].name), "{gradients}");
}

/// Batch norm, whose running statistics move whenever it runs as in training.
#[derive(Module, Debug)]
struct Normed {
    norm: BatchNorm,
}

impl Backbone for Normed {
    type Input = Tensor<2>;
    type State = Tensor<2>;
    type Features = Tensor<2>;

    fn stages(&self) -> Stages {
        Stages::new().stage("norm")
    }
    fn embed(&self, input: Tensor<2>) -> Tensor<2> {
        self.norm.forward(input)
    }
    fn stage(&self, _: usize, state: Tensor<2>) -> Tensor<2> {
        state
    }
    fn finish(&self, state: Tensor<2>) -> Tensor<2> {
        state
    }
}

#[derive(Module, Debug)]
struct Fall {
    slope: Param<Tensor<1>>,
}

impl TaskHead<Tensor<2>> for Fall {
    type Output = Tensor<2>;
    type Targets = ();
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        features * self.slope.val().unsqueeze()
    }
    fn loss(&self, features: Tensor<2>, (): ()) -> Loss {
        let [rows, _] = features.dims();
        Loss { sum: self.forward(features).square().sum(), weight: rows as f64 }
    }
}

/// An example is its three values.
struct Points;

impl Objective for Points {
    type Example = [f32; 3];
    type Input = Tensor<2>;
    type Targets = ();
    fn batch(&self, rows: &[&[f32; 3]], _: &Draws, device: &Device) -> Result<Batch<Tensor<2>, ()>, DataError> {
        let values: Vec<f32> = rows.iter().flat_map(|row| **row).collect();
        Ok(Batch { input: Tensor::from_data(TensorData::new(values, [rows.len(), 3]), device), targets: () })
    }
}

#[test]
fn running_statistics_stay_where_they_are() {
    let norm = BatchNormConfig::new(3).init(&device());
    let model = Model::new(Normed { norm }, Fall { slope: Param::from_tensor(Tensor::ones([3], &device())) });
    let mean = |model: &Model<Normed, Fall>| model.backbone.norm.running_mean.value_sync().into_data();
    let points: Vec<[f32; 3]> = (0..16).map(|n| [n as f32, 2.0 - n as f32, 0.5]).collect();
    let before = mean(&model);
    let gradients = relative_gradients(&model, &Points, &points, 4, 1).unwrap();
    assert_eq!(mean(&model), before);
    assert!(gradients.groups().iter().all(|group| group.ratio() > 0.0), "{gradients}");
    // Training does move them, and only then; with mixed weights too.
    for mixout in [None, Some(0.5)] {
        let mut trained = model.clone();
        let data = Data { train: &points, validation: &[] };
        let regularisation = Regularisation { mixout, ..Regularisation::default() };
        let config = Fit { regularisation, ..fit_config(2, 1e-3) };
        fit(&mut trained, &Points, data, &Freeze::Surgical { stages: 1 }, &config, &mut []).unwrap();
        assert_ne!(mean(&trained), before);
    }
}
