//! Small networks, texts and tokenizers, and how to look into a model.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use burn::module::{Module, ModuleDisplay, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{Backbone, Bert, BertConfig, Pooling};
use rekindle::data::{Labels, TextExample, TextTokenizer, TokenRow, train_wordpiece};
use rekindle::head::{Classifier, MaskedLm};
use rekindle::objective::{LabelledRow, MaskedLanguage, Masking, TextClassification};
use rekindle::optim::{Schedule, Warmup};
use rekindle::params::{Inventory, Rates};
use rekindle::train::{Control, Event, Fit, Keep, Observer, ObserverError};
use serde_json::json;

const SUBJECTS: [&str; 8] = ["router", "invoice", "parcel", "password", "line", "refund", "courier", "account"];
const VERBS: [&str; 4] = ["drops", "arrives", "fails", "waits"];
const ENDS: [&str; 6] = ["again", "today", "since the storm", "before noon", "at my house", "every single evening"];

pub(super) fn device() -> Device {
    rekindle::device("flex").unwrap()
}

/// The `index`-th text, 3 to 9 words long, and its class.
pub(super) fn text(index: usize) -> (String, &'static str) {
    let subject = index % SUBJECTS.len();
    let mut text = format!("my {} {}", SUBJECTS[subject], VERBS[(index / 3) % VERBS.len()]);
    for end in 0..index % 4 {
        text += &format!(" {}", ENDS[(index / 5 + end) % ENDS.len()]);
    }
    (text, ["network", "billing", "delivery", "access"][subject % 4])
}

pub(super) fn examples(count: usize) -> Vec<TextExample> {
    (0..count).map(text).map(|(text, label)| TextExample { text, label: Some(label.into()) }).collect()
}

pub(super) fn tokenizer() -> TextTokenizer {
    static TOKENIZER: OnceLock<TextTokenizer> = OnceLock::new();
    let train = || train_wordpiece(&(0..200).map(|index| text(index).0).collect::<Vec<_>>(), 150).unwrap();
    TOKENIZER.get_or_init(train).clone()
}

pub(super) fn task() -> TextClassification {
    TextClassification::new(tokenizer(), Labels::from_examples(&examples(40)).unwrap(), 24).unwrap()
}

/// Labelled rows of different lengths.
pub(super) fn rows(count: usize) -> Vec<LabelledRow> {
    task().encode(&examples(count)).unwrap().0
}

/// Labelled rows of one length.
pub(super) fn equal_rows(count: usize) -> Vec<LabelledRow> {
    let rows: Vec<_> = rows(8 * count).into_iter().filter(|row| row.row.len() == 5).take(count).collect();
    assert_eq!(rows.len(), count);
    rows
}

pub(super) fn token_rows(count: usize) -> Vec<TokenRow> {
    rows(count).into_iter().map(|row| row.row).collect()
}

pub(super) fn config(layers: usize, dropout: f64) -> BertConfig {
    serde_json::from_value(json!({
        "vocab_size": tokenizer().vocab_size(), "hidden_size": 32, "num_hidden_layers": layers,
        "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 32, "pad_token_id": 0,
        "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout, "model_type": "bert",
    }))
    .unwrap()
}

pub(super) fn bert(layers: usize, dropout: f64, pooling: Pooling) -> Bert {
    Bert::new(&config(layers, dropout), pooling, 7, &device())
}

/// A fresh classifier of four classes.
pub(super) fn classifier(layers: usize, dropout: f64) -> Model<Bert, Classifier> {
    let head = Classifier::new(32, 4, 7, &device()).with_dropout(dropout);
    Model::new(bert(layers, dropout, Pooling::Mean), head)
}

pub(super) fn masked_lm(layers: usize, pooling: Pooling) -> Model<Bert, MaskedLm> {
    Model::new(bert(layers, 0.0, pooling), MaskedLm::new(32, tokenizer().vocab_size(), 7, &device()))
}

pub(super) fn masking() -> MaskedLanguage {
    MaskedLanguage::new(&tokenizer(), Masking::default()).unwrap()
}

/// A constant rate, batches of 8 in shuffled order, the last weights kept.
pub(super) fn fit_config(steps: usize, lr: f64) -> Fit {
    Fit {
        max_steps: Some(steps),
        batch_size: 8,
        rates: Rates::new(lr),
        schedule: Schedule::Constant { warmup: Warmup::default() },
        keep: Keep::Last,
        bucket: false,
        seed: 5,
        ..Fit::default()
    }
}

/// Every float parameter by path.
pub(super) fn weights<B: Backbone, H: Module + ModuleDisplay>(model: &Model<B, H>) -> BTreeMap<String, Vec<f32>> {
    struct Reader(Vec<Vec<f32>>);
    impl ModuleVisitor for Reader {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().into_data().iter::<f32>().collect());
        }
    }
    let mut reader = Reader(vec![]);
    model.visit(&mut reader);
    let entries = Inventory::of(model).unwrap().entries.into_iter().filter(|entry| entry.is_float);
    entries.map(|entry| entry.path).zip(reader.0).collect()
}

/// As [`weights`], as bits: NaN equals itself, 0 does not equal -0.
pub(super) fn bits<B: Backbone, H: Module + ModuleDisplay>(model: &Model<B, H>) -> BTreeMap<String, Vec<u32>> {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    weights(model).into_iter().map(|(path, values)| (path, bits(values))).collect()
}

/// Replaces the first value of the parameter at `path`.
pub(super) fn plant<H: Module + ModuleDisplay>(model: Model<Bert, H>, path: &str, value: f32) -> Model<Bert, H> {
    struct Planter(u64, f32);
    impl ModuleMapper for Planter {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if param.id.val() != self.0 {
                return param;
            }
            param.map(|tensor| {
                let (shape, device) = (tensor.shape(), tensor.device());
                let mut values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
                values[0] = self.1;
                Tensor::from_data(TensorData::new(values, shape), &device)
            })
        }
    }
    let entries = Inventory::of(&model).unwrap().entries;
    let entry = entries.iter().find(|entry| entry.path == path).unwrap();
    model.map(&mut Planter(entry.id, value))
}

/// The largest difference of two lists, relative to the second one's largest value.
pub(super) fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-12_f32, |largest, value| largest.max(value.abs()));
    a.iter().zip(b).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

pub(super) fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Ends a run after this step, as a signal would.
pub(super) struct StopAfter(pub(super) Option<usize>);

impl Observer for StopAfter {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        match event {
            Event::Step(info) if Some(info.step) == self.0 => Ok(Control::Stop),
            _ => Ok(Control::Continue),
        }
    }
}
