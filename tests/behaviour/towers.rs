//! CLIP and SigLIP: both towers train, either one may be frozen and what it makes kept, and a run goes on after a stop.

use std::cmp::Ordering;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{Backbone, ImageInput, ImageText, ImageTextConfig, Pooled, Pooling, TextInput, VisionTower};
use rekindle::cache::Cache;
use rekindle::checkpoint::{Checkpoint, FromPretrained, save_pretrained};
use rekindle::data::DataError;
use rekindle::head::Contrastive;
use rekindle::objective::{Batch, Draws, Objective};
use rekindle::params::Freeze;
use rekindle::train::{Data, Fit, Report, SaveEvery, fit};
use serde_json::json;

use super::support::*;

const SIDE: usize = 8;
/// Places of the position table.
const TEXT: usize = 6;

fn config(family: &str) -> ImageTextConfig {
    let texts = json!({"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": TEXT, "eos_token_id": 3, "attention_dropout": 0.1});
    let images = json!({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
        "image_size": SIDE, "patch_size": 4, "attention_dropout": 0.1});
    let config = json!({"model_type": family, "projection_dim": 6, "text_config": texts, "vision_config": images});
    let config: ImageTextConfig = serde_json::from_value(config).unwrap();
    config.check().unwrap();
    config
}

fn towers(family: &str) -> Model<ImageText, Contrastive> {
    let config = config(family);
    let towers = ImageText::build(&config, Pooling::Pooler, 3, &device());
    Model::new(towers, ImageText::contrastive(&config, &device()))
}

/// Images and texts made from a number each. SigLIP, which reads the last place, has texts of one length.
struct Pairs(&'static str);

impl Objective for Pairs {
    type Example = usize;
    type Input = (ImageInput, TextInput);
    type Targets = ();

    fn batch(&self, numbers: &[&usize], _: &Draws, device: &Device) -> Result<Batch<Self::Input, ()>, DataError> {
        let rows = numbers.len();
        let pixel = |number: usize, at: usize| ((number % 8 + 1) as f32 * at as f32 * 0.37).sin();
        let pixels = numbers.iter().flat_map(|number| (0..3 * SIDE * SIDE).map(|at| pixel(**number, at)));
        let pixels = TensorData::new(pixels.collect::<Vec<_>>(), [rows, 3, SIDE, SIDE]);
        let words = |number: usize| 1 + number % 4;
        let longest = numbers.iter().map(|number| words(**number) + 1).max().unwrap_or(1);
        let seq = if self.0 == "siglip" { TEXT } else { longest };
        let id = |number: usize, at: usize| match at.cmp(&words(number)) {
            Ordering::Less => 4 + (number % 8) as i64,
            Ordering::Equal => 3,
            Ordering::Greater => 0,
        };
        let texts = numbers.iter().flat_map(|number| (0..seq).map(|at| id(**number, at))).collect::<Vec<_>>();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(texts, [rows, seq]), device);
        let mask = ids.clone().not_equal_elem(0);
        let text = TextInput { type_ids: ids.zeros_like(), mask, documents: None, ids };
        Ok(Batch { input: (ImageInput { pixels: Tensor::from_data(pixels, device) }, text), targets: () })
    }

    fn fingerprint(&self, number: &usize) -> u64 {
        *number as u64
    }

    fn repeats(&self) -> bool {
        true
    }
}

fn train(family: &'static str, model: &mut Model<ImageText, Contrastive>, policy: &Freeze, config: &Fit) -> Report {
    let numbers: Vec<usize> = (0..40).collect();
    fit(model, &Pairs(family), Data { train: &numbers[..32], validation: &numbers[32..] }, policy, config, &mut [])
        .unwrap()
}

