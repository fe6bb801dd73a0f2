//! Small networks of four families, and what holds for each: an encoder, a decoder, an encoder-decoder and a network that
//! reads images.

use burn::module::ModuleDisplay;
use burn::tensor::{Device, Int, Tensor};
use rekindle::Model;
use rekindle::backbone::{Backbone, Bert, DecoderStart, Llama, Pooling, T5, T5Config, TextInput, Vit};
use rekindle::checkpoint::FromPretrained;
use rekindle::data::{DataError, TokenRow, pad_rows};
use rekindle::head::{CausalLm, Classifier, IGNORED, Seq2SeqLm, TaskHead};
use rekindle::objective::{Batch, Draws, LabelledRow, Objective, PairRow, TextClassification, TextToText, text_input};
use rekindle::params::FreezePolicy;
use rekindle::train::{Data, Fit, Observer, Report, fit};
use serde_json::{Value, json};

use super::support::*;
use super::vision::{Images, vit_config};

/// A network and what it learns.
pub(super) struct Family<B: Backbone, H, O: Objective> {
    pub(super) name: &'static str,
    /// The same weights each time.
    pub(super) fresh: fn() -> Model<B, H>,
    pub(super) objective: O,
    pub(super) train: Vec<O::Example>,
    pub(super) validation: Vec<O::Example>,
}

impl<B, H, O> Family<B, H, O>
where
    B: Backbone,
    H: TaskHead<B::Features> + ModuleDisplay,
    O: Objective<Input = B::Input, Targets = H::Targets>,
{
    pub(super) fn of(
        name: &'static str,
        fresh: fn() -> Model<B, H>,
        objective: O,
        mut examples: Vec<O::Example>,
    ) -> Self {
        let validation = examples.split_off(examples.len() - 8);
        Self { name, fresh, objective, train: examples, validation }
    }

    pub(super) fn fit(
        &self,
        model: &mut Model<B, H>,
        policy: &dyn FreezePolicy,
        config: &Fit,
        observers: &mut [&mut dyn Observer],
    ) -> Result<Report, rekindle::Error> {
        let data = Data { train: &self.train, validation: &self.validation };
        fit(model, &self.objective, data, policy, config, observers)
    }

    /// Trains a fresh network.
    pub(super) fn run(&self, policy: &dyn FreezePolicy, config: &Fit) -> (Report, Model<B, H>) {
        let mut model = (self.fresh)();
        let report = self.fit(&mut model, policy, config, &mut []);
        (report.unwrap_or_else(|error| panic!("{}: {error}", self.name)), model)
    }
}

pub(super) fn encoder() -> Family<Bert, Classifier, TextClassification> {
    let rows: Vec<LabelledRow> = equal_rows(40);
    Family::of("encoder", || classifier(3, 0.1), task(), rows)
}

/// Next tokens of texts.
pub(super) struct NextTokens;

impl Objective for NextTokens {
    type Example = TokenRow;
    type Input = TextInput;
    type Targets = Tensor<2, Int>;

    fn batch(
        &self,
        examples: &[&TokenRow],
        _: &Draws,
        device: &Device,
    ) -> Result<Batch<TextInput, Tensor<2, Int>>, DataError> {
        let input = text_input(pad_rows(examples, tokenizer().require_pad_id()?), device);
        let targets = input.ids.clone().mask_fill(input.mask.clone().bool_not(), IGNORED);
        Ok(Batch { input, targets })
    }
    fn length(&self, example: &TokenRow) -> usize {
        example.len()
    }
    fn repeats(&self) -> bool {
        true
    }
}

pub(super) fn build<B: FromPretrained>(config: Value, pooling: Pooling) -> B {
    let config: B::Config = serde_json::from_value(config).unwrap();
    B::check_config(&config).unwrap();
    B::build(&config, pooling, 3, &device())
}

pub(super) fn llama() -> Llama {
    build(
        json!({"vocab_size": tokenizer().vocab_size(), "hidden_size": 16, "num_hidden_layers": 3, "pad_token_id": 0,
            "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 24, "attention_dropout": 0.1,
            "initializer_range": 0.2}),
        Pooling::LastToken,
    )
}

pub(super) fn decoder() -> Family<Llama, CausalLm, NextTokens> {
    let rows = equal_rows(40).into_iter().map(|row| row.row).collect();
    let fresh = || Model::new(llama(), CausalLm::untied(16, tokenizer().vocab_size(), 7, &device()));
    Family::of("decoder", fresh, NextTokens, rows)
}

fn t5_config() -> T5Config {
    serde_json::from_value(json!({"vocab_size": tokenizer().vocab_size(), "d_model": 16, "d_kv": 8, "d_ff": 24,
        "num_layers": 2, "num_heads": 2, "relative_attention_num_buckets": 4, "relative_attention_max_distance": 6,
        "decoder_start_token_id": 0, "dropout_rate": 0.1, "initializer_factor": 0.5}))
    .unwrap()
}

/// With the projection of the decoder's last states tied to the token embeddings, or of the head's own.
pub(super) fn t5(own_projection: bool) -> Model<T5, Seq2SeqLm> {
    let config = t5_config();
    let head = T5::language_head(&config, own_projection, 7, &device());
    Model::new(T5::new(&config, Pooling::Mean, 7, &device()), head)
}

pub(super) fn encoder_decoder() -> Family<T5, Seq2SeqLm, TextToText> {
    let objective = TextToText::new(tokenizer(), DecoderStart { token: 0, padding: 0 }, 24, 24).unwrap();
    let pairs = (0..400).map(|index| (text(index).0, text(index).1)).collect::<Vec<_>>();
    let of_one_length = |pair: &PairRow| pair.source.len() == 5 && pair.target.len() == 3;
    let pairs: Vec<_> = objective.encode(&pairs).unwrap().0.into_iter().filter(of_one_length).take(40).collect();
    assert_eq!(pairs.len(), 40);
    Family::of("encoder-decoder", || t5(true), objective, pairs)
}

pub(super) fn vision() -> Family<Vit, Classifier, Images> {
    let fresh = || Model::new(build(vit_config(), Pooling::Cls), Classifier::new(8, 4, 7, &device()));
    Family::of("vision", fresh, Images, (0..40).collect())
}

/// Calls a generic function with each family.
macro_rules! each_family {
    ($check:ident) => {
        $check(&super::families::encoder());
        $check(&super::families::decoder());
        $check(&super::families::encoder_decoder());
        $check(&super::families::vision());
    };
}
pub(super) use each_family;
