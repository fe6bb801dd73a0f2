//! Every backbone of the crate, one line each, and what all of them promise.

use super::device;
use burn::tensor::{Int, Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{
    Albert, AutoText, Backbone, Bart, Bert, ConvNext, DebertaV2, DecoderStart, Dinov2, DistilBert, Electra, Esm,
    EuroBert, Gemma2, Gemma3, Gpt2, GptNeox, ImageInput, ImageText, Llama, MaskedIds, Mistral, Mixtral, ModernBert,
    MpNet, NomicBert, Opt, Phi3, Pooled, Pooling, Qwen2, Qwen3, ResNet, Roberta, Seq2SeqInput, SpeechInput, Swin, T5,
    T5Encoder, TextInput, VisionTower, Vit, Whisper,
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
    bert: Bert, text(), [Cls, Mean, Pooler, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "pad_token_id": 0};
    roberta: Roberta, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "type_vocab_size": 1};
    auto_roberta: AutoText, text(), [Cls, Mean, Pooler], {"model_type": "roberta", "vocab_size": 20, "hidden_size": 8,
        "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9,
        "type_vocab_size": 1};
    auto_llama: AutoText, text(), [Mean, LastToken], {"model_type": "llama", "vocab_size": 20, "hidden_size": 8,
        "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12,
        "pad_token_id": 0};
    llama: Llama, text(), [Cls, Mean, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12, "pad_token_id": 0};
    mistral: Mistral, text(), [Mean, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12, "pad_token_id": 0,
        "sliding_window": 2};
    qwen2: Qwen2, text(), [Mean, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12, "pad_token_id": 0,
        "use_sliding_window": true, "sliding_window": 2, "max_window_layers": 1};
    qwen3: Qwen3, text(), [Mean, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3, "head_dim": 6,
        "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12, "pad_token_id": 0};
    gemma2: Gemma2, text(), [Mean, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "head_dim": 6, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12};
    gemma3: Gemma3, text(), [Mean, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "head_dim": 6, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12,
        "sliding_window_pattern": 2};
    phi3: Phi3, text(), [Mean, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12, "pad_token_id": 0,
        "partial_rotary_factor": 0.5};
    mixtral: Mixtral, text(), [Mean, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 6, "pad_token_id": 0,
        "num_local_experts": 3, "output_router_logits": true};
    gpt_neox: GptNeox, text(), [Mean, LastToken], {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "pad_token_id": 0};
    gpt2: Gpt2, text(), [Mean, LastToken], {"vocab_size": 20, "n_embd": 8, "n_layer": 3, "n_head": 2, "n_positions": 9,
        "pad_token_id": 0};
    opt: Opt, text(), [Mean, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3, "ffn_dim": 12,
        "num_attention_heads": 2, "max_position_embeddings": 9, "pad_token_id": 0, "word_embed_proj_dim": 6};
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
    modernbert: ModernBert, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "pad_token_id": 0,
        "local_attention": 2, "global_attn_every_n_layers": 2, "classifier_bias": true};
    biased_modernbert: ModernBert, text(), [Mean], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "pad_token_id": 0,
        "local_attention": 2, "attention_bias": true, "mlp_bias": true, "norm_bias": true};
    deberta_v2: DebertaV2, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "relative_attention": true,
        "position_buckets": 4, "pos_att_type": "p2c|c2p", "norm_rel_ebd": "layer_norm", "share_att_key": true,
        "position_biased_input": false, "conv_kernel_size": 3};
    deberta_v2_of_two_projections: DebertaV2, text(), [Mean], {"vocab_size": 20, "embedding_size": 6, "hidden_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9,
        "relative_attention": true, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 2};
    eurobert: EuroBert, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12, "max_position_embeddings": 9,
        "pad_token_id": 0};
    nomic_bert: NomicBert, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9};
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
    clip_vision: VisionTower, image(8, 12), [Mean, Pooler], {"model_type": "clip_vision_model", "hidden_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "image_size": 8, "patch_size": 4};
    siglip_vision: VisionTower, image(8, 8), [Mean, Pooler], {"model_type": "siglip_vision_model", "hidden_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "image_size": 8, "patch_size": 4};
    bart: Bart, pair(), [Cls, Mean], {"vocab_size": 20, "d_model": 8, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 2, "decoder_attention_heads": 4, "encoder_ffn_dim": 12, "decoder_ffn_dim": 10,
        "max_position_embeddings": 9};
    bart_classifier: Bart, mirrored(), [Eos], {"vocab_size": 20, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 10,
        "max_position_embeddings": 9, "eos_token_id": 3, "tie_word_embeddings": false};
    marian: Bart, pair(), [Mean], {"model_type": "marian", "vocab_size": 20, "decoder_vocab_size": 15, "d_model": 8,
        "share_encoder_decoder_embeddings": false, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 10, "max_position_embeddings": 9,
        "scale_embedding": true, "pad_token_id": 0, "decoder_start_token_id": 0};
    t5: T5, pair(), [Cls, Mean], {"vocab_size": 20, "d_model": 8, "d_kv": 3, "d_ff": 12, "num_layers": 2, "num_heads": 2,
        "relative_attention_num_buckets": 4, "relative_attention_max_distance": 6, "decoder_start_token_id": 0};
    t5_classifier: T5, mirrored(), [Eos], {"vocab_size": 20, "d_model": 8, "d_kv": 3, "d_ff": 12, "num_layers": 1,
        "num_heads": 2, "feed_forward_proj": "gated-gelu", "eos_token_id": 3};
    t5_encoder: T5Encoder, text(), [Cls, Mean], {"vocab_size": 20, "d_model": 8, "d_kv": 3, "d_ff": 12, "num_layers": 3,
        "num_heads": 2, "feed_forward_proj": "gated-silu"};
    whisper: Whisper, speech(), [Mean], {"vocab_size": 20, "num_mel_bins": 4, "d_model": 8, "encoder_layers": 2,
        "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 12,
        "decoder_ffn_dim": 10, "max_source_positions": 3, "max_target_positions": 5, "pad_token_id": 0,
        "decoder_start_token_id": 1};
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

/// A source of two rows, the second one padded, and a target that is padded otherwise.
fn pair() -> Seq2SeqInput {
    let TextInput { ids, mask, .. } = text();
    let target = Tensor::<2, Int>::from_data([[3, 7, 0], [3, 2, 9]], &device());
    let target_mask = target.clone().not_equal_elem(0);
    Seq2SeqInput { source: MaskedIds { ids, mask }, target: MaskedIds { ids: target, mask: target_mask } }
}

/// One that is pooled where the source ends.
fn mirrored() -> Seq2SeqInput {
    Seq2SeqInput::mirrored(pair().source, DecoderStart { token: 2, padding: 0 })
}

/// Sound of six frames.
fn speech() -> SpeechInput {
    let values: Vec<f32> = (0..48).map(|value| (value as f32).sin()).collect();
    let features = Tensor::from_data(TensorData::new(values, [2, 4, 6]), &device());
    SpeechInput { features, target: pair().target }
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
        documents: None,
    }
}
