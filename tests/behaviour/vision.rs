//! Networks that read images: they train, freeze, cache, resume and save as those that read texts do.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{
    Backbone, ConvNext, Dinov2, ImageInput, ImageText, ImageTextConfig, MapFeatures, Pooled, Pooling, ResNet, Swin,
    TextInput, VisionTower, Vit,
};
use rekindle::cache::Cache;
use rekindle::checkpoint::{Checkpoint, FromPretrained, load_image_classifier, save_image_classifier, save_pretrained};
use rekindle::data::{DataError, Labels};
use rekindle::head::{Classifier, Contrastive, TaskHead};
use rekindle::objective::{Answer, Draws, ImageClassification, LabelledImage, Objective};
use rekindle::params::{Freeze, FreezePolicy, Inventory, Progress, Rates, TrainPlan};
use rekindle::rows::RowsExt;
use rekindle::train::{Data, Fit, Report, SaveEvery, fit};
use serde_json::{Value, json};

use super::resume::Watch;
use super::support::*;

const SIDE: usize = 16;

pub(super) fn task() -> ImageClassification {
    let names = ["thin", "broad", "steep", "flat"].map(String::from).to_vec();
    ImageClassification::new(Labels::from_names(names).unwrap(), [3, SIDE, SIDE])
}

/// An image made from its number, of four kinds.
fn pixels(number: usize) -> Vec<f32> {
    let pixel = |at: usize| ((number % 4 + 1) as f32 * at as f32 * 0.37 + number as f32).sin();
    (0..3 * SIDE * SIDE).map(pixel).collect()
}

pub(super) fn labelled(count: usize) -> Vec<LabelledImage> {
    (0..count).map(|number| LabelledImage { pixels: pixels(number), label: Some(number % 4) }).collect()
}

fn images(numbers: &[usize], device: &Device) -> ImageInput {
    let values: Vec<f32> = numbers.iter().flat_map(|number| pixels(*number)).collect();
    ImageInput { pixels: Tensor::from_data(TensorData::new(values, [numbers.len(), 3, SIDE, SIDE]), device) }
}

fn model<B: FromPretrained>(config: Value) -> (Model<B, Classifier>, B::Config)
where
    Classifier: TaskHead<B::Features>,
{
    let config: B::Config = serde_json::from_value(config).unwrap();
    B::check_config(&config).unwrap();
    let backbone = B::build(&config, B::classification_pooling(&config), 3, &device());
    (Model::new(backbone, B::classifier(&config, 4, 3, &device())), config)
}

