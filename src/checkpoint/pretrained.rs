use super::apply::{BACKBONE, load_mapped};
use super::gguf::{self, by_key, read_decoder};
use super::tensors::LOOKED_FOR;
use super::{CheckpointError, KeyMap, LoadReport, Tensors};
use crate::backbone::config::check_shared;
use crate::backbone::{Backbone, Pooling};
use crate::data::TextTokenizer;
use crate::error::Error;
use crate::file::parent;
use crate::head::{Classifier, MultipleChoice, SpanHead, TokenClassifier};
use crate::model::Model;
use burn::module::{Module, ModuleDisplay};
use burn::tensor::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A backbone that can be built from a Hugging Face configuration and filled from its files.
pub trait FromPretrained: Backbone {
    /// The content of `config.json`.
    type Config: Clone + Serialize + DeserializeOwned + 'static;
    /// The `model_type`s of `config.json` that it reads, its own first.
    const MODEL_TYPES: &'static [&'static str];
    /// What its tokenizer makes for it (`model_input_names`); read for backbones that read text.
    const INPUT_NAMES: &'static [&'static str] = &["input_ids", "token_type_ids", "attention_mask"];

    /// The field of `config.json` that keeps a classification head's dropout.
    const DROPOUT_FIELD: &'static str = "classifier_dropout";

    /// [`INPUT_NAMES`](Self::INPUT_NAMES), where the configuration decides.
    fn input_names(_config: &Self::Config) -> &'static [&'static str] {
        Self::INPUT_NAMES
    }

    /// [`DROPOUT_FIELD`](Self::DROPOUT_FIELD), where the configuration decides.
    fn dropout_field(_config: &Self::Config) -> &'static str {
        Self::DROPOUT_FIELD
    }

    /// Says whether a network of this configuration can be built here.
    ///
    /// # Errors
    /// [`CheckpointError::UnsupportedConfig`] names the field.
    fn check_config(config: &Self::Config) -> Result<(), CheckpointError>;

    /// A fresh network, its weights drawn from `seed` unless they are loaded.
    fn build(config: &Self::Config, pooling: Pooling, seed: u64, device: &Device) -> Self;

    /// The table between this backbone's paths (and those of heads on it) and the keys of its files.
    fn key_map(config: &Self::Config) -> KeyMap;

    /// Width of the pooled features.
    fn hidden_size(config: &Self::Config) -> usize;

    /// Longest input in tokens; backbones that read text say it.
    fn max_length(_config: &Self::Config) -> usize {
        usize::MAX
    }

    /// Dropout before a classification head; none unless a backbone says otherwise.
    fn head_dropout(_config: &Self::Config) -> f64 {
        0.0
    }

    /// How its features are pooled.
    fn pooling(&self) -> Pooling;

    /// What the names of Transformers' classes start with, such as `Bert` of `BertForSequenceClassification`.
    fn class_prefix(config: &Self::Config) -> &'static str;

    /// Transformers' class of the body alone, such as `BertModel`.
    fn body_class(config: &Self::Config) -> String {
        format!("{}Model", Self::class_prefix(config))
    }

    /// How Transformers pools for this architecture's sequence classification.
    fn classification_pooling(_config: &Self::Config) -> Pooling {
        Pooling::Pooler
    }

    /// A fresh sequence classification head in the form that Transformers gives it on this architecture.
    fn classifier(config: &Self::Config, num_labels: usize, seed: u64, device: &Device) -> Classifier {
        let head = Classifier::new(Self::hidden_size(config), num_labels, seed, device);
        head.with_dropout(Self::head_dropout(config))
    }

    /// A fresh token classification head in the form that Transformers gives it on this architecture.
    fn token_classifier(config: &Self::Config, num_labels: usize, seed: u64, device: &Device) -> TokenClassifier {
        let head = TokenClassifier::new(Self::hidden_size(config), num_labels, seed, device);
        head.with_dropout(Self::head_dropout(config))
    }

    /// A fresh question-answering head in the form that Transformers gives it on this architecture.
    fn span_head(config: &Self::Config, seed: u64, device: &Device) -> SpanHead {
        SpanHead::new(Self::hidden_size(config), seed, device)
    }

    /// How Transformers pools for this architecture's multiple choice.
    fn choice_pooling(_config: &Self::Config) -> Pooling {
        Pooling::Pooler
    }

    /// A fresh multiple-choice head in the form that Transformers gives it on this architecture.
    fn multiple_choice(config: &Self::Config, choices: usize, seed: u64, device: &Device) -> MultipleChoice {
        let head = MultipleChoice::new(Self::hidden_size(config), choices, seed, device);
        head.with_dropout(Self::head_dropout(config))
    }
}

