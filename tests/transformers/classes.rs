//! Every class that can be saved: Transformers finds each key in the folder and no other, reads the same configuration, and
//! computes the same outputs.

use super::{PYTHON, ROOT, task};
use burn::module::{Module, ModuleDisplay, ModuleMapper, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rekindle::backbone::{
    AutoText, AutoTextConfig, Backbone, Bart, CausalDecoder, ConvNext, Dinov2, Electra, ImageInput, ImageText, Mixtral,
    Pooled, Pooling, ResNet, Swin, T5, TextInput, Tokens, Vit, Whisper,
};
use rekindle::checkpoint::{FromPretrained, SaveFormat, save_backbone, save_pretrained, save_tensors};
use rekindle::head::{Classifier, TaskHead};
use rekindle::model::Model;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sizes under the names of all architectures; those that one does not know are kept unread.
fn sizes() -> Value {
    json!({
        "vocab_size": 30, "pad_token_id": 0, "max_position_embeddings": 24, "initializer_range": 0.2,
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "num_key_value_heads": 1, "head_dim": 8,
    })
}

/// Sizes of DistilBERT and GPT-2, which have names of their own, and of networks that read images.
const OWN: [(&str, &str); 2] = [
    ("distilbert", r#"{"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}"#),
    ("gpt2", r#"{"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}"#),
];

/// A line a backbone: `model_type`, classes, fields beside the common sizes. Language models of decoders and of
/// [`UNTIED`] are saved twice, with a projection of their own and without.
fn texts() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("bert", "BertModel BertForMaskedLM BertForSequenceClassification", json!({})),
        ("roberta", "RobertaModel RobertaForMaskedLM RobertaForTokenClassification", json!({ "pad_token_id": 1 })),
        ("xlm-roberta", "XLMRobertaForMaskedLM XLMRobertaForSequenceClassification", json!({ "pad_token_id": 1 })),
        ("camembert", "CamembertModel CamembertForQuestionAnswering", json!({ "pad_token_id": 1 })),
        ("distilbert", "DistilBertModel DistilBertForMaskedLM DistilBertForSequenceClassification", json!({})),
        (
            "electra",
            "ElectraModel ElectraForMaskedLM ElectraForPreTraining ElectraForSequenceClassification",
            json!({ "embedding_size": 12 }),
        ),
        ("albert", "AlbertModel AlbertForMaskedLM AlbertForSequenceClassification", json!({ "embedding_size": 12 })),
        ("mpnet", "MPNetModel MPNetForMaskedLM MPNetForSequenceClassification", json!({})),
        (
            "esm",
            "EsmModel EsmForMaskedLM EsmForSequenceClassification EsmForTokenClassification",
            json!({ "position_embedding_type": "rotary", "token_dropout": true, "mask_token_id": 4 }),
        ),
        ("modernbert", "ModernBertModel ModernBertForMaskedLM ModernBertForSequenceClassification", json!({})),
        (
            "deberta-v2",
            "DebertaV2Model DebertaV2ForMaskedLM DebertaV2ForSequenceClassification",
            json!({ "relative_attention": true, "pos_att_type": ["p2c", "c2p"], "position_buckets": 4 }),
        ),
        ("eurobert", "EuroBertModel EuroBertForMaskedLM EuroBertForSequenceClassification", json!({})),
        ("nomic_bert", "NomicBertModel NomicBertForMaskedLM NomicBertForSequenceClassification", json!({})),
        ("gpt2", "GPT2Model GPT2LMHeadModel GPT2ForSequenceClassification", json!({})),
        ("llama", "LlamaModel LlamaForCausalLM LlamaForSequenceClassification", json!({})),
        ("mistral", "MistralModel MistralForCausalLM MistralForTokenClassification", json!({ "sliding_window": 4 })),
        ("qwen2", "Qwen2Model Qwen2ForCausalLM Qwen2ForSequenceClassification", json!({})),
        ("qwen3", "Qwen3Model Qwen3ForCausalLM Qwen3ForSequenceClassification", json!({})),
        ("gemma2", "Gemma2Model Gemma2ForCausalLM Gemma2ForSequenceClassification", json!({ "sliding_window": 4 })),
        ("gemma3_text", "Gemma3TextModel Gemma3ForCausalLM", json!({ "sliding_window": 4 })),
        ("phi3", "Phi3Model Phi3ForCausalLM Phi3ForSequenceClassification", json!({})),
        ("gpt_neox", "GPTNeoXModel GPTNeoXForCausalLM GPTNeoXForQuestionAnswering", json!({})),
        (
            "opt",
            "OPTModel OPTForCausalLM OPTForSequenceClassification",
            json!({ "ffn_dim": 24, "word_embed_proj_dim": 12 }),
        ),
    ]
}

/// Masked language models of which Transformers makes the same parameters whether they are tied or not.
const UNTIED: [&str; 5] =
    ["DistilBertForMaskedLM", "ElectraForMaskedLM", "EsmForMaskedLM", "ModernBertForMaskedLM", "EuroBertForMaskedLM"];

/// Folders that are to be loaded in one process.
struct Folders {
    root: tempfile::TempDir,
    count: usize,
    device: Device,
}

impl Folders {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), count: 0, device: rekindle::device("flex").unwrap() }
    }

    fn next(&mut self) -> PathBuf {
        self.count += 1;
        self.root.path().join(self.count.to_string())
    }

    /// A model, what it was made from and what it makes of a batch.
    fn keep<B: FromPretrained, H: TaskHead<B::Features>>(
        &mut self,
        (class, given): (&str, &Value),
        model: Model<B, H>,
        config: &B::Config,
        batch: (B::Input, Arrays),
        outputs: impl Fn(H::Output) -> Arrays,
    ) {
        let (folder, model) = (self.next(), model.map(&mut Stir(0)));
        save_pretrained(&folder, &model, config, class, ()).unwrap();
        beside(&folder, given, batch.1, outputs(model.forward(batch.0)));
    }

    fn keep_body<B: FromPretrained>(
        &mut self,
        (class, given): (&str, &Value),
        body: B,
        config: &B::Config,
        batch: (B::Input, Arrays),
        outputs: impl Fn(B::Features) -> Arrays,
    ) {
        let (folder, body) = (self.next(), body.map(&mut Stir(0)));
        save_backbone(&folder, &body, config, (), &SaveFormat::default()).unwrap();
        assert!(fs::read_to_string(folder.join("config.json")).unwrap().contains(&format!("\"{class}\"")), "{class}");
        beside(&folder, given, batch.1, outputs(body.forward(batch.0)));
    }

    fn text(&mut self, class: &str, given: &Value) {
        let config: AutoTextConfig = serde_json::from_value(given.clone()).unwrap();
        AutoText::check_config(&config).unwrap();
        let device = self.device.clone();
        let build = |pooling| AutoText::build(&config, pooling, 1, &device);
        let (what, batch) = ((class, given), text(given["model_type"] != "distilbert", &device));
        let logits = |logits: Tensor<3>| vec![array("logits", logits)];
        let row_logits = |logits: Tensor<2>| vec![array("logits", logits)];
        let plain = Pooling::Mean;
        match class {
            _ if class.ends_with("ForCausalLM") || class.ends_with("LMHeadModel") => {
                let head = AutoText::causal_lm(&config, 1, &device).unwrap();
                self.keep(what, Model::new(build(plain), head), &config, batch, logits);
            }
            _ if class.ends_with("ForMaskedLM") => {
                let head = AutoText::masked_lm(&config, 1, &device).unwrap();
                self.keep(what, Model::new(build(plain), head), &config, batch, logits);
            }
            "ElectraForPreTraining" => {
                let AutoTextConfig::Electra(own) = &config else { panic!("no Electra") };
                let head = Electra::replaced_token(own, 1, &device);
                self.keep(what, Model::new(build(plain), head), &config, batch, row_logits);
            }
            _ if class.ends_with("ForSequenceClassification") => {
                let head = AutoText::classifier(&config, 2, 1, &device);
                let body = build(AutoText::classification_pooling(&config));
                self.keep(what, Model::new(body, head), &config, batch, row_logits);
            }
            _ if class.ends_with("ForTokenClassification") => {
                let head = AutoText::token_classifier(&config, 2, 1, &device);
                self.keep(what, Model::new(build(plain), head), &config, batch, logits);
            }
            _ if class.ends_with("ForQuestionAnswering") => {
                let head = AutoText::span_head(&config, 1, &device);
                self.keep(what, Model::new(build(plain), head), &config, batch, |logits| {
                    vec![array("start_logits", logits.start), array("end_logits", logits.end)]
                });
            }
            _ => {
                const POOLER: [&str; 7] = ["bert", "roberta", "camembert", "xlm-roberta", "albert", "mpnet", "esm"];
                let pooler = POOLER.iter().any(|kind| given["model_type"] == *kind);
                let body = build(if pooler { Pooling::Pooler } else { plain });
                self.keep_body(what, body, &config, batch, |features| {
                    let pooled = pooler.then(|| array("pooler_output", features.pooled()));
                    let hidden = array("last_hidden_state", features.hidden());
                    [hidden].into_iter().chain(pooled).collect()
                });
            }
        }
    }

    /// A network that reads images, bare and under a classifier.
    fn images<B>(&mut self, given: &Value, hidden: impl Fn(B::Features) -> Arrays)
    where
        B: FromPretrained + Backbone<Input = ImageInput, Features: Pooled>,
    {
        let config: B::Config = serde_json::from_value(given.clone()).unwrap();
        B::check_config(&config).unwrap();
        let prefix = B::class_prefix(&config);
        let pooled = ["vit", "deit"].iter().any(|kind| given["model_type"] == *kind);
        let body = |pooling| B::build(&config, pooling, 1, &self.device.clone());
        let bare = body(if pooled { Pooling::Pooler } else { B::classification_pooling(&config) });
        let whole = body(B::classification_pooling(&config));
        let (batch, device) = (images(&self.device), self.device.clone());
        let bare_class = B::body_class(&config);
        self.keep_body((bare_class.as_str(), given), bare, &config, batch.clone(), hidden);
        let model = Model::new(whole, B::classifier(&config, 2, 1, &device));
        let class = format!("{prefix}ForImageClassification");
        self.keep((class.as_str(), given), model, &config, batch, |logits| vec![array("logits", logits)]);
    }

    fn towers(&mut self, given: &Value) {
        let (config, device) = (serde_json::from_value(given.clone()).unwrap(), self.device.clone());
        let model = ImageText::build(&config, Pooling::Pooler, 1, &device);
        let model = Model::new(model, ImageText::contrastive(&config, &device));
        let ((image, mut arrays), (text, more)) = (images(&device), text(false, &device));
        arrays.extend(more);
        let class = ImageText::body_class(&config);
        self.keep((class.as_str(), given), model, &config, ((image, text), arrays), |similarities| {
            vec![array("logits_per_image", similarities.logits)]
        });
    }

    /// What is only looked at for its keys.
    fn keys<B: FromPretrained, H: Module + ModuleDisplay>(
        &mut self,
        class: &str,
        model: &Model<B, H>,
        config: &B::Config,
    ) {
        save_pretrained(self.next(), model, config, class, task().tokenizer()).unwrap();
    }

    /// Transformers loads all of them.
    fn check(self, python: &Path) {
        let script = Path::new(ROOT).join("benches/compare/check_classes.py");
        let output = Command::new(python).arg(script).arg(self.root.path()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{said}");
        eprintln!("{said}");
    }
}