pub(super) fn resnet() -> Model<ResNet, Classifier> {
    model(json!({"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 2], "layer_type": "basic"})).0
}

pub(super) fn vit_config() -> Value {
    json!({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
        "image_size": SIDE, "patch_size": 4, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1})
}

fn swin_config() -> Value {
    json!({"image_size": SIDE, "patch_size": 2, "embed_dim": 4, "depths": [2, 2], "num_heads": [1, 2], "window_size": 3,
        "drop_path_rate": 0.3})
}

fn convnext_config() -> Value {
    json!({"patch_size": 2, "num_stages": 2, "hidden_sizes": [4, 6], "depths": [1, 2], "drop_path_rate": 0.3,
        "layer_scale_init_value": 0.5})
}

fn dinov2_config() -> Value {
    json!({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": SIDE,
        "patch_size": 4, "drop_path_rate": 0.3, "use_swiglu_ffn": true})
}

fn tower_config(family: &str) -> Value {
    let vision = json!({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
        "image_size": SIDE, "patch_size": 4, "attention_dropout": 0.1});
    json!({"model_type": family, "vision_config": vision})
}

fn train<B>(model: &mut Model<B, Classifier>, policy: &dyn FreezePolicy, config: &Fit, watch: &mut Watch) -> Report
where
    B: Backbone<Input = ImageInput>,
    Classifier: TaskHead<B::Features, Targets = <ImageClassification as Objective>::Targets>,
{
    let examples = labelled(28);
    let data = Data { train: &examples[..20], validation: &examples[20..] };
    fit(model, &task(), data, policy, config, &mut [watch]).expect("trained")
}

fn cached<B: FromPretrained + Backbone<Input = ImageInput>>(config: Value)
where
    B::Features: Pooled,
{
    for policy in [Freeze::Backbone, Freeze::Bottom(2)] {
        let run = |cache: Cache| {
            let mut model = model::<B>(config.clone()).0;
            let report = train(&mut model, &policy, &Fit { cache, ..fit_config(6, 1e-2) }, &mut Watch::default());
            (report.losses, bits(&model))
        };
        let without = run(Cache::None);
        assert!(without.0.iter().all(|loss| loss.is_finite()));
        assert_eq!(run(Cache::memory()), without, "{policy:?}");
    }
}

#[test]
fn frozen_stages_give_the_same_run_from_a_cache() {
    cached::<Vit>(vit_config());
    cached::<VisionTower>(tower_config("siglip"));
    cached::<Dinov2>(dinov2_config());
    cached::<Swin>(swin_config());
    cached::<ConvNext>(convnext_config());
    cached::<ResNet>(json!({"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 2], "layer_type": "basic"}));
}

/// A frozen network gives one result on the plain device and under autodiff, and a row's does not depend on its batch.
fn one_result<B: FromPretrained + Backbone<Input = ImageInput>>(config: Value)
where
    B::Features: Pooled,
{
    let (model, _) = model::<B>(config);
    let plain = model.backbone.valid();
    let tracked = model.backbone.train().freeze();
    let input = images(&[1, 2, 3], &device());
    let expected = plain.forward(input.clone()).pooled().into_data();
    let lifted = input.clone().lift(&device().autodiff());
    assert_eq!(tracked.forward(lifted).pooled().into_data(), expected, "{}", std::any::type_name::<B>());
    let alone = plain.forward(input.select(&[1])).pooled();
    let among = Tensor::<2>::from_data(expected, &device()).narrow(0, 1, 1);
    let farthest = (alone - among).abs().max().into_scalar::<f32>();
    assert!(farthest < 1e-6, "{}: {farthest}", std::any::type_name::<B>());
}

#[test]
fn plain_and_autodiff_devices_give_the_same_bits() {
    one_result::<Vit>(vit_config());
    one_result::<VisionTower>(tower_config("clip"));
    one_result::<Dinov2>(dinov2_config());
    one_result::<Swin>(swin_config());
    one_result::<ConvNext>(convnext_config());
    one_result::<ResNet>(json!({"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 2]}));
}

fn statistics(model: &Model<ResNet, Classifier>) -> BTreeMap<String, Vec<u32>> {
    bits(model).into_iter().filter(|(path, _)| path.contains("running_")).collect()
}

#[test]
fn running_statistics_move_where_a_norm_trains_and_nowhere_else() {
    let start = statistics(&resnet());
    let moved = |policy: Freeze| {
        let mut model = resnet();
        train(&mut model, &policy, &fit_config(3, 1e-2), &mut Watch::default());
        let after = statistics(&model);
        start.iter().filter(|(path, before)| after[*path] != **before).map(|(path, _)| path.clone()).collect::<Vec<_>>()
    };
    assert_eq!(moved(Freeze::Nothing).len(), start.len());
    assert_eq!(moved(Freeze::Backbone), Vec::<String>::new());
    let above = moved(Freeze::Bottom(2));
    assert!(!above.is_empty() && above.iter().all(|path| path.starts_with("backbone.encoder.stages.1.")), "{above:?}");
}

#[test]
fn a_mapped_clone_leaves_the_statistics_of_the_original() {
    struct Raise;
    impl ModuleMapper for Raise {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor + 1.0)
        }
    }
    let model = resnet();
    let before = statistics(&model);
    let raised = model.clone().map(&mut Raise);
    assert_eq!(statistics(&model), before);
    assert!(statistics(&raised).iter().all(|(path, after)| *after != before[path]));
}

#[test]
fn a_resumed_run_of_a_network_with_batch_norms_ends_with_the_same_bits() {
    let run = |stop_after: Option<usize>, folder: &std::path::Path| {
        let mut model = resnet();
        let save_every = Some(SaveEvery::Steps(1));
        let config = Fit { folder: Some(folder.into()), save_every, resume: true, ..fit_config(6, 1e-2) };
        let mut watch = Watch { stop_after, ..Watch::default() };
        let report = train(&mut model, &Freeze::Nothing, &config, &mut watch);
        (report.losses, bits(&model))
    };
    let (whole, parts) = (temporary(), temporary());
    let expected = run(None, whole.path());
    run(Some(3), parts.path());
    assert_eq!(run(None, parts.path()), expected);
}

#[test]
fn a_saved_network_comes_back_with_its_preprocessor() {
    let (model, config) = model::<Vit>(vit_config());
    let (folder, preprocessor) = (temporary(), json!({"size": {"height": SIDE, "width": SIDE}}));
    save_pretrained(folder.path(), &model, &config, "ViTForImageClassification", &preprocessor).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config::<Vit>().unwrap().image_size, config.image_size);
    assert_eq!(checkpoint.preprocessor().unwrap(), Some(preprocessor));
    let fresh = Model::new(Vit::build(&config, Pooling::Cls, 9, &device()), Vit::classifier(&config, 4, 9, &device()));
    assert_eq!(bits(&checkpoint.model(&fresh).unwrap().module), bits(&model));
    save_pretrained(folder.path(), &model, &config, "ViTForImageClassification", ()).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().preprocessor().unwrap(), None);
}

#[test]
fn an_image_classifier_comes_back_with_its_labels_and_size() {
    fn comes_back<B>(fields: Value, class: &str)
    where
        B: FromPretrained + Backbone<Input = ImageInput, Features: Pooled>,
    {
        let (mut model, config) = model::<B>(fields);
        train(&mut model, &Freeze::Nothing, &fit_config(3, 1e-2), &mut Watch::default());
        let (folder, preprocessor) = (temporary(), json!({"image_mean": [0.5, 0.5, 0.5]}));
        let save = |preprocessor| {
            save_image_classifier(folder.path(), &model, &config, &task(), preprocessor, &Freeze::Nothing).unwrap();
        };
        save(Some(&preprocessor));
        assert_eq!(Checkpoint::open(folder.path()).unwrap().architectures(), [class]);
        let again = load_image_classifier::<B>(folder.path(), None, &device()).unwrap();
        assert_eq!((again.task.size(), again.task.labels().names()), ([3, SIDE, SIDE], task().labels().names()));
        assert_eq!((bits(&again.model), again.preprocessor), (bits(&model), Some(preprocessor.clone())));
        save(None);
        assert_eq!(load_image_classifier::<B>(folder.path(), None, &device()).unwrap().preprocessor, None);
    }
    comes_back::<Vit>(vit_config(), "ViTForImageClassification");
    comes_back::<VisionTower>(tower_config("clip"), "CLIPForImageClassification");
    comes_back::<VisionTower>(tower_config("siglip"), "SiglipForImageClassification");
    comes_back::<Dinov2>(dinov2_config(), "Dinov2ForImageClassification");
    comes_back::<Swin>(swin_config(), "SwinForImageClassification");
    comes_back::<ConvNext>(convnext_config(), "ConvNextForImageClassification");
    let resnet = json!({"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 2], "layer_type": "basic"});
    comes_back::<ResNet>(resnet, "ResNetForImageClassification");
}

#[test]
fn the_size_of_images_is_what_somebody_says() {
    let folder = temporary();
    let save = |fields: Value| {
        let (model, config) = model::<Vit>(fields);
        save_image_classifier(folder.path(), &model, &config, &task(), None, &Freeze::Nothing).unwrap();
        std::fs::remove_file(folder.path().join("rekindle.json")).unwrap();
    };
    let size = |size| load_image_classifier::<Vit>(folder.path(), size, &device()).map(|saved| saved.task.size());
    save(vit_config());
    assert_eq!(size(None).unwrap(), [3, SIDE, SIDE]);
    assert_eq!(size(Some([3, 8, 12])).unwrap(), [3, 8, 12]);
    let mut tall = vit_config();
    tall["image_size"] = json!([24, 8]);
    save(tall);
    assert_eq!(size(None).unwrap(), [3, 24, 8]);
    let (tower, config) = model::<VisionTower>(tower_config("siglip"));
    save_image_classifier(folder.path(), &tower, &config, &task(), None, &Freeze::Nothing).unwrap();
    std::fs::remove_file(folder.path().join("rekindle.json")).unwrap();
    let tower = load_image_classifier::<VisionTower>(folder.path(), None, &device()).unwrap();
    assert_eq!(tower.task.size(), [3, SIDE, SIDE]);

    let (resnet, config) = model::<ResNet>(json!({"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}));
    save_image_classifier(folder.path(), &resnet, &config, &task(), None, &Freeze::Nothing).unwrap();
    std::fs::remove_file(folder.path().join("rekindle.json")).unwrap();
    let error = load_image_classifier::<ResNet>(folder.path(), None, &device()).map(drop).unwrap_err().to_string();
    assert!(error.contains("image_size"), "{error}");

    let (Model { head, .. }, config) = model::<Vit>(vit_config());
    let mean = Model::new(Vit::build(&config, Pooling::Mean, 1, &device()), head);
    let error = save_image_classifier(folder.path(), &mean, &config, &task(), None, &Freeze::Nothing).unwrap_err();
    assert!(error.to_string().contains("pooling"), "{error}");
}

#[test]
fn an_image_that_does_not_fit_is_named() {
    let task = task();
    let batch = |images: &[LabelledImage]| {
        let rows: Vec<&LabelledImage> = images.iter().collect();
        task.batch(&rows, &Draws::new(0, 0, &[4, 7]), &device())
            .map(|batch| batch.targets.into_data().iter::<i64>().collect::<Vec<_>>())
    };
    let mut images = labelled(2);
    assert_eq!(batch(&images).unwrap(), [0, 1]);
    let [first, second] = [&images[0], &images[1]].map(|image| task.input_fingerprint(image));
    assert_ne!(first, second);
    let again = LabelledImage { label: Some(3), ..images[0].clone() };
    assert_eq!(task.input_fingerprint(&again), first);
    assert_ne!(task.fingerprint(&again), task.fingerprint(&images[0]));
    assert_eq!((task.answer(&again), task.class_names().len()), (Answer::Class(3), 4));

    images[1].pixels[5] = f32::NAN;
    assert!(matches!(batch(&images), Err(DataError::BadPixel { index: 7, place: 5, .. })));
    images[1].pixels.pop();
    let error = batch(&images).unwrap_err();
    assert_eq!(error.to_string(), "image 7 has 767 pixel values; 3 channels of 16 x 16 have 768");
    images[0].label = None;
    assert!(matches!(batch(&images[..1]), Err(DataError::NoLabel { index: 4 })));
    assert!(matches!(task.image(vec![0.0; 768], Some("step")), Err(DataError::UnknownLabel { .. })));
    assert_eq!(task.image(vec![0.0; 768], Some("steep")).unwrap().label, Some(2));
}

#[test]
fn images_of_another_kind_are_refused_with_what_would_do() {
    let (vit, _) = model::<Vit>(vit_config());
    let (swin, _) = model::<Swin>(swin_config());
    let input = |channels, height, width| ImageInput { pixels: Tensor::zeros([1, channels, height, width], &device()) };
    let said = |result: Result<(), rekindle::backbone::InputError>| result.unwrap_err().to_string();
    let grey = said(vit.backbone.check(&input(1, 16, 16)));
    assert_eq!(grey, "the images have 1 channels, this network reads 3; convert them");
    let small = said(vit.backbone.check(&input(3, 3, 16)));
    assert!(small.contains("3 x 16 pixels") && small.contains("4 x 4 or more"), "{small}");
    assert!(said(swin.backbone.check(&input(3, 8, 16))).contains("9 x 9 or more"));
    swin.backbone.check(&input(3, 9, 9)).unwrap();
    let features: MapFeatures = swin.backbone.forward(input(3, 9, 9));
    assert_eq!(features.map.dims(), [1, 8, 3, 3]);
}

fn clip(seed: u64) -> (Model<ImageText, Contrastive>, ImageTextConfig) {
    let texts = json!({"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 9, "eos_token_id": 3});
    let vision = json!({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
        "image_size": 8, "patch_size": 4});
    let config = json!({"model_type": "clip", "projection_dim": 6, "text_config": texts, "vision_config": vision});
    let config = serde_json::from_value(config).unwrap();
    let towers = ImageText::build(&config, Pooling::Pooler, seed, &device());
    (Model::new(towers, ImageText::contrastive(&config, &device())), config)
}

#[test]
fn layer_decay_counts_the_layers_of_a_tower_alone() {
    let (model, _) = clip(1);
    let rates = Rates { layer_decay: Some(0.5), ..Rates::new(1.0) };
    let inventory = Inventory::of(&model).unwrap();
    let plan = TrainPlan::new(&inventory, &Freeze::Nothing, &rates, Progress::default()).unwrap();
    let rate = |path: &str| {
        let row = plan.rows.iter().find(|row| inventory.entries[row.entry].path == format!("backbone.{path}"));
        row.unwrap().lr
    };
    assert_eq!(rate("image.encoder.layers.1.mlp.up.weight"), 0.5);
    assert_eq!(rate("image.embeddings.class_embedding"), 0.125);
    assert_eq!(rate("text.encoder.layers.0.mlp.up.weight"), 0.125);
    assert_eq!(rate("text.projection.weight"), 1.0);
}

#[test]
fn a_text_counts_up_to_its_end_token_and_pairs_must_be_pairs() {
    let (model, _) = clip(1);
    let text = |ids: Vec<i64>, rows: usize| {
        let shape = [rows, ids.len() / rows];
        let mask: Vec<bool> = ids.iter().map(|id| *id != 0).collect();
        let mask = Tensor::from_data(TensorData::new(mask, shape), &device());
        let ids = Tensor::from_data(TensorData::new(ids, shape), &device());
        TextInput { type_ids: Tensor::zeros(shape, &device()), ids, mask, documents: None }
    };
    let texts = |ids, rows| {
        let features = model.backbone.text.forward(text(ids, rows));
        features.pooled().into_data().iter::<f32>().collect::<Vec<_>>()
    };
    let short = texts(vec![2, 5, 3], 1);
    let padded = texts(vec![2, 5, 3, 0, 0], 1);
    assert!(difference(&short, &padded) < 1e-6, "padding after the end token");
    assert!(difference(&texts(vec![2, 5, 3, 7, 3], 1), &short) < 1e-6, "what follows the first end token");
    assert!(difference(&texts(vec![2, 6, 3], 1), &short) > 1e-3);
    let pair = (images(&[1, 2], &device()), text(vec![2, 5, 3], 1));
    let error = model.backbone.check(&pair).unwrap_err().to_string();
    assert_eq!(error, "there are 2 images and 1 texts; give one text for each image");
    let pair = (images(&[1, 2], &device()), text(vec![2, 5, 3, 2, 3, 0], 2));
    model.backbone.check(&pair).unwrap();
    assert_eq!(model.forward(pair).logits.dims(), [2, 2]);
}

#[test]
fn a_saved_pair_of_towers_comes_back() {
    let ((model, config), folder) = (clip(1), temporary());
    save_pretrained(folder.path(), &model, &config, "CLIPModel", ()).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.tensors().shape("logit_scale").unwrap(), [0usize; 0]);
    assert_eq!(checkpoint.config::<ImageText>().unwrap().projection_dim(), config.projection_dim());
    assert_eq!(bits(&checkpoint.model(&clip(2).0).unwrap().module), bits(&model));
}
