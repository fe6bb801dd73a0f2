//! Every backbone of the crate, one line each, and what all of them promise.

use super::device;
use burn::tensor::{Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{
    Albert, Backbone, Bert, ConvNext, Dinov2, DistilBert, Electra, Esm, ImageInput, ImageText, MpNet, Pooled, Pooling,
    ResNet, Roberta, Swin, TextInput, Vit,
};
use rekindle::checkpoint::FromPretrained;
use rekindle::head::{Classifier, TaskHead};
use rekindle::params::check_stages;
use serde_json::json;

/// One test a backbone: its type, an input, the poolings it has, and a small configuration.
macro_rules! backbones {
    ($($name:ident: $backbone:ty, $input:expr, [$($pooling:ident),*], $config:tt;)*) => {$(
        #[test]
        fn $name() {
            for pooling in [$(Pooling::$pooling),*] {
                keeps_the_contract::<$backbone>(pooling, $input, json!($config));
            }
        }
    )*};
}

backbones! {
    bert: Bert, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "pad_token_id": 0};
    roberta: Roberta, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "type_vocab_size": 1};
    distilbert: DistilBert, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "dim": 8, "n_layers": 3, "n_heads": 2,
        "hidden_dim": 12, "max_position_embeddings": 9};
    electra: Electra, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "embedding_size": 6, "hidden_size": 8,
        "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9};
    albert: Albert, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "embedding_size": 6, "hidden_size": 8,
        "num_hidden_layers": 3, "num_hidden_groups": 2, "inner_group_num": 2, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 9};
    mpnet: MpNet, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9};
    esm: Esm, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "pad_token_id": 0,
        "position_embedding_type": "rotary", "token_dropout": true, "mask_token_id": 8};
    esm_of_absolute_positions: Esm, text(), [Mean], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "pad_token_id": 0,
        "emb_layer_norm_before": true};
    vit: Vit, image(12, 8), [Cls, Mean, Pooler], {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 12, "image_size": 8, "patch_size": 4};
    deit: Vit, image(8, 8), [Cls, Mean, Pooler], {"model_type": "deit", "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "image_size": [8, 8], "patch_size": [4, 2]};
    dinov2: Dinov2, image(8, 8), [Cls], {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
        "mlp_ratio": 2, "image_size": 8, "patch_size": 4};
    gated_dinov2: Dinov2, image(8, 8), [Cls], {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "mlp_ratio": 2, "image_size": 8, "patch_size": 4, "use_swiglu_ffn": true};
    swin: Swin, image(18, 14), [Mean], {"image_size": 16, "patch_size": 2, "embed_dim": 4, "depths": [2, 1],
        "num_heads": [1, 2], "window_size": 3, "use_absolute_embeddings": true};
    convnext: ConvNext, image(8, 9), [Mean], {"patch_size": 2, "num_stages": 2, "hidden_sizes": [4, 6], "depths": [1, 2],
        "layer_scale_init_value": 0.5};
    resnet: ResNet, image(16, 16), [Mean], {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 2],
        "layer_type": "basic"};
    bottleneck_resnet: ResNet, image(16, 16), [Mean], {"embedding_size": 4, "hidden_sizes": [8, 8], "depths": [1, 1],
        "hidden_act": "gelu", "downsample_in_first_stage": true, "downsample_in_bottleneck": true};
}

#[test]
fn clip() {
    let texts = json!({"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 9, "eos_token_id": 3});
    let vision = json!({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
        "image_size": 8, "patch_size": 4});
    let config = |kind| json!({"model_type": kind, "projection_dim": 6, "text_config": texts, "vision_config": vision});
    for config in [config("clip"), config("siglip")] {
        let (backbone, input) = (build::<ImageText>(Pooling::Pooler, &config), (image(8, 8), text()));
        let head = ImageText::contrastive(&serde_json::from_value(config).expect("checked"), &device());
        let model = sound(Pooling::Pooler, backbone, head, input.clone());
        let (whole, as_read) = (model.backbone.forward(input.clone()), model.features(input));
        assert_eq!(whole.0.pooled().into_data(), as_read.0.pooled().into_data(), "images");
        assert_eq!(whole.1.pooled().into_data(), as_read.1.pooled().into_data(), "texts");
    }
}

fn keeps_the_contract<B: FromPretrained>(pooling: Pooling, input: B::Input, config: serde_json::Value)
where
    B::Features: Pooled,
    Classifier: TaskHead<B::Features>,
{
    let backbone = build::<B>(pooling, &config);
    let head = B::classifier(&serde_json::from_value(config).expect("checked"), 3, 1, &device());
    let model = sound(pooling, backbone, head, input.clone());
    let (whole, as_read) = (model.backbone.forward(input.clone()), model.features(input.clone()));
    assert_eq!(whole.pooled().into_data(), as_read.pooled().into_data(), "{pooling}: what a pooled head sees");
}

/// A network of a configuration that is sound.
fn build<B: FromPretrained>(pooling: Pooling, config: &serde_json::Value) -> B {
    let config: B::Config = serde_json::from_value(config.clone()).expect("a configuration");
    B::check_config(&config).expect("supported");
    B::key_map(&config).check().expect("a sound key map");
    B::build(&config, pooling, 1, &device())
}

/// The model, all of whose stages keep the contract, and whose head reads what the backbone makes.
fn sound<B: FromPretrained, H: TaskHead<B::Features>>(
    pooling: Pooling,
    backbone: B,
    head: H,
    input: B::Input,
) -> Model<B, H> {
    assert_eq!(backbone.pooling(), pooling);
    backbone.check(&input).expect("an input of its kind");
    let model = Model::new(backbone, head);
    check_stages(&model, input.clone()).unwrap_or_else(|error| panic!("{pooling}: {error}"));
    model.forward(input);
    model
}

/// Two images of these height and width.
fn image(height: usize, width: usize) -> ImageInput {
    let shape = [2, 3, height, width];
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|at| ((at * at) as f32).sin()).collect();
    ImageInput { pixels: Tensor::from_data(TensorData::new(values, shape), &device()) }
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