/// Name, sizes and values, as they are saved.
type Arrays = Vec<(String, Vec<usize>, Vec<f32>)>;

fn array<const D: usize>(name: &str, tensor: Tensor<D>) -> (String, Vec<usize>, Vec<f32>) {
    (name.into(), tensor.dims().to_vec(), tensor.into_data().iter::<f32>().collect())
}

fn beside(folder: &Path, given: &Value, inputs: Arrays, outputs: Arrays) {
    fs::write(folder.join("given.json"), given.to_string()).unwrap();
    save_tensors(folder.join("inputs.safetensors"), inputs, &[]).unwrap();
    save_tensors(folder.join("expected.safetensors"), outputs, &[]).unwrap();
}

/// Two texts without padding.
fn text(segments: bool, device: &Device) -> (TextInput, Arrays) {
    let ids = Tensor::<2, Int>::from_data([[5, 9, 4, 17, 29, 8], [7, 7, 12, 2, 11, 29]], device);
    let mut arrays = vec![array("input_ids", ids.clone().float())];
    arrays.extend(segments.then(|| array("attention_mask", ids.ones_like().float())));
    (TextInput { type_ids: ids.zeros_like(), mask: ids.clone().not_equal_elem(-1), ids, documents: None }, arrays)
}

/// Two images of 16 x 16.
fn images(device: &Device) -> (ImageInput, Arrays) {
    let values: Vec<f32> = (0..2 * 3 * 16 * 16).map(|place| (place as f32 * 0.37).sin()).collect();
    let pixels = Tensor::<4>::from_data(TensorData::new(values, [2, 3, 16, 16]), device);
    (ImageInput { pixels: pixels.clone() }, vec![array("pixel_values", pixels)])
}