#[test]
fn both_towers_and_the_scale_train() {
    for family in ["clip", "siglip"] {
        let (mut model, before) = (towers(family), bits(&towers(family)));
        let report = train(family, &mut model, &Freeze::Nothing, &fit_config(24, 1e-2));
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&report.losses[..4]), mean(&report.losses[20..]));
        assert!(last < 0.9 * first, "{family}: {:?}", report.losses);
        for (path, values) in bits(&model) {
            assert!(values != before[&path], "{family}: {path}");
            assert!(report.optimizer_parameters.contains(&path), "{family}: {path}");
        }
    }
}

#[test]
fn either_tower_may_be_the_frozen_one() {
    for (family, frozen, trained) in [("clip", "image", "text"), ("clip", "text", "image"), ("siglip", "image", "text")]
    {
        let policy = Freeze::Except(vec![format!("backbone.{trained}.**").parse().unwrap()]);
        let config = fit_config(12, 1e-2);
        let (mut kept, before) = (towers(family), bits(&towers(family)));
        let report = train(family, &mut kept, &policy, &config);
        assert_eq!(report.cache.rows, 40, "{family}: what the {frozen} tower makes is kept");
        for (path, values) in bits(&kept) {
            let is_frozen = path.starts_with(&format!("backbone.{frozen}."));
            assert_eq!(values == before[&path], is_frozen, "{family}: {path}");
            assert_eq!(report.optimizer_parameters.contains(&path), !is_frozen, "{family}: {path}");
        }
        let mut computed = towers(family);
        let again = train(family, &mut computed, &policy, &Fit { cache: Cache::None, ..config });
        assert_eq!(again.losses, report.losses, "{family}");
        assert!(bits(&computed) == bits(&kept), "{family}: what is read from the cache is what would be computed");
    }
}

#[test]
fn the_vision_tower_is_read_by_itself() {
    for (family, parts) in [("clip", ["post_layernorm"].as_slice()), ("siglip", &["post_layernorm", "head"])] {
        let (model, folder) = (towers(family), temporary());
        save_pretrained(folder.path(), &model, &config(family), "both", ()).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let read = |pooling| checkpoint.backbone::<VisionTower>(pooling, &device()).unwrap();
        let batch = Pairs(family).batch(&[&3, &4], &Draws::new(0, 0, &[3, 4]), &device()).unwrap();
        let (image, _) = batch.input;
        let beside = model.backbone.image.forward(image.clone());
        let (pooler, mean) = (read(Pooling::Pooler), read(Pooling::Mean));
        assert!(pooler.report.unused.is_empty() && pooler.report.reinitialised.is_empty(), "{:?}", pooler.report);
        let spare = mean.report.unused.iter().all(|key| parts.iter().any(|part| key.contains(part)));
        assert!(spare && !mean.report.unused.is_empty(), "{:?}", mean.report);
        let alone = pooler.module.forward(image.clone());
        assert_eq!(alone.hidden.into_data(), beside.hidden.clone().into_data(), "{family}");
        let patches = beside.patches().mean_dim(1).squeeze_dim::<2>(1);
        let pooled = mean.module.forward(image).pooled();
        assert!((pooled - patches).abs().max().into_scalar::<f32>() < 1e-6, "{family}");
    }
}

#[test]
fn stopped_and_resumed_it_ends_with_the_same_bits() {
    for family in ["clip", "siglip"] {
        let (folder, config) = (temporary(), fit_config(6, 3e-3));
        let mut whole = towers(family);
        let expected = train(family, &mut whole, &Freeze::Nothing, &config);
        let saving = Fit { folder: Some(folder.path().into()), save_every: Some(SaveEvery::Steps(1)), ..config };
        let numbers: Vec<usize> = (0..40).collect();
        let data = Data { train: &numbers[..32], validation: &numbers[32..] };
        let stop = &mut StopAfter(Some(4));
        fit(&mut towers(family), &Pairs(family), data, &Freeze::Nothing, &saving, &mut [stop]).unwrap();
        let mut resumed = towers(family);
        let report = train(family, &mut resumed, &Freeze::Nothing, &Fit { resume: true, ..saving });
        assert_eq!(report.losses, expected.losses, "{family}");
        assert!(bits(&resumed) == bits(&whole), "{family}");
    }
}
