//! Every backbone of the crate, one line each, and what all of them promise.

use super::device;
use burn::tensor::{Tensor, TensorData};
use rekindle::Model;
use rekindle::backbone::{
    Albert, Bert, DistilBert, Electra, Esm, Gemma2, Gemma3, Gpt2, GptNeox, Llama, Mistral, Mixtral, MpNet, Opt, Phi3,
    Pooled, Pooling, Qwen2, Qwen3, Roberta, TextInput,
};
use rekindle::checkpoint::FromPretrained;
use rekindle::params::check_stages;

/// One test a backbone: its type, an input, the poolings it has, and a small configuration.
macro_rules! backbones {
    ($($name:ident: $backbone:ty, $input:expr, [$($pooling:ident),*], $config:tt;)*) => {$(
        #[test]
        fn $name() {
            for pooling in [$(Pooling::$pooling),*] {
                keeps_the_contract::<$backbone>(pooling, $input, serde_json::json!($config));
            }
        }
    )*};
}

backbones! {
    bert: Bert, text(), [Cls, Mean, Pooler, LastToken], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "pad_token_id": 0};
    roberta: Roberta, text(), [Cls, Mean, Pooler], {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 9, "type_vocab_size": 1};
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
}

fn keeps_the_contract<B: FromPretrained>(pooling: Pooling, input: B::Input, config: serde_json::Value)
where
    B::Features: Pooled,
{
    let config: B::Config = serde_json::from_value(config).expect("a configuration");
    B::check_config(&config).expect("supported");
    B::key_map(&config).check().expect("a sound key map");
    let backbone = B::build(&config, pooling, 1, &device());
    assert_eq!(backbone.pooling(), pooling);
    backbone.check(&input).expect("an input of its kind");
    let head = B::classifier(&config, 3, 1, &device());
    let model = Model::new(backbone, head);
    let (whole, as_read) = (model.backbone.forward(input.clone()), model.features(input.clone()));
    assert_eq!(whole.pooled().into_data(), as_read.pooled().into_data(), "{pooling}: what a pooled head sees");
    check_stages(&model, input).unwrap_or_else(|error| panic!("{pooling}: {error}"));
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