/// Moves every value by a little of its own: no bias is left at 0 and no norm at 1, and none stands for another.
struct Stir(usize);

impl ModuleMapper for Stir {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        let start = self.0 as i64 * 1009;
        param.map(|values| {
            let (shape, count) = (values.shape(), values.shape().num_elements() as i64);
            let places = Tensor::<1, Int>::arange(start..start + count, &values.device()).float();
            values + (places * 0.7).sin().reshape(shape) * 0.1
        })
    }
}

fn with(base: &Value, more: &Value) -> Value {
    let all = [base, more].into_iter().filter_map(|part| part.as_object().cloned()).flatten();
    Value::Object(all.collect())
}

#[test]
fn every_class_loads_whole_and_computes_the_same() {
    let Some(python) = PYTHON.as_ref() else { return };
    let mut folders = Folders::new();
    for (kind, classes, fields) in texts() {
        let own = OWN.iter().find(|(name, _)| *name == kind);
        let base = own.map_or_else(sizes, |(_, own)| {
            let common = json!({ "vocab_size": 30, "pad_token_id": 0, "initializer_range": 0.2 });
            with(&common, &serde_json::from_str(own).unwrap())
        });
        let given = with(&with(&base, &fields), &json!({ "model_type": kind }));
        for class in classes.split(' ') {
            match class.ends_with("ForCausalLM") || class.ends_with("LMHeadModel") || UNTIED.contains(&class) {
                true => [true, false].into_iter().for_each(|tied| {
                    folders.text(class, &with(&given, &json!({ "tie_word_embeddings": tied })));
                }),
                false => folders.text(class, &given),
            }
        }
    }
    mixtral(&mut folders);
    let patches = with(&sizes(), &json!({ "image_size": 16, "patch_size": 4 }));
    let of = |more: Value| with(&patches, &more);
    for kind in ["vit", "deit"] {
        folders.images::<Vit>(&of(json!({ "model_type": kind })), |features| {
            vec![array("pooler_output", features.clone().pooled()), array("last_hidden_state", features.hidden)]
        });
    }
    folders.images::<Dinov2>(&of(json!({ "model_type": "dinov2", "mlp_ratio": 2 })), |features| {
        vec![array("last_hidden_state", features.hidden)]
    });
    let swin = json!({ "model_type": "swin", "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2],
        "window_size": 3, "image_size": 16, "initializer_range": 0.2 });
    folders.images::<Swin>(&swin, |features| {
        vec![array("last_hidden_state", features.map.flatten::<3>(2, 3).swap_dims(1, 2))]
    });
    let resnet = json!({ "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 2] });
    folders.images::<ResNet>(&resnet, |features| vec![array("last_hidden_state", features.map)]);
    let convnext = json!({ "model_type": "convnext", "patch_size": 2, "num_stages": 2, "hidden_sizes": [8, 12],
        "depths": [1, 2], "layer_scale_init_value": 0.5, "initializer_range": 0.2 });
    folders.images::<ConvNext>(&convnext, |features| vec![array("last_hidden_state", features.map)]);
    for (kind, eos) in [("clip", 29), ("siglip", 1)] {
        let text = with(&sizes(), &json!({ "eos_token_id": eos, "max_position_embeddings": 6, "projection_size": 16 }));
        folders
            .towers(&json!({ "model_type": kind, "projection_dim": 6, "text_config": text, "vision_config": patches }));
    }
    encoder_decoders(&mut folders);
    folders.check(python);
}

fn mixtral(folders: &mut Folders) {
    let device = folders.device.clone();
    for tied in [true, false] {
        let more = json!({ "model_type": "mixtral", "num_local_experts": 3, "tie_word_embeddings": tied });
        let given = with(&sizes(), &more);
        let config = serde_json::from_value(given.clone()).unwrap();
        let model =
            Model::new(Mixtral::build(&config, Pooling::Mean, 1, &device), Mixtral::causal_lm(&config, 1, &device));
        let what = ("MixtralForCausalLM", &given);
        folders.keep(what, model, &config, text(true, &device), |logits| vec![array("logits", logits)]);
    }
}

fn encoder_decoders(folders: &mut Folders) {
    let device = folders.device.clone();
    let sides = json!({
        "vocab_size": 30, "d_model": 8, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 10, "pad_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2,
    });
    for (class, more) in [
        ("BartForConditionalGeneration", json!({ "max_position_embeddings": 9 })),
        ("BartForConditionalGeneration", json!({ "tie_word_embeddings": false })),
        ("MarianMTModel", json!({ "model_type": "marian", "decoder_vocab_size": 30 })),
        ("MarianMTModel", json!({ "model_type": "marian", "share_encoder_decoder_embeddings": false })),
    ] {
        let config = serde_json::from_value(with(&sides, &more)).unwrap();
        let model = Model::new(Bart::new(&config, Pooling::Mean, 1, &device), Bart::language_head(&config, 1, &device));
        folders.keys(class, &model, &config);
    }
    let config = serde_json::from_value(with(&sides, &json!({ "model_type": "whisper" }))).unwrap();
    let model =
        Model::new(Whisper::new(&config, Pooling::Mean, 1, &device), Whisper::language_head(&config, 1, &device));
    folders.keys("WhisperForConditionalGeneration", &model, &config);
    let t5 = json!({ "model_type": "t5", "vocab_size": 30, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 2,
        "num_heads": 2, "decoder_start_token_id": 0 });
    for (own, more) in [(false, json!({})), (true, json!({ "feed_forward_proj": "gated-gelu" }))] {
        let config = serde_json::from_value(with(&t5, &more)).unwrap();
        let head = T5::language_head(&config, own, 1, &device);
        let model = Model::new(T5::new(&config, Pooling::Mean, 1, &device), head);
        folders.keys("T5ForConditionalGeneration", &model, &config);
        let model: Model<T5, Classifier> = Model::new(model.backbone, T5::classifier(&config, 2, 1, &device));
        folders.keys("T5ForSequenceClassification", &model, &config);
    }
}