/// A model folder as Hugging Face lays it out: `config.json`, weights in safetensors or PyTorch's own form, a tokenizer or
/// a preprocessor.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Value,
    tensors: Tensors,
    /// The architecture of the GGUF file that it is.
    gguf: Option<String>,
}

/// A module that was filled from a file, and what became of each name.
#[derive(Debug)]
pub struct Loaded<M> {
    /// The module.
    pub module: M,
    /// What was loaded, left out and freshly initialised.
    pub report: LoadReport,
}

impl Checkpoint {
    /// Reads the folder's configuration and weights.
    ///
    /// A GGUF file, or a folder with one and no other weights, says both: LLaMA (of which Mistral and Mixtral are), Qwen 2 and 3,
    /// Gemma 2 and 3, Phi-3 and GPT-2 in llama.cpp's names become the configuration, keys and values of Transformers. Of a
    /// model in several parts (`model-00001-of-00003.gguf`), any one stands for all. The tokenizer in it is not read:
    /// `tokenizer.json` has to lie beside it.
    ///
    /// # Errors
    /// A missing or damaged file is named; so is the architecture of a GGUF file that is none of these.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let folder = folder.as_ref();
        match gguf_of(folder) {
            Some(file) => Self::open_gguf(&file),
            None => Self::open_with_config(folder, folder.join("config.json")),
        }
    }

    fn open_gguf(file: &Path) -> Result<Self, CheckpointError> {
        let (metadata, tensors) = gguf::open(file)?;
        let (config, names) = read_decoder(&metadata, &tensors)?;
        let gguf = metadata.get("general.architecture").and_then(Value::as_str).map(Into::into);
        Ok(Self { folder: parent(file).into(), config, tensors: tensors.renamed(names), gguf })
    }

    /// As [`open`](Self::open), with the configuration in another file than the folder's `config.json`.
    ///
    /// # Errors
    /// A missing or damaged file is named.
    pub fn open_with_config(folder: impl AsRef<Path>, config: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let folder = folder.as_ref().to_path_buf();
        let config = read_json(config.as_ref())?;
        Ok(Self { tensors: Tensors::open_folder(&folder)?, config, folder, gguf: None })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The weights on the host.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// The names in `architectures`, such as `BertForMaskedLM`.
    pub fn architectures(&self) -> Vec<&str> {
        self.config["architectures"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// A field of `config.json`; `None` where it is absent or null.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.config.get(name).filter(|value| !value.is_null())
    }

    /// The configuration, checked.
    ///
    /// # Errors
    /// A field that is missing, of a wrong type or not supported is named.
    pub fn config<B: FromPretrained>(&self) -> Result<B::Config, CheckpointError> {
        self.check_model_type(B::MODEL_TYPES)?;
        check_shared(&self.config)?;
        let config = serde_json::from_value(self.config.clone())
            .map_err(|error| CheckpointError::bad_json(&self.folder.join("config.json"), &error))?;
        let named = |error| match &self.gguf {
            Some(architecture) => by_key(error, architecture),
            None => error,
        };
        B::check_config(&config).map_err(named)?;
        Ok(config)
    }

    /// The `model_type` of `config.json`; `None` where it does not say, as files of 2019 do not.
    pub fn model_type(&self) -> Option<&str> {
        self.field("model_type").and_then(Value::as_str)
    }

    fn check_model_type(&self, supported: &[&str]) -> Result<(), CheckpointError> {
        let fits = self.model_type().is_none_or(|found| supported.contains(&found));
        let supported = supported.join(" or ");
        let (field, value) = ("model_type".into(), self.model_type().unwrap_or_default().into());
        if fits { Ok(()) } else { Err(CheckpointError::UnsupportedConfig { field, value, supported }) }
    }

    /// The class names of `id2label` in order of their ids, where the configuration has any.
    pub fn label_names(&self) -> Option<Vec<String>> {
        let names = self.config["id2label"].as_object()?;
        (0..names.len()).map(|id| names.get(&id.to_string())?.as_str().map(Into::into)).collect()
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// A missing or damaged file is named.
    pub fn tokenizer(&self) -> Result<TextTokenizer, Error> {
        Ok(TextTokenizer::from_folder(&self.folder)?)
    }

    /// The content of `preprocessor_config.json`, which says how images are scaled and normalised; `None` where the folder
    /// has none.
    ///
    /// # Errors
    /// A damaged file is named.
    pub fn preprocessor(&self) -> Result<Option<Value>, CheckpointError> {
        let path = self.folder.join("preprocessor_config.json");
        path.is_file().then(|| read_json(&path)).transpose()
    }

    /// The backbone alone, from a file with any head: the head's keys are reported as unused. A pooler that `pooling`
    /// asks for and the file lacks is freshly initialised, and the report says so.
    ///
    /// # Errors
    /// A missing or unknown key, a wrong shape, a NaN, a damaged file, an unsupported configuration.
    pub fn backbone<B: FromPretrained>(&self, pooling: Pooling, device: &Device) -> Result<Loaded<B>, CheckpointError> {
        let config = self.config::<B>()?;
        let fresh = B::build(&config, pooling, 0, device);
        let (module, report) = load_mapped(&fresh, BACKBONE, &self.tensors, &B::key_map(&config))?;
        Ok(Loaded { module, report })
    }

    /// A copy of `model`, backbone and head, with the file's weights. `model` itself is not touched.
    ///
    /// # Errors
    /// As [`backbone`](Self::backbone); a key of the head that is missing is an error too.
    pub fn model<B, H>(&self, model: &Model<B, H>) -> Result<Loaded<Model<B, H>>, CheckpointError>
    where
        B: FromPretrained,
        H: Module + ModuleDisplay,
    {
        let map = B::key_map(&self.config::<B>()?);
        let (module, report) = load_mapped(model, "", &self.tensors, &map)?;
        self.check_tied_copies(&map, &report)?;
        Ok(Loaded { module, report })
    }

    /// Keys that a tied model ignores must repeat what they are a copy of.
    fn check_tied_copies(&self, map: &KeyMap, report: &LoadReport) -> Result<(), CheckpointError> {
        let keys = map.normalise(self.tensors.keys())?;
        for (copy, original) in map.tied_keys() {
            let (Some(copy_key), Some(key)) = (keys.get(copy), keys.get(original)) else { continue };
            let is_copy = || {
                let shared = self.tensors.share_bytes(copy_key, key)?;
                Ok::<_, CheckpointError>(shared || self.tensors.f32(copy_key)? == self.tensors.f32(key)?)
            };
            if report.ignored.contains(copy_key) && !is_copy()? {
                return Err(CheckpointError::UnsupportedConfig {
                    field: copy_key.clone(),
                    value: format!("not a copy of `{key}`"),
                    supported: "tied embeddings (`tie_word_embeddings: true`)".into(),
                });
            }
        }
        Ok(())
    }
}

/// The GGUF file that is meant: this one, or the only one, or the first of the parts of one, of a folder without other weights.
fn gguf_of(path: &Path) -> Option<PathBuf> {
    let is_gguf = |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    if path.is_file() {
        return is_gguf(path).then(|| path.into());
    }
    if LOOKED_FOR.iter().any(|name| path.join(name).exists()) {
        return None;
    }
    let inside = std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = inside.filter(|path| is_gguf(path)).collect();
    if files.len() == 1 { files.pop() } else { gguf::first_of(files) }
}

pub(super) fn read_json(path: &Path) -> Result<Value, CheckpointError> {
    let text = std::fs::read_to_string(path).map_err(CheckpointError::io("read", path))?;
    serde_json::from_str(&text).map_err(|error| CheckpointError::bad_json(path, &error))
}
